"""``python -m jaxsep``: the same as the ``jaxsep`` command."""

import sys

from jaxsep.cli import main

if __name__ == "__main__":
    sys.exit(main())
