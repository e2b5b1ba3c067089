"""A page to listen to: one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxsep.figures import Sound, plot_spectrograms


@dataclass(frozen=True)
class PageTrack:
    """One track of a page."""

    name: str
    sounds: list[Sound]
    """What to hear, all of one length; the first plays at first."""
    sample_rate: int
    scores: list[dict]
    """Rows of a table, all with the same keys."""


def listening_page(
    title: str,
    tracks: list[PageTrack],
    *,
    text: str = "",
    summary: list[dict] | None = None,
    curve: bytes | None = None,
    config: str = "",
) -> str:
    """Return an HTML page: for each track players that share one position, spectrograms and scores.

    Args:
      title: heading of the page.
      tracks: what to hear.
      text: a paragraph above the players.
      summary: rows of a table over all tracks.
      curve: PNG of the learning curve of the run that made the model.
      config: the model's config, to unfold.

    Returns:
      The page; it needs no network. The scores stand in it as JSON too, in the element ``scores``.
    """
    import string

    page = string.Template((Path(__file__).parent / "report.html").read_text())
    scores = {"summary": summary or [], "tracks": {track.name: track.scores for track in tracks}}
    return page.substitute(
        title=html.escape(title),
        text=html.escape(text),
        summary=_table(summary or []),
        tracks="".join(map(_track, tracks)),
        curve=f"<h2>Training</h2>{_image(curve, 'Learning curve')}" if curve else "",
        config=f"<details><summary>Config</summary><pre>{html.escape(config)}</pre></details>"
        if config
        else "",
        scores=_in_html(json.dumps(scores)),
    )


def _in_html(text):
    """JSON that no parser of HTML takes for markup: ``<!--<script>`` would swallow the page."""
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _track(track):
    players = "".join(_player(i, sound, track.sample_rate) for i, sound in enumerate(track.sounds))
    return (
        f'<article aria-label="{html.escape(track.name)}"><h2>{html.escape(track.name)}</h2>'
        '<div class="bar"><button class="play">Play</button>'
        '<input class="place" type="range" min="0" max="1" step="any" value="0" aria-label="Position">'
        f'<output class="time">0.0 s</output></div>\n{players}{_table(track.scores)}</article>\n'
    )


def _player(i, sound, sample_rate):
    image = _image(plot_spectrograms([sound], sample_rate), f"Spectrogram of {sound.name}")
    audio = base64.b64encode(_wav(sound.audio, sample_rate)).decode()
    name, note = html.escape(sound.name), html.escape(sound.note)
    return (
        f'<section><button data-sound="{i}" aria-pressed="{"true" if i == 0 else "false"}">'
        f"{name}</button> <span>{note}</span>"
        f'<audio preload="auto" src="data:audio/wav;base64,{audio}"></audio>{image}</section>\n'
    )


def players(sounds: Mapping[str, np.ndarray], sample_rate: int) -> str:
    """HTML of a player for each sound, ``(samples,)`` or ``(channels, samples)``, for a notebook's cell.

    Example:
      >>> players({"voice": np.zeros(8, np.float32)}, 8000).count("<audio")
      1
    """
    lines = []
    for name, audio in sounds.items():
        data = base64.b64encode(_wav(np.atleast_2d(audio).T, sample_rate)).decode()
        lines.append(
            f'<div>{html.escape(name)}<br><audio controls src="data:audio/wav;base64,{data}"></audio></div>'
        )
    return "\n".join(lines)


def _image(png, alt):
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def _table(rows):
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    body = "".join("<tr>" + "".join(_cell(*cell) for cell in row.items()) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(key, value):
    return f'<td data-head="{html.escape(str(key))}">{html.escape(str(value))}</td>'


def _wav(audio, sample_rate):
    """16-bit WAV, which every browser plays, scaled down if it would clip."""
    import soundfile

    buffer = io.BytesIO()
    scaled = audio / max(1.0, float(np.max(np.abs(audio))))
    soundfile.write(buffer, scaled, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
