"""Models by what a command line calls them."""

from __future__ import annotations

import re
from pathlib import Path

from jaxsep.errors import UserError
from jaxsep.live_windows import LiveWindows
from jaxsep.separator import Separator

_LIVE = re.compile(r"(.+)@([\d.]+)(?:\+([\d.]+))?(\+speeds)?")


def open_model(name: str) -> Separator:
    """Load a model to be scored.

    Args:
      name: a shipped model's, or a folder; with ``@EVERY`` behind it as ``jaxsep live --every EVERY`` hears
        it, with ``+AHEAD`` and ``+speeds`` behind that as with ``--ahead`` and ``--speeds``.

    Raises:
      UserError: there is no such model, or it does not go on by such windows.
    """
    found = _LIVE.fullmatch(name)
    if found is None:
        return Separator.from_pretrained(name, windows=1)
    separator = Separator.from_pretrained(found[1], windows=1)
    if separator.live is not None:
        raise UserError(f"{name}: {found[1]} goes on frame by frame; give it without @")
    try:
        every, ahead, speeds = float(found[2]), float(found[3] or 0), bool(found[4])
        separator.live = LiveWindows(separator.system, separator.variables, every, ahead, speeds)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    return separator


def title_of(name: str) -> str:
    """What a row of a table calls it: a folder by its own name."""
    return Path(name).name or name
