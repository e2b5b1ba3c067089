"""Figures, and a page to listen to: one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxsep.spectral import amplitude_to_db, stft
from jaxsep.store import write_atomically


@dataclass(frozen=True)
class Sound:
    """One thing to hear and see on the page."""

    name: str
    audio: np.ndarray
    """``(samples,)`` float32."""
    note: str = ""


def plot_spectrograms(sounds: list[Sound], sample_rate: int, path=None) -> bytes:
    """Draw spectrograms below each other, on one scale of 80 dB.

    Args:
      sounds: what to draw, all of one length.
      sample_rate: Hz.
      path: a PNG file to write too.

    Returns:
      The PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spectra = [np.asarray(amplitude_to_db(np.abs(stft(s.audio, n_fft=1024)), top_db=None)) for s in sounds]
    top = max(float(s.max()) for s in spectra)
    figure = Figure(figsize=(9, 1.9 * len(sounds) + 0.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(sounds), sharex=True))
    extent = (0, len(sounds[0].audio) / sample_rate, 0, sample_rate / 2000)
    for axis, sound, db in zip(axes, sounds, spectra, strict=True):
        image = axis.imshow(
            db, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - 80, vmax=top
        )
        axis.set_title(sound.name, loc="left", fontsize=10)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB", fraction=0.03)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    if path is not None:
        write_atomically(path, buffer.getvalue())
    return buffer.getvalue()


def listening_page(
    title: str, sounds: list[Sound], sample_rate: int, scores: list[dict], text: str = ""
) -> str:
    """Return an HTML page with players that share one position, spectrograms and scores.

    Args:
      title: heading of the page.
      sounds: what to hear, all of one length; the first plays at first.
      sample_rate: Hz.
      scores: rows of a table, all with the same keys.
      text: a paragraph above the players.

    Returns:
      The page; it needs no network.
    """
    import string

    rows = "".join(_player(i, sound, sample_rate) for i, sound in enumerate(sounds))
    page = string.Template((Path(__file__).parent / "report.html").read_text())
    return page.substitute(
        title=html.escape(title), text=html.escape(text), players=rows, table=_table(scores)
    )


def _player(i, sound, sample_rate):
    image = base64.b64encode(plot_spectrograms([sound], sample_rate)).decode()
    audio = base64.b64encode(_wav(sound.audio, sample_rate)).decode()
    name, note = html.escape(sound.name), html.escape(sound.note)
    return (
        f'<section><button data-sound="{i}" aria-pressed="{"true" if i == 0 else "false"}">'
        f"{name}</button> <span>{note}</span>"
        f'<audio preload="auto" src="data:audio/wav;base64,{audio}"></audio>'
        f'<img alt="Spectrogram of {name}" src="data:image/png;base64,{image}"></section>\n'
    )


def _table(rows):
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row.values()) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _wav(audio, sample_rate):
    """16-bit WAV, which every browser plays, scaled down if it would clip."""
    import soundfile

    buffer = io.BytesIO()
    scaled = audio / max(1.0, float(np.max(np.abs(audio))))
    soundfile.write(buffer, scaled, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
