"""Pictures and a page beside the stems of a track: ``--plot`` and ``--page``."""

from __future__ import annotations

import numpy as np

from jaxsep.audio import AudioReader
from jaxsep.commands.places import Place
from jaxsep.figures import Sound, plot_spectrograms
from jaxsep.files import write_atomically
from jaxsep.report import PageTrack, listening_page

#: Seconds of each stem that are shown and played.
_SECONDS = 60


def show_stems(place: Place, *, plot: bool, page: bool) -> None:
    """Write ``spectrograms.png`` and ``index.html`` of the first minute of a track's stems, beside them.

    Args:
      place: where the stems are; in a folder of several tracks both are named after this one.
      plot, page: which of them.
    """
    heads = {stem: _head(path) for stem, path in place.targets.items()}
    sounds = [Sound(stem, audio) for stem, (audio, _) in heads.items()]
    rate = next(iter(heads.values()))[1]
    before = "" if place.own else f"{place.name}."
    if plot:
        plot_spectrograms(sounds, rate, place.folder / f"{before}spectrograms.png")
    if page:
        text = "Stems as jaxsep separated them; the first minute."
        html = listening_page(place.name, [PageTrack(place.name, sounds, rate, [])], text=text)
        write_atomically(place.folder / f"{before}index.html", html)


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
