"""``python -m train CONFIG [--field.name VALUE ...]``: train, or go on where the run stopped."""

from __future__ import annotations

import signal
import sys

_USAGE = """usage: python -m train CONFIG.yaml [--plugin FILE_OR_MODULE] [--field.name VALUE ...]

Trains the system that CONFIG describes; started again, the same command goes on where it stopped.
`python -m train CONFIG.yaml --help` lists every field; `--FIELD.name NAME` puts another part in its place,
and --plugin registers parts of your own. Configs are in configs/."""


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if arguments else 2

    before = signal.signal(signal.SIGTERM, _end)  # until the loop notes signals itself
    try:
        return _train(arguments)
    except KeyboardInterrupt:
        print("train: interrupted; nothing unfinished is left under a final name", file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number, _frame):
    sys.exit(128 + number)


def _train(arguments):
    from jaxsep.errors import UserError, for_command
    from train.config import load_config

    try:
        config = load_config(arguments[0], arguments[1:])
        from train.run import run

        return run(config)
    except UserError as error:
        print(f"train: {for_command(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"train: {where}{error.strerror}; started again, the run goes on", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
