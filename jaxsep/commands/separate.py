"""``jaxsep separate``: files in, one file per stem out."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from jaxsep.audio import AudioReader, AudioWriter, check_format, show, write_together
from jaxsep.audio.writing import ClipMode
from jaxsep.commands.progress import bar
from jaxsep.commands.tracks import Track, find_tracks
from jaxsep.compilation import keep_compiled
from jaxsep.errors import AudioWarning, UserError, for_command, one_line
from jaxsep.outputs import claimed_folder, make_folder, note_source, output_folder, own_folder
from jaxsep.separator import Block, Separator

#: Where a stem goes below the model's folder.
FILENAME = "{track}/{stem}.{ext}"


def separate(options) -> int:
    """Separate every file; go on after one that cannot be, and say so with the exit status."""
    keep_compiled()
    check_format(options.format, 44100, 1, options.subtype, options.bitrate)
    separator = Separator.from_pretrained(
        options.model,
        wiener=options.wiener,
        shifts=options.shifts,
        segment=options.segment,
        overlap=options.overlap,
        windows=options.batch_size,
    )
    stems = _chosen(options, separator.sources)
    _check_template(options.filename)
    root = Path(options.out) / separator.name
    if not options.dry_run:
        root = output_folder(options.out, separator.name)
    one = partial(_separate_track, options, separator, stems, root)
    tracks = find_tracks(options.files, leave_out=root.parent)
    if options.jobs == 1:
        failed = sum(map(one, tracks))
    else:
        with ThreadPoolExecutor(options.jobs) as pool:
            failed = sum(pool.map(one, tracks))
    return 2 if failed else 0


def _separate_track(options, separator, stems, root, track: Track | UserError) -> bool:
    """Separate one file as the options say; whether it failed."""
    name = "" if isinstance(track, UserError) else show(track.path)
    try:
        if isinstance(track, UserError):
            raise track
        with _place(options, root, track, stems) as (folder, files):
            targets = {stem: str(folder / file) for stem, file in files.items()}
            if options.dry_run or (options.skip_existing and all(map(os.path.exists, targets.values()))):
                _report(options, name, targets, "would be written" if options.dry_run else "there already")
                return False
            if Path(track.path).is_fifo() and not options.quiet:
                print(f"{name}: a pipe, read to its end first", file=sys.stderr)
            start = time.perf_counter()
            with bar(name, options.quiet or options.jobs > 1) as progress:
                seconds, gain = separate_file(
                    separator,
                    track.path,
                    folder,
                    stems,
                    files=files,
                    note=options.filename == FILENAME,
                    progress=progress,
                    **_writing(options),
                )
            speed = seconds / (time.perf_counter() - start)
            note = f"; all stems scaled by {gain:.4f} to fit the format" if gain != 1 else ""
            _report(options, name, targets, f"{speed:.0f}x real time{note}", seconds=seconds, gain=gain)
            if options.plot or options.page:
                from jaxsep.commands.pictures import show_stems

                before = "" if options.filename == FILENAME else f"{Path(track.name).name}."
                show_stems(folder, before, targets, plot=options.plot, page=options.page)
    except Exception as error:  # whatever happens to a file, the others are separated
        if options.verbose and not isinstance(error, UserError):
            traceback.print_exc()
        reason = for_command(error) if isinstance(error, UserError) else f"{name}: {_reason(error)}"
        print(f"jaxsep: {reason}", file=sys.stderr)
        return True
    return False


def separate_file(
    separator: Separator,
    path,
    folder: Path,
    stems,
    *,
    format: str = "wav",
    subtype: str = "",
    bitrate: int = 0,
    clip_mode: ClipMode = "rescale",
    strict: bool = False,
    sanitize: bool = False,
    files: Mapping[str, str] | None = None,
    note: bool = True,
    progress=None,
) -> tuple[float, float]:
    """Separate one file into ``folder/STEM.format``; all stems appear together or none does.

    Args:
      separator, path, folder: the model, a file, and where stems go.
      stems: names of the model's stems; ``no_STEM``, what a stem leaves of the mixture; ``residual``, what
        all stems that are named leave of it.
      format, subtype, bitrate, clip_mode: see :class:`jaxsep.audio.AudioWriter` and
        :func:`jaxsep.audio.write_together`.
      strict, sanitize: see :class:`jaxsep.audio.AudioReader`.
      files: stem -> name below the folder, where it is another.
      note: write ``source.json``, which says whose stems the folder holds.
      progress: called with samples done and in all (None where that is not known).

    Returns:
      The file's length in seconds, and the gain that all stems were scaled by so that a format
      without headroom holds them (1 for wav).
    """
    reader = AudioReader(path, strict=strict, sanitize=sanitize)
    rate, channels = reader.sample_rate, reader.channels
    check_format(format, rate, channels, subtype, bitrate)
    if channels > 2 and separator.system.config.channels == 2:
        reader.close()
        raise UserError(f"{show(path)}: has {channels} channels; {separator.name} hears one or two")
    writers: dict[str, AudioWriter] = {}
    samples = 0
    try:
        for stem in stems:
            target = folder / (files or {}).get(stem, f"{stem}.{format}")
            make_folder(target.parent)
            writers[stem] = AudioWriter(target, rate, channels, format, reader.frames, subtype, bitrate)
        for block in separator.stream(reader.blocks(), rate, channels, reader.frames):
            samples += block.mixture.shape[1]
            for stem, writer in writers.items():
                writer.write(_stem(block, stem, stems))
            if progress is not None:
                progress(samples, reader.frames)
        gain = write_together(list(writers.values()), clip_mode)
    finally:
        reader.close()
        for writer in writers.values():
            writer.discard()
    if reader.sanitized:
        message = f"{show(path)}: {reader.sanitized} samples that were not finite are now zero"
        warnings.warn(message, AudioWarning, stacklevel=2)
    if note:
        note_source(folder, path, model=separator.name, gain=gain)
    return samples / rate, gain


def _stem(block: Block, stem: str, stems):
    """A stem of the model, or what one or all of those that are written leave of the mixture."""
    if stem in block.stems:
        return block.stems[stem]
    taken = [stem.removeprefix("no_")] if stem != "residual" else [s for s in stems if s in block.stems]
    return block.mixture - sum(block.stems[name] for name in taken)


def _writing(options):
    names = ("format", "subtype", "bitrate", "clip_mode", "strict", "sanitize")
    return {name: getattr(options, name) for name in names}


def _place(options, root, track, stems):
    """A context of the folder and of stem -> file below it, both this input's own."""
    if options.filename != FILENAME:
        return nullcontext(_by_template(options, root, track, stems))
    files = {stem: f"{stem}.{options.format}" for stem in stems}
    claim = nullcontext(own_folder(root, track.name)) if options.dry_run or options.force else None
    return _with(claim or claimed_folder(root, track.path, track.name), files)


class _with:
    """A context manager's value beside another value."""

    def __init__(self, context, value):
        self._context, self._value = context, value

    def __enter__(self):
        return self._context.__enter__(), self._value

    def __exit__(self, *error):
        return self._context.__exit__(*error)


def _by_template(options, root, track, stems):
    """Files named by --filename: of a track whose files are there already another, unless told otherwise."""
    keep = options.force or options.skip_existing or options.dry_run
    for name in (track.name, *(f"{track.name}-{n}" for n in range(2, 10000))):
        known = dict(track=name, ext=options.format, model=root.name)
        files = {stem: options.filename.format(stem=stem, **known) for stem in stems}
        inside = all((root / f).resolve().is_relative_to(root.resolve()) for f in files.values())
        if not inside:
            raise UserError(f"{options.filename}: leads out of {show(root)}", "filename")
        if keep or not any((root / file).exists() for file in files.values()):
            return root, files
    raise UserError(f"{show(root)}: too many tracks named {track.name}; give another folder", "out")


def _check_template(template):
    known = dict(track="t", stem="s", ext="e", model="m")
    try:
        differ = template.format(**known) != template.format(**{**known, "stem": "z"})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UserError(
            f"{template}: expected a name of {{track}}, {{stem}}, {{ext}} and {{model}} ({one_line(error)})",
            "filename",
        ) from error
    if not differ:
        raise UserError(f"{template}: without {{stem}} every stem would have one name", "filename")


def _report(options, name, targets, text, **facts):
    if options.json:
        print(json.dumps({"input": name, "stems": targets, "note": text, **facts}), flush=True)
    elif not options.quiet:
        folders = {os.path.dirname(target) for target in targets.values()}
        where = folders.pop() if len(folders) == 1 else os.path.commonpath(folders)
        print(f"{name} -> {show(where)} ({', '.join(targets)}; {text})", flush=True)


def _reason(error):
    """What a system's error says, in one line, the file that it is about aside."""
    return f"could not be separated ({getattr(error, 'strerror', None) or one_line(error)})"


def _chosen(options, sources) -> tuple[str, ...]:
    """Names of the stems to write."""
    if options.two_stems:
        if options.stems or options.residual:
            raise UserError("--two-stems: names both stems; leave out --stems and --residual")
        _known("--two-stems", [options.two_stems], sources)
        return options.two_stems, f"no_{options.two_stems}"
    if not options.stems:
        if options.residual:
            raise UserError("--residual: is what the stems named by --stems leave of the mixture; name some")
        return sources
    names = tuple(dict.fromkeys(name.strip() for name in options.stems.split(",")))
    _known("--stems", names, sources)
    return (*names, "residual") if options.residual else names


def _known(flag, names, sources):
    unknown = [name for name in names if name not in sources]
    if unknown:
        raise UserError(f"{flag} {unknown[0]}: this model's stems are {', '.join(sources)}")
