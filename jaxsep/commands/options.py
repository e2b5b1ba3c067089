"""Options of ``jaxsep separate`` in groups, and the types of numbers that options take."""

from __future__ import annotations

import argparse
import math


def number(kind, least, most, above=False):
    """A type for argparse: a number from ``least`` (or above it) to ``most``."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (least < value <= most if above else least <= value <= most):
            what = "a whole number" if kind is int else "a number"
            start = f"above {least}, at most" if above else f"from {least} to"
            raise argparse.ArgumentTypeError(f"{text}: expected {what} {start} {most}")
        return value

    return parse


def whole(least, most):
    """A type for argparse: a whole number from ``least`` to ``most``."""
    return number(int, least, most)


#: Seconds: above 0, a day at most.
SECONDS = number(float, 0, 86400, above=True)


#: Where a stem goes below the model's folder.
FILENAME = "{track}/{stem}.{ext}"


def add_format(command):
    """The format of the files that a command writes."""
    command.add_argument(
        "--format", default="wav", help="wav (32-bit float), flac (24-bit), ogg or mp3 (default: wav)"
    )


def add_stems(separate):
    """Which stems are written."""
    group = separate.add_argument_group("stems")
    group.add_argument("--stems", metavar="NAMES", help="which to write, with commas (default: all)")
    group.add_argument("--two-stems", metavar="STEM", help="write STEM and no_STEM, the rest of the mixture")
    group.add_argument(
        "--residual", action="store_true", help="with --stems: also write what they leave of the mixture"
    )


def add_writing(separate):
    """How and where files are written."""
    group = separate.add_argument_group("files")
    add_format(group)
    group.add_argument("--subtype", default="", help="PCM_16, PCM_24 or FLOAT, of wav and flac")
    group.add_argument("--bitrate", type=whole(8, 320), default=0, metavar="KBIT", help="of mp3, kbit/s")
    group.add_argument(
        "--clip-mode",
        choices=("rescale", "clamp", "none"),
        default="rescale",
        help="above full scale: one gain for all stems where the format has no headroom (rescale), cut "
        "(clamp), or as the format does (default: rescale)",
    )
    group.add_argument(
        "--filename",
        default=FILENAME,
        metavar="TEMPLATE",
        help=f"below OUT/MODEL, of {{track}}, {{stem}}, {{ext}}, {{model}} (default: {FILENAME})",
    )
    there = group.add_mutually_exclusive_group()
    there.add_argument("--skip-existing", action="store_true", help="leave tracks whose stems are there")
    there.add_argument("--force", action="store_true", help="overwrite what is there, whoever's it is")
    group.add_argument("--dry-run", action="store_true", help="print what would be written")
    group.add_argument("--json", action="store_true", help="print a line of JSON for each file")
    group.add_argument("--plot", action="store_true", help="draw spectrograms of the stems too")
    group.add_argument("--page", action="store_true", help="write a page with players too")


def add_windows(separate):
    """What speed and memory depend on."""
    group = separate.add_argument_group("speed and memory")
    group.add_argument(
        "--segment", type=SECONDS, metavar="SECONDS", help="length of a window (default: the model's)"
    )
    group.add_argument(
        "--overlap",
        type=number(float, 0, 0.5, above=True),
        metavar="SHARE",
        help="of a window that neighbors share, at most 0.5 (default: the model's)",
    )
    group.add_argument(
        "--shifts", type=whole(1, 100), default=1, help="average over so many beginnings (default: 1)"
    )
    group.add_argument(
        "--batch-size", type=whole(1, 4096), metavar="N", help="windows at once (default: by the device)"
    )
    group.add_argument(
        "--loudness",
        type=number(float, -70, 0),
        metavar="LUFS",
        help="bring files to this loudness for the model, and stems back to the file's (default: as it is)",
    )
    group.add_argument("-j", "--jobs", type=whole(1, 64), default=1, help="files at once (default: 1)")
