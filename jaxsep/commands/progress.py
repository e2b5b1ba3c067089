"""One progress bar a file, on a terminal alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(name: str, quiet: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """Show a bar with the time left; yield what to call with samples done and in all, or None.

    Args:
      name: of the file.
      quiet: show nothing, as where the error stream is no terminal.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None, start=True)
        yield lambda done, total: progress.update(task, completed=done, total=total)
