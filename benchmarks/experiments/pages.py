"""``python -m benchmarks.experiments.pages``: put the rows of experiments into the pages of docs/systems/.

Between ``<!-- rows: NAME ... -->`` and ``<!-- end -->`` of a page stands the table of those experiments, from
benchmarks/results/experiments.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from benchmarks.experiments.table import improvement

_ROOT = Path(__file__).parents[2]
_MARKED = re.compile(r"(<!-- rows: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Write the pages whose tables are out of date; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.pages", description=__doc__)
    parser.parse_args(arguments)
    rows = json.loads((_ROOT / "benchmarks" / "results" / "experiments.json").read_text())
    for path in sorted((_ROOT / "docs" / "systems").glob("*.md")):
        text = filled(path.read_text(), rows)
        if text != path.read_text():
            path.write_text(text)
            print(path)
    return 0


def filled(text: str, rows: dict[str, dict]) -> str:
    """A page with its tables as the rows say."""

    def table(match):
        chosen = {name: rows[name] for name in match[2].split() if name in rows}
        return f"{match[1]}\n{_table(chosen)}\n{match[4]}"

    return _MARKED.sub(table, text)


def _table(rows):
    """Improvement of SI-SDR and its interval, SIR, the oracle's improvement, steps; sources side by side."""
    gained = "SI-SDR improvement, dB (95 % of draws of recordings)"
    lines = [f"| experiment | config | sources | {gained} | SIR, dB | oracle mask, dB | steps |"]
    lines.append("|---" * 7 + "|")
    for name, row in rows.items():
        config = f"[{row['config']}](../../configs/{row['config']})"
        cells = [f"{row['title']} (`{name}`)", config, ", ".join(row["scores"])]
        cells += [
            ", ".join(improvement(score) for score in row["scores"].values()),
            _each(row["scores"], "sir"),
            _each(row["oracle"], "si_sdri"),
        ]
        lines.append("| " + " | ".join([*cells, str(row["steps"])]) + " |")
    return "\n".join(lines) + "\n"


def _each(scores, figure):
    values = [row[figure] for row in scores.values()]
    return ", ".join("-" if value is None else f"{value:.1f}" for value in values)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
