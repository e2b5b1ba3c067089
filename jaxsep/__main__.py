"""The ``jaxsep`` command, also as ``python -m jaxsep``."""

import sys

from jaxsep._interrupts import EndingAtOnce


def main() -> int:
    """Run the command; return its exit status."""
    with EndingAtOnce():
        from jaxsep.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
