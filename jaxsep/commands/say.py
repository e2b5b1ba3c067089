"""Lines that several threads may say: whole, and not while a decoder's own are kept away."""

from __future__ import annotations

import sys

from jaxsep.audio.reading import ERROR_STREAM


def tell(text: str) -> None:
    """Print a line to the output."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """Print a line to the error stream, behind the command's name."""
    _write(sys.stderr, f"jaxsep: {text}")


def note(text: str) -> None:
    """Print a line to the error stream as it is."""
    _write(sys.stderr, text)


def _write(stream, text):
    with ERROR_STREAM:
        stream.write(f"{text}\n")
        stream.flush()
