"""``python -m train CONFIG [--field.name VALUE ...]``: train, or go on where the run stopped."""

from __future__ import annotations

import argparse
import signal
import sys

from jaxsep._interrupts import ComingAgain, interrupts_later
from jaxsep._memory import keep_freed

_USAGE = """usage: python -m train CONFIG.yaml [--plugin FILE_OR_MODULE] [--dry-run] [--field.name VALUE ...]

Trains the system that CONFIG describes; started again, the same command goes on where it stopped.
`python -m train CONFIG.yaml --help` lists every field; `--FIELD.name NAME` puts another part in its place,
--plugin registers parts of your own, and --dry-run shows data, shapes, memory and one step. Configs are in
configs/. Compiled steps are kept in the user's cache; JAX_COMPILATION_CACHE_DIR moves it.

On several hosts start the same command on each: SLURM, Kubernetes, Open MPI and TPU pods say the rest,
elsewhere `--coordinator NAME:PORT --hosts N --host I` do."""


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if arguments else 2

    keep_freed()  # before there are threads, which libraries start
    try:
        with interrupts_later():
            from train.dry_run import dry_run
            from train.run import run
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    before = signal.signal(signal.SIGTERM, _end)  # until the loop notes signals itself
    try:
        with ComingAgain():
            return _train(arguments, run, dry_run)
    except KeyboardInterrupt:
        print("train: interrupted; nothing unfinished is left under a final name", file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number, _frame):
    sys.exit(128 + number)


def _job(arguments):
    """The config and its overrides; whether it is a dry run; coordinator, hosts and this host's number."""
    from jaxsep.errors import UserError

    parser = argparse.ArgumentParser(prog="python -m train", add_help=False, allow_abbrev=False)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--hosts", type=int, default=0)
    parser.add_argument("--host", type=int, default=-1)
    options, rest = parser.parse_known_args(arguments)
    if not rest:
        raise UserError("expected a CONFIG.yaml; see configs/ for those there are")
    return rest, options.dry_run, (options.coordinator, options.hosts, options.host)


def _train(arguments, run, dry_run):
    from jaxsep.compilation import keep_compiled
    from jaxsep.errors import UserError, for_command
    from train.config import load_config
    from train.hosts import start

    try:
        arguments, dry, job = _job(arguments)
        keep_compiled()
        start(*job)
        with interrupts_later():  # plugins
            config = load_config(arguments[0], arguments[1:])
        return dry_run(config) if dry else run(config)
    except UserError as error:
        print(f"train: {for_command(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"train: {where}{error.strerror}; started again, the run goes on", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
