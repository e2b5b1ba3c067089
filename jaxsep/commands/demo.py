"""``jaxsep demo``: a made-up song, its voice out, scored, to hear and to see."""

from __future__ import annotations

import time

import numpy as np

from jaxsep.audio import AudioWriter, read_audio, write_together
from jaxsep.commands.separate import separate_file
from jaxsep.compilation import keep_compiled
from jaxsep.evaluation import score_track
from jaxsep.examples import song
from jaxsep.figures import Sound, plot_spectrograms
from jaxsep.files import write_atomically
from jaxsep.outputs import output_folder
from jaxsep.report import PageTrack, listening_page
from jaxsep.separator import Separator

_RATE = 16000


def demo(options) -> int:
    """Mix, separate and score a song; write WAV, PNG and HTML; say what to try next."""
    keep_compiled()
    start = time.perf_counter()
    say = (lambda *_: None) if options.quiet else print
    separator = Separator.from_pretrained("vocals")
    folder = output_folder(options.out, separator.name)
    references = folder.parent / "references"
    references.mkdir(exist_ok=True)
    say("Making a song: a voice and a band that never were ...")
    parts = song(12.0, _RATE, seed=options.seed)
    for name, audio in {**parts, "mixture": _mix(parts)}.items():
        where = folder.parent / "mixture.wav" if name == "mixture" else references / f"{name}.wav"
        writer = AudioWriter(where, _RATE, 1)
        writer.write(audio[None])
        write_together([writer])
    say(f"Separating it with the model {separator.name!r} ...")
    separate_file(separator, folder.parent / "mixture.wav", folder, separator.sources)
    stems = {name: read_audio(folder / f"{name}.wav")[0] for name in separator.sources}
    wanted = np.stack([parts[name] for name in separator.sources])
    scores = score_track(wanted[:, None], np.stack(list(stems.values()))[:, None])
    _report(folder.parent, parts, stems, scores)
    say(f"\n{'stem':16}{'SDR':>9}{'better than the mixture by':>30}")
    for name, score in zip(stems, scores, strict=True):
        say(f"{name:16}{score['sdr']:6.1f} dB{score['nsdr']:+27.1f} dB")
    out = folder.parent
    say(f"\nListen: {out / 'index.html'} (a page) or the WAV files in {out}")
    say(f"Look:   {out / 'spectrograms.png'}")
    say(f"Done in {time.perf_counter() - start:.0f} s. Now try a song of yours:  jaxsep separate song.mp3")
    return 0 if all((score["nsdr"] or 0) > 0 for score in scores) else 2


def _mix(parts):
    return np.sum(list(parts.values()), axis=0)


def _report(out, parts, stems, scores):
    """Write the picture and the page."""
    mixture = Sound("mixture", _mix(parts), "what the model hears")
    heard = [Sound(name, stems[name], "what the model makes of it") for name in stems]
    true = [Sound(f"{name} (reference)", parts[name], "what went into the mixture") for name in stems]
    pairs = [sound for pair in zip(heard, true, strict=True) for sound in pair]
    plot_spectrograms([mixture, *pairs], _RATE, out / "spectrograms.png")
    rows = [
        {
            "stem": name,
            "SDR, dB": f"{s['sdr']:.2f}",
            "SIR, dB": f"{s['sir']:.2f}",
            "SAR, dB": f"{s['sar']:.2f}",
            "SDR gained, dB": f"{s['nsdr']:.2f}",
        }
        for name, s in zip(stems, scores, strict=True)
    ]
    text = "A made-up song, separated by jaxsep. No recording was used to make it."
    track = PageTrack("A made-up song", [mixture, *pairs], _RATE, rows)
    page = listening_page("jaxsep demo", [track], text=text)
    write_atomically(out / "index.html", page)
