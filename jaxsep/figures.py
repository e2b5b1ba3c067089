"""Figures as PNG: waveforms, spectra, spectrograms, learning curves and scores."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsep.files import write_atomically
from jaxsep.spectral import amplitude_to_db, stft

#: Gray of text and axes: a contrast above 4.5 to white and to black.
_INK = "#767676"


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

    Example:
      >>> tone = np.sin(0.3 * np.arange(8000, dtype=np.float32))
      >>> plot_spectrograms([Sound("tone", tone)], 8000)[1:4]
      b'PNG'
    """
    spectra = [np.asarray(amplitude_to_db(np.abs(stft(s.audio, n_fft=1024)), top_db=None)) for s in sounds]
    top = max(float(s.max()) for s in spectra)
    figure, axes = _panels(len(sounds))
    from librosa.display import specshow

    look: dict[str, Any] = dict(
        sr=sample_rate, hop_length=256, x_axis="s", y_axis="linear", cmap="magma", vmin=top - 80, vmax=top
    )
    for axis, sound, db in zip(axes, sounds, spectra, strict=True):
        image = specshow(db, ax=axis, **look)
        axis.set_title(_literal(sound.name), loc="left", fontsize=10)
        axis.set(xlabel="", ylabel="Hz")
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB", fraction=0.03)
    return _png(figure, path)


def plot_waveforms(sounds: list[Sound], sample_rate: int, path=None) -> bytes:
    """Draw waveforms below each other, on one scale.

    Args, Returns: as :func:`plot_spectrograms`; the sounds may differ in length.

    Example:
      >>> plot_waveforms([Sound("silence", np.zeros(8000, np.float32))], 8000)[1:4]
      b'PNG'
    """
    figure, axes = _panels(len(sounds))
    peak = max(float(np.max(np.abs(s.audio))) for s in sounds) or 1.0
    for axis, sound in zip(axes, sounds, strict=True):
        axis.plot(np.arange(len(sound.audio)) / sample_rate, sound.audio, linewidth=0.6)
        axis.set_ylim(-1.05 * peak, 1.05 * peak)
        axis.set_title(_literal(sound.name), loc="left", fontsize=10)
    axes[-1].set_xlabel("seconds")
    return _png(figure, path)


def plot_spectra(sounds: list[Sound], sample_rate: int, path=None) -> bytes:
    """Draw the spectra of whole sounds over each other, in dB under each one's peak.

    Args, Returns: as :func:`plot_spectrograms`; the sounds may differ in length.

    Example:
      >>> tone = np.sin(0.3 * np.arange(8000, dtype=np.float32))
      >>> plot_spectra([Sound("tone", tone)], 8000)[1:4]
      b'PNG'
    """
    figure, (axis,) = _panels(1, height=3.0)
    for sound in sounds:
        spectrum = np.abs(np.fft.rfft(sound.audio * np.hanning(len(sound.audio))))
        db = 20 * np.log10(np.maximum(spectrum / max(spectrum.max(), 1e-30), 1e-6))
        axis.plot(np.fft.rfftfreq(len(sound.audio), 1 / sample_rate), db, label=_literal(sound.name))
    axis.set(xlabel="Hz", ylabel="dB", ylim=(-100, 3))
    axis.legend()
    return _png(figure, path)


def plot_learning_curve(log: list[dict], path=None) -> bytes:
    """Draw the loss and the validation score of a training run over its steps.

    Args:
      log: entries of a run's ``log.jsonl``: ``step`` with ``loss`` or ``valid/score``.
      path: a PNG file to write too.

    Returns:
      The PNG.

    Example:
      >>> plot_learning_curve([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])[1:4]
      b'PNG'
    """
    figure, (axis,) = _panels(1, height=3.0)
    curves = (("loss", "training loss", axis), ("valid/score", "validation score, dB", axis.twinx()))
    for color, (key, label, where) in zip(("C0", "C1"), curves, strict=True):
        points = [(entry["step"], entry[key]) for entry in log if key in entry]
        if points:
            where.plot(*zip(*points, strict=True), color=color, marker="." if key != "loss" else "")
        where.set_ylabel(label, color=color)
    axis.set_xlabel("step")
    return _png(figure, path)


def plot_scores(scores: dict[str, dict[str, float | None]], label: str, path=None) -> bytes:
    """Draw scores as bars: a group for each source, a bar for each model.

    Args:
      scores: ``{model: {source: dB}}``; None leaves a gap.
      label: of the axis.
      path: a PNG file to write too.

    Returns:
      The PNG.

    Example:
      >>> plot_scores({"mask": {"dog": 3.0, "siren": 4.5}}, "SDR, dB")[1:4]
      b'PNG'
    """
    figure, (axis,) = _panels(1, height=3.4)
    sources = list(dict.fromkeys(source for row in scores.values() for source in row))
    width = 0.8 / len(scores)
    for k, (model, row) in enumerate(scores.items()):
        at = np.arange(len(sources)) + (k - (len(scores) - 1) / 2) * width
        heights = [np.nan if row.get(s) is None else row[s] for s in sources]
        axis.bar(at, heights, width, label=_literal(model))
    axis.set_xticks(np.arange(len(sources)), [_literal(s) for s in sources])
    axis.axhline(0, color=_INK, linewidth=0.6)
    axis.set_ylabel(label)
    axis.legend(fontsize=8, ncols=3)
    return _png(figure, path)


def plot_text(text: str, path=None) -> bytes:
    """Draw lines of text as they are: the table of a network's layers, say.

    Args:
      text: lines.
      path: a PNG file to write too.

    Returns:
      The PNG.

    Example:
      >>> plot_text("Dense 4 -> 2")[1:4]
      b'PNG'
    """
    from matplotlib.figure import Figure

    lines = text.splitlines()
    widest = max(map(len, lines), default=1)
    figure = Figure(figsize=(0.085 * widest + 0.4, 0.17 * len(lines) + 0.4))
    figure.text(0.2 / figure.get_figwidth(), 0.99, _literal(text), family="monospace", fontsize=9, va="top")
    return _png(figure, path)


def _literal(name):
    """A name as text: between dollars matplotlib would read mathematics."""
    return name.replace("$", r"\$")


def _panels(count, height=1.9):
    """A figure of ``count`` panels below each other that share their horizontal axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height * count + 0.4), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(count, sharex=True))


def _fit_any_page(figure):
    """Draw on nothing, in a gray that can be read on a light page and on a dark one."""
    from matplotlib.spines import Spine
    from matplotlib.text import Text

    figure.patch.set_alpha(0)
    for axis in figure.axes:
        axis.patch.set_alpha(0)
        axis.tick_params(color=_INK, labelcolor=_INK)
        if axis.get_legend():
            axis.get_legend().get_frame().set_alpha(0)
    for text in figure.findobj(lambda part: isinstance(part, Text) and part.get_color() == "black"):
        text.set_color(_INK)
    for spine in figure.findobj(Spine):
        spine.set_edgecolor(_INK)


def _png(figure, path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _fit_any_page(figure)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    if path is not None:
        write_atomically(Path(path), buffer.getvalue())
    return buffer.getvalue()
