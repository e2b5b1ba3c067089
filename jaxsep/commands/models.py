"""``jaxsep models``: what ships, and what was imported."""

from __future__ import annotations

import json

from jaxsep.hub import describe_models


def models(options) -> int:
    """Print the models that there are, as a table or as JSON."""
    rows = describe_models()
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        system = row["system"]
        print(f"{row['name']}: {row.get('description', '')}")
        print(
            f"  stems {', '.join(system['sources'])}; {system['sample_rate']} Hz; {row['bytes'] / 1e6:.1f} MB"
        )
        print(f"  license: {row.get('license', 'not stated')}")
        for data, stems in row.get("scores", {}).items():
            print(f"  {data}:")
            for stem, scores in stems.items():
                print(f"    {stem:16}" + ", ".join(f"{name} {value}" for name, value in scores.items()))
    return 0
