"""``jaxsep separate``: files in, one file per stem out."""

from __future__ import annotations

import json
import os
import time
import traceback
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from jaxsep.audio import AudioReader, AudioWriter, check_format, show, write_together
from jaxsep.audio.loudness import loudness as measured
from jaxsep.audio.writing import ClipMode
from jaxsep.commands.options import FILENAME
from jaxsep.commands.places import Place, Places, check_template
from jaxsep.commands.progress import bar
from jaxsep.commands.say import complain, note, tell
from jaxsep.commands.tracks import Track, find_tracks
from jaxsep.compilation import keep_compiled
from jaxsep.errors import AudioWarning, UserError, for_command, one_line
from jaxsep.outputs import make_folder, note_source, output_folder
from jaxsep.separator import Block, Separator


def separate(options) -> int:
    """Separate every file; go on after one that cannot be, and say so with the exit status."""
    keep_compiled()
    check_format(options.format, None, 1, options.subtype, options.bitrate)
    separator = Separator.from_pretrained(
        options.model,
        wiener=options.wiener,
        shifts=options.shifts,
        segment=options.segment,
        overlap=options.overlap,
        windows=options.batch_size,
    )
    stems = _chosen(options, separator.sources)
    check_template(options.filename)
    root = Path(options.out) / separator.name
    if not options.dry_run:
        root = output_folder(options.out, separator.name)
    batch = _Batch(options, separator, stems, root)
    tracks = find_tracks(options.files, root)
    if options.jobs == 1:
        failed = sum(map(batch.separate, tracks))
    else:
        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                failed = sum(pool.map(batch.separate, tracks))
            except BaseException:  # an interrupt: those in progress end at their next block
                batch.stopped = True
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return 2 if failed else 0


class _Batch:
    """The files of a command: one model, the same options, no two of one name."""

    def __init__(self, options, separator, stems, root):
        self._options, self._separator, self._stems, self._root = options, separator, stems, root
        self._places = Places(root, options.filename, options.format, stems)
        self.stopped = False

    def separate(self, track: Track | UserError) -> bool:
        """Separate one file; whether it failed."""
        name = "" if isinstance(track, UserError) else show(track.path)
        try:
            if isinstance(track, UserError):
                raise track
            with self._place(track) as place:
                done = self._there(track, place) or self._written(track, place)
            return not done
        except BrokenPipeError:
            raise
        except Exception as error:  # whatever happens to a file, the others are separated
            if self._options.verbose and not isinstance(error, UserError):
                traceback.print_exc()
            reason = for_command(error) if isinstance(error, UserError) else f"{name}: {_reason(error)}"
            complain(reason)
            return True

    def _place(self, track):
        """A context of where this track's stems go."""
        options = self._options
        if options.filename == FILENAME and not (options.dry_run or options.force):
            return self._places.claimed(track)
        given = options.force or options.skip_existing or options.dry_run
        return nullcontext(self._places.free(track, overwrite=given))

    def _there(self, track, place: Place) -> bool:
        """Whether there is nothing to do: a dry run, or stems that are there and shall stay."""
        if self._options.dry_run:
            if track.path != "-" and not os.path.exists(track.path):
                raise UserError(f"{show(track.path)}: there is no such file")
            self._report(track, place, "would be written")
            return True
        if self._options.skip_existing and all(path.exists() for path in place.targets.values()):
            self._report(track, place, "there already")
            return True
        return False

    def _written(self, track, place: Place) -> bool:
        """Separate, report, and draw; whether all of it was done."""
        options, name = self._options, show(track.path)
        if Path(track.path).is_fifo() and not options.quiet:
            note(f"{name}: a pipe, read to its end first")
        start = time.perf_counter()
        with bar(name, options.quiet or options.jobs > 1) as shown:
            seconds, gain = separate_file(
                self._separator,
                track.path,
                place.folder,
                self._stems,
                targets=place.targets,
                note_origin=place.own,
                progress=partial(self._progress, shown),
                **_writing(options),
            )
        speed = seconds / (time.perf_counter() - start)
        scaled = f"; all stems scaled by {gain:.4f} to fit the format" if gain != 1 else ""
        self._report(track, place, f"{speed:.2g}x real time{scaled}", seconds=seconds, gain=gain)
        if not (options.plot or options.page):
            return True
        from jaxsep.commands.pictures import show_stems

        try:
            show_stems(place, plot=options.plot, page=options.page)
        except Exception as error:
            complain(f"{name}: its stems are written, but no picture of them ({one_line(error)})")
            return False
        return True

    def _progress(self, shown, done, total):
        if self.stopped:
            raise UserError("interrupted")
        if shown is not None:
            shown(done, total)

    def _report(self, track, place, text, **facts):
        targets = {stem: str(path) for stem, path in place.targets.items()}
        if self._options.json:
            tell(json.dumps({"input": show(track.path), "stems": targets, "note": text, **facts}))
        elif not self._options.quiet:
            folders = {os.path.dirname(target) for target in targets.values()}
            where = folders.pop() if len(folders) == 1 else os.path.commonpath(folders)
            tell(f"{show(track.path)} -> {show(where)} ({', '.join(targets)}; {text})")


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
    loudness: float | None = None,
    targets: Mapping[str, Path] | None = None,
    note_origin: bool = True,
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
      loudness: LUFS that the model hears the file at; its stems come back at the file's. As it is when None.
      targets: stem -> file, where it is another.
      note_origin: write ``source.json``, which says whose stems the folder holds.
      progress: called with samples done and in all (None where that is not known).

    Returns:
      The file's length in seconds, and the gain that all stems were scaled by so that a format
      without headroom holds them (1 for 32-bit float).
    """
    level = 1.0 if loudness is None else _level(path, loudness, sanitize)
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
            target = (targets or {}).get(stem, folder / f"{stem}.{format}")
            make_folder(target.parent)
            writers[stem] = AudioWriter(target, rate, channels, format, reader.frames, subtype, bitrate)
        blocks = reader.blocks() if level == 1 else (block * level for block in reader.blocks())
        for block in separator.stream(blocks, rate, channels, reader.frames):
            samples += block.mixture.shape[1]
            for stem, writer in writers.items():
                audio = _stem(block, stem, stems)
                writer.write(audio if level == 1 else audio / level)
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
    if note_origin:
        note_source(folder, path, model=separator.name, gain=gain)
    return samples / rate, gain


def _level(path, wanted, sanitize):
    """What a file is multiplied by to be as loud as wanted; 1 where it is silent."""
    if str(path) == "-" or Path(path).is_fifo():
        raise UserError(
            f"{show(path)}: a pipe is read once; write it to a file to measure its loudness", "loudness"
        )
    reader = AudioReader(path, sanitize=sanitize)
    try:
        found = measured(reader.blocks(), reader.sample_rate)
    finally:
        reader.close()
    return np.float32(10 ** ((wanted - found) / 20)) if np.isfinite(found) else 1.0


def _stem(block: Block, stem: str, stems):
    """A stem of the model, or what one or all of those that are written leave of the mixture."""
    if stem in block.stems:
        return block.stems[stem]
    taken = [stem.removeprefix("no_")] if stem != "residual" else [s for s in stems if s in block.stems]
    return block.mixture - sum(block.stems[name] for name in taken)


def _writing(options):
    names = ("format", "subtype", "bitrate", "clip_mode", "strict", "sanitize", "loudness")
    return {name: getattr(options, name) for name in names}


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
