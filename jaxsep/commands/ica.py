"""``jaxsep ica``: several microphones in, one file per source out."""

from __future__ import annotations

import numpy as np

from jaxsep.audio import (
    OUTPUT_FORMATS,
    AudioReader,
    AudioWriter,
    Resampler,
    check_format,
    show,
    write_together,
)
from jaxsep.compilation import keep_compiled
from jaxsep.errors import UserError
from jaxsep.outputs import claimed_folder, note_source, output_folder

_NOTHING = "every microphone is silent or constant"


def ica(options) -> int:
    """Separate the channels of the files blindly; write ``ica/TRACK/source1.wav`` and so on."""
    keep_compiled()
    x, rate = read_microphones(
        options.files, trim=options.trim, resample=options.resample, sanitize=options.sanitize
    )
    check_format(options.format, rate, 1)
    sources, status = _separate(x, options)
    root = output_folder(options.out, "ica")
    with claimed_folder(root, options.files) as folder:
        gain = _write(sources, rate, folder, options.format)
        note_source(folder, options.files, method=options.method, gain=gain)
    if options.figure:
        _figure(x, sources, rate, folder)
    if not options.quiet:
        print(f"{len(x)} microphones -> {show(folder)} ({len(sources)} sources{status})")
        if options.diagnostics:
            _print_diagnostics(x, sources)
    return 0


def _write(sources, rate, folder, format):
    names = [folder / f"source{i + 1}.{format}" for i in range(len(sources))]
    writers = [AudioWriter(name, rate, 1, format) for name in names]
    try:
        for writer, source in zip(writers, sources, strict=True):
            writer.write(source[None])
        gain = write_together(writers)
    finally:
        for writer in writers:
            writer.discard()
    for old in folder.glob("source[0-9]*.*"):  # of a run before with more sources, or another format
        if old not in names and old.suffix[1:] in OUTPUT_FORMATS:
            old.unlink()
    return gain


def read_microphones(files, *, trim: bool = False, resample: int | None = None, sanitize: bool = False):
    """Return ``(microphones, samples)`` float32 and Hz of one multi-channel or several mono files.

    Args:
      files: paths.
      trim: cut all to the shortest, instead of refusing different lengths, of which two samples are those of
        resampling.
      resample: Hz to resample all to, instead of refusing different rates.
      sanitize: replace NaN and infinite samples by zero.

    Raises:
      UserError: files that do not fit together, or a single channel in all.
    """
    audio, rates = [], []
    for path in files:
        reader = AudioReader(path, sanitize=sanitize)
        rates.append(reader.sample_rate)
        audio.append(reader.read())
    resampled = resample is not None and len(set(rates)) > 1
    if resample is not None:
        audio = [_resampled(a, rate, resample) for a, rate in zip(audio, rates, strict=True)]
        rates = [resample]
    if len(set(rates)) > 1:
        raise UserError(f"{_list(files)}: have {_all(rates)} Hz; give --resample {max(rates)}")
    lengths = {a.shape[1] for a in audio}
    rounded = resampled and max(lengths) - min(lengths) <= 2
    if len(lengths) > 1 and not (trim or rounded):
        raise UserError(f"{_list(files)}: have {_all(lengths)} samples; --trim cuts all to the shortest")
    x = np.concatenate([a[:, : min(lengths)] for a in audio])
    if len(x) < 2:
        raise UserError(f"{_list(files)}: one microphone; blind separation needs at least two")
    return x, rates[0]


def _separate(x, options):
    """Sources at the level that they have in the reference microphone, and a note."""
    import jax

    from jaxsep import bss

    count, reference = options.sources, options.reference - 1
    if count is not None and not 1 <= count <= len(x):
        raise UserError(f"--sources {count}: these {len(x)} microphones can tell 1 to {len(x)} sources apart")
    if not 0 <= reference < len(x):
        raise UserError(f"--reference {options.reference}: expected 1 to {len(x)}")
    if options.method in ("auxiva", "ilrma"):
        if not np.any(np.ptp(x, axis=1)):
            raise UserError(f"{_list(options.files)}: {_NOTHING}")
        if count not in (None, len(x)):
            raise UserError(f"--sources {count}: --method {options.method} finds one source a microphone")
        extra = {"key": jax.random.key(options.seed)} if options.method == "ilrma" else {}
        y = getattr(bss, options.method)(x, reference=reference, n_iter=options.iterations or 50, **extra)
        if not np.isfinite(y).all():
            raise UserError(
                f"{_list(options.files)}: --method {options.method} found no finite sources; give fewer "
                "--iterations, a longer recording, or --method auxiva"
            )
        return np.asarray(y), ""
    if x.shape[1] <= len(x):
        raise UserError(f"{_list(options.files)}: {x.shape[1]} samples are too few for {len(x)} microphones")
    run = getattr(bss, options.method)
    extra = {}
    if options.method != "fobi":  # which draws nothing and does not iterate
        extra |= {"key": jax.random.key(options.seed)} if options.seed else {}
        extra |= {"max_iter": options.iterations} if options.iterations else {}
    result = run(x, n_components=count, **extra)
    rank = int(result.rank)
    if rank == 0:
        raise UserError(f"{_list(options.files)}: {_NOTHING}")
    sources = np.asarray(bss.projection_back(result, reference))[:rank]
    unsure = ", not converged: the sources may be normal, or samples or --iterations too few"
    note = "" if bool(result.converged) else unsure
    missing = len(result.sources) - rank
    note += f", {missing} fewer than asked: the microphones are not independent" if missing else ""
    return sources, f", {int(result.num_steps)} iterations{note}"


def _print_diagnostics(x, sources):
    """A table of mixtures against sources."""
    from jaxsep.bss import diagnose

    tables = [diagnose(x), diagnose(sources) if len(sources) > 1 else {}]
    columns = [f"mic{i + 1}" for i in range(len(x))]
    columns += [f"source{i + 1}" for i in range(len(sources))] if len(sources) > 1 else []
    print(f"{'':24}" + "".join(f"{c:>11}" for c in columns))
    for name in tables[0]:
        values = [v for table in tables for v in table.get(name, [])]
        print(f"{name:24}" + "".join(f"{v:11.4f}" for v in values))


def _figure(x, sources, rate, folder):
    from jaxsep.figures import Sound, plot_spectrograms

    sounds = [Sound(f"microphone {i + 1}", a) for i, a in enumerate(x)]
    sounds += [Sound(f"source {i + 1}", a) for i, a in enumerate(sources)]
    plot_spectrograms(sounds, rate, folder / "spectrograms.png")


def _resampled(audio, before, after):
    resampler = Resampler(before, after, len(audio))
    return np.concatenate([resampler.push(audio), resampler.finish()], axis=1)


def _list(files):
    return ", ".join(show(f) for f in files)


def _all(values):
    return ", ".join(str(v) for v in sorted(set(values)))
