"""``python -m benchmarks.paths [--minutes 30]``: a recording by every path, beside the command's stems.

A made-up song at the model's rate is separated by the command, :class:`jaxsep.Separator` on an array and on
a stream of uneven blocks, the exported program and its exported stream, for `vocals` (stereo) and
`speech_live` (mono), and for the second also by `jaxsep live`. Printed for each: samples that are missing or
too many, and the largest difference from the command's stems.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import soundfile

from jaxsep.examples import song
from jaxsep.export import export_model, export_stream
from jaxsep.inference import Carry, extend, init_carry
from jaxsep.separator import Separator

_RESULTS = Path(__file__).parent / "results" / "paths.json"


def by_command(model: str, x: np.ndarray, rate: int, folder: Path) -> np.ndarray:
    """Stems ``(stems, channels, samples)`` as ``jaxsep separate`` writes them, in float."""
    soundfile.write(folder / "song.wav", x.T, rate, subtype="FLOAT")
    options = ["-q", "-m", model, "-o", str(folder), "--subtype", "FLOAT", "--filename", "{stem}.{ext}"]
    subprocess.run([sys.executable, "-m", "jaxsep", "separate", *options, folder / "song.wav"], check=True)
    names = Separator.from_pretrained(model).sources
    paths = [next(folder.rglob(f"{name}.wav")) for name in names]
    return np.stack([soundfile.read(path, dtype="float32", always_2d=True)[0].T for path in paths])


def by_separator(model, x, rate, folder):
    """Stems of the whole array."""
    return np.stack(list(Separator.from_pretrained(model)(x, rate).values()))


def by_stream(model, x, rate, folder):
    """Stems of a stream whose blocks have any lengths."""
    separator = Separator.from_pretrained(model)
    blocks = separator.stream(_uneven(x), rate, len(x))
    return np.concatenate([np.stack(list(block.stems.values())) for block in blocks], axis=-1)


def by_export(model, x, rate, folder):
    """Stems of the exported program."""
    separator = Separator.from_pretrained(model)
    export_model(separator, folder / "model.zip", platforms=("cpu",))
    with zipfile.ZipFile(folder / "model.zip") as archive:
        program = jax.export.deserialize(bytearray(archive.read("program.bin")))
    return np.asarray(program.call(x))


def by_export_stream(model, x, rate, folder):
    """Stems of the exported stream, at whose ends the recording is mirrored by hand."""
    separator = Separator.from_pretrained(model)
    step = jax.export.deserialize(bytearray(export_stream(separator, channels=len(x), windows=4))).call
    if separator.live is not None:
        return _by_live_steps(separator.live, step, x, 4)
    system = separator.system
    size, overlap = 4 * (system.segment - system.overlap), system.overlap
    carry: tuple = init_carry(len(separator.sources), len(x), overlap, start=x)
    count = -(-(x.shape[1] + overlap) // size)
    ending = extend(x[:, -size:], count * size - x.shape[1])
    whole = np.concatenate([x, ending], axis=1)
    pieces = []
    for chunk in np.split(whole, count, axis=1):
        *carry, stems = step(*Carry(*carry), chunk)
        pieces.append(np.asarray(stems))
    stems = np.concatenate(pieces, axis=-1)
    return stems[..., overlap : overlap + x.shape[1]]


def _by_live_steps(live, step, x, hops):
    """Stems by exported steps of a live system: silence follows, whose frames are not kept."""
    size, lead, skip = hops * live.hop, live.lead, live.skip
    carry = jax.tree.leaves(live.start(x[:, :lead]))
    count = -(-(x.shape[1] + skip) // size)
    rest = np.pad(x[:, lead:], ((0, 0), (0, lead + count * size - x.shape[1])))
    keep = np.arange(count * hops) < live.system.config.codec.frames(x.shape[1])
    pieces = []
    for chunk, kept in zip(np.split(rest, count, axis=1), np.split(keep, count), strict=True):
        *carry, stems = step(*carry, chunk, kept.astype(np.float32))
        pieces.append(np.asarray(stems))
    return np.concatenate(pieces, axis=-1)[..., skip : skip + x.shape[1]]


def by_live(model, x, rate, folder):
    """Stems of ``jaxsep live``, raw samples through pipes."""
    (folder / "song.raw").write_bytes(np.ascontiguousarray(x.T, "<f4").tobytes())
    command = [sys.executable, "-m", "jaxsep", "live", "-q", "-m", model, "--stem", "all"]
    command += ["--encoding", "f32", "--rate", str(rate), "--channels", str(len(x))]
    with open(folder / "song.raw", "rb") as raw, open(folder / "stems.raw", "wb") as out:
        subprocess.run(command, stdin=raw, stdout=out, check=True)
    count = len(Separator.from_pretrained(model).sources)
    return np.moveaxis(np.fromfile(folder / "stems.raw", "<f4").reshape(-1, count, len(x)), 0, -1)


#: Name -> its function; the stems of the first are those that the others are compared with.
PATHS: dict[str, Callable] = {
    "command": by_command,
    "Separator": by_separator,
    "stream": by_stream,
    "export": by_export,
    "export_stream": by_export_stream,
    "live": by_live,
}


def compare(model: str, minutes: float) -> Iterator[dict]:
    """Yield a row for each path of a model."""
    separator = Separator.from_pretrained(model)
    rate, channels = separator.sample_rate, separator.system.config.channels
    x = made_up(minutes, rate, channels)
    with tempfile.TemporaryDirectory() as name:
        folder, truth = Path(name), np.zeros(0)
        for path, separate in PATHS.items():
            if path == "live" and separator.live is None:
                continue
            begun = time.perf_counter()
            stems = separate(model, x, rate, folder)
            seconds = round(time.perf_counter() - begun, 1)
            truth = stems if path == "command" else truth
            common = min(stems.shape[-1], truth.shape[-1])
            pairs = zip(stems, truth, strict=True)
            yield {
                "model": model,
                "minutes": minutes,
                "path": path,
                "samples_off": stems.shape[-1] - x.shape[-1],
                "difference": max(float(np.max(np.abs(s[:, :common] - t[:, :common]))) for s, t in pairs),
                "seconds": seconds,
            }


def made_up(minutes: float, rate: int, channels: int) -> np.ndarray:
    """A song that goes on at other levels, ``(channels, samples)`` float32, of an odd length."""
    piece = np.sum(list(song(20.0, rate).values()), axis=0)
    samples = int(minutes * 60 * rate) + 1
    gains = np.random.default_rng(0).uniform(0.2, 1, (channels, -(-samples // len(piece)), 1))
    return (gains * piece).reshape(channels, -1)[:, :samples].astype(np.float32)


def _uneven(x):
    rng, at = np.random.default_rng(1), 0
    while at < x.shape[1]:
        size = int(rng.integers(1, 300_000))
        yield x[:, at : at + size]
        at += size


def main() -> int:
    """Compare, print, and write the record of a whole run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paths", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--record", action="store_true", help=f"write {_RESULTS.name}")
    options = parser.parse_args()
    rows = []
    for model in ("vocals", "speech_live"):
        for row in compare(model, options.minutes):
            rows.append(row)
            print(
                "{model}, {path}: {samples_off} samples off, {difference:.1e}, {seconds} s".format(**row),
                flush=True,
            )
    if options.record:
        _RESULTS.write_text(
            json.dumps({"command": "python -m benchmarks.paths", "rows": rows}, indent=1) + "\n"
        )
    return 0 if all(not row["samples_off"] and row["difference"] <= 1e-4 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
