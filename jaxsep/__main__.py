"""The ``jaxsep`` command, also as ``python -m jaxsep``."""

import os
import signal
import sys


def main() -> int:
    """Run the command; an interrupt while it is being imported ends it without a traceback."""
    importing = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if importing:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from jaxsep.cli import main as run

    if importing:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
