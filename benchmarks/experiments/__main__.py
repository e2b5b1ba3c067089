"""``python -m benchmarks.experiments``: see :mod:`benchmarks.experiments.table`."""

import sys

from benchmarks.experiments.table import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
