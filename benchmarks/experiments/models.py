"""Models by what a command line calls them."""

from __future__ import annotations

from pathlib import Path

from jaxsep.errors import UserError
from jaxsep.live_windows import LiveWindows
from jaxsep.separator import Separator


def open_model(name: str) -> Separator:
    """Load a model to be scored.

    Args:
      name: a shipped model's, or a folder; followed by ``@EVERY`` or ``@EVERY+AHEAD`` it is heard as ``jaxsep
        live --every EVERY --ahead AHEAD`` hears it.

    Raises:
      UserError: there is no such model, or other times than seconds.
    """
    model, at, times = name.partition("@")
    separator = Separator.from_pretrained(model, windows=1)
    if at:
        every, _, ahead = times.partition("+")
        try:
            seconds = float(every), float(ahead or 0)
            separator.live = LiveWindows(separator.system, separator.variables, *seconds)
        except ValueError as error:
            raise UserError(f"{name}: expected MODEL@EVERY+AHEAD in seconds; {error}") from error
    return separator


def title_of(name: str) -> str:
    """What a row of a table calls it: a folder by its own name."""
    return Path(name).name or name
