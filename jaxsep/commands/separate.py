"""``jaxsep separate``: files in, one file per stem out."""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from pathlib import Path

from jaxsep.audio import AudioReader, AudioWriter, audio_files, check_format, show, write_together
from jaxsep.errors import AudioWarning, UserError, for_command, one_line
from jaxsep.outputs import claimed_folder, make_folder, note_source, output_folder
from jaxsep.separator import Separator


def separate(options) -> int:
    """Separate every file; go on after one that cannot be, and say so with the exit status."""
    check_format(options.format, 44100, 1)
    separator = Separator.from_pretrained(options.model, wiener=options.wiener)
    stems = _chosen(options.stems, separator.sources)
    root = output_folder(options.out, separator.name)
    failed = 0
    for path in _files(options.files):
        try:
            if isinstance(path, UserError):
                raise path
            if Path(path).is_fifo() and not options.quiet:
                print(f"{show(path)}: a pipe, read to its end first", file=sys.stderr)
            start = time.perf_counter()
            with claimed_folder(root, path) as folder:
                seconds, gain = separate_file(
                    separator,
                    path,
                    folder,
                    stems,
                    format=options.format,
                    strict=options.strict,
                    sanitize=options.sanitize,
                )
        except Exception as error:  # whatever happens to a file, the others are separated
            failed += 1
            if options.verbose and not isinstance(error, UserError):
                traceback.print_exc()
            reason = for_command(error) if isinstance(error, UserError) else f"{show(path)}: {_reason(error)}"
            print(f"jaxsep: {reason}", file=sys.stderr)
            continue
        if not options.quiet:
            note = f", all stems scaled by {gain:.4f} to fit the format" if gain != 1 else ""
            speed = seconds / (time.perf_counter() - start)
            print(f"{show(path)} -> {show(folder)} ({', '.join(stems)}; {speed:.0f}x real time{note})")
    return 2 if failed else 0


def separate_file(
    separator: Separator,
    path,
    folder: Path,
    stems,
    *,
    format: str = "wav",
    strict: bool = False,
    sanitize: bool = False,
) -> tuple[float, float]:
    """Separate one file into ``folder/STEM.format``; all stems appear together or none does.

    Returns:
      The file's length in seconds, and the gain that all stems were scaled by so that a format
      without headroom holds them (1 for wav).
    """
    reader = AudioReader(path, strict=strict, sanitize=sanitize)
    rate, channels = reader.sample_rate, reader.channels
    check_format(format, rate, channels)
    if channels > 2 and separator.system.config.channels == 2:
        reader.close()
        raise UserError(f"{show(path)}: has {channels} channels; {separator.name} hears one or two")
    make_folder(folder)
    writers = {}
    samples = 0
    try:
        for stem in stems:
            target = folder / f"{stem}.{format}"
            writers[stem] = AudioWriter(target, rate, channels, format, reader.frames)
        for block in separator.stream(reader.blocks(), rate, channels, reader.frames):
            samples += block.mixture.shape[1]
            for stem, writer in writers.items():
                writer.write(block.stems[stem])
        gain = write_together(list(writers.values()))
    finally:
        reader.close()
        for writer in writers.values():
            writer.discard()
    if reader.sanitized:
        message = f"{show(path)}: {reader.sanitized} samples that were not finite are now zero"
        warnings.warn(message, AudioWarning, stacklevel=2)
    note_source(folder, path, model=separator.name, gain=gain)
    return samples / rate, gain


def _reason(error):
    """What a system's error says, in one line, the file that it is about aside."""
    return f"could not be separated ({getattr(error, 'strerror', None) or one_line(error)})"


def _chosen(text, sources):
    if not text:
        return sources
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in sources]
    if unknown:
        raise UserError(f"--stems {unknown[0]}: this model's stems are {', '.join(sources)}")
    return names


def _files(arguments):
    """The files meant by the arguments: themselves, or the audio files in a folder."""
    for argument in arguments:
        if not os.path.isdir(argument):
            yield argument
            continue
        try:
            found = [str(path) for path in audio_files(argument, depth=0)]
        except UserError as error:
            yield error
            continue
        if found:
            yield from found
        else:
            yield UserError(f"{show(argument)}: a folder without audio files")
