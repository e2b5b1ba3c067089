"""The ``jaxsep`` command, also as ``python -m jaxsep``."""

import sys

from jaxsep._interrupts import interrupts_later
from jaxsep._memory import bound_freed


def main() -> int:
    """Run the command; return its exit status."""
    bound_freed()  # before there are threads, which libraries start
    try:
        with interrupts_later():
            from jaxsep.cli import main as run
        return run()
    except KeyboardInterrupt:  # before the command has begun, or once it has ended
        return 130


if __name__ == "__main__":
    sys.exit(main())
