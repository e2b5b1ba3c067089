"""Pictures and a page beside the stems of a track: ``--plot`` and ``--page``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxsep.audio import AudioReader
from jaxsep.figures import Sound, plot_spectrograms
from jaxsep.files import write_atomically
from jaxsep.report import PageTrack, listening_page

#: Seconds of each stem that are shown and played.
_SECONDS = 60


def show_stems(folder: Path, before: str, targets: Mapping[str, str], *, plot: bool, page: bool) -> None:
    """Write ``spectrograms.png`` and ``index.html`` of the first minute of a track's stems.

    Args:
      folder: where to.
      before: what their names begin with, where the folder holds other tracks too.
      targets: stem -> its file.
      plot, page: which of them.
    """
    heads = {stem: _head(path) for stem, path in targets.items()}
    sounds = [Sound(stem, audio) for stem, (audio, _) in heads.items()]
    rate = next(iter(heads.values()))[1]
    if plot:
        plot_spectrograms(sounds, rate, folder / f"{before}spectrograms.png")
    if page:
        text = "Stems as jaxsep separated them; the first minute."
        name = before.rstrip(".") or folder.name
        html = listening_page(name, [PageTrack(name, sounds, rate, [])], text=text)
        write_atomically(folder / f"{before}index.html", html.encode())


def _head(path):
    """The first minute of a file, in mono, and its rate."""
    reader = AudioReader(path)
    rate, pieces, left = reader.sample_rate, [], _SECONDS * reader.sample_rate
    blocks = reader.blocks()
    for block in blocks:
        pieces.append(block[:, :left].mean(axis=0))
        left -= block.shape[1]
        if left <= 0:
            break
    blocks.close()  # type: ignore[attr-defined]
    return np.concatenate(pieces), rate
