"""``jaxsep info``: what an audio file or a model is, without decoding or computing anything."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from jaxsep.audio.formats import AUDIO_SUFFIXES, show
from jaxsep.errors import UserError
from jaxsep.hub import find_model, read_info


def info(options) -> int:
    """Describe each file or model; go on after one that cannot be, and say so with the exit status."""
    found, failed = [], False
    for name in options.names:
        try:
            found.append(describe(name))
        except UserError as error:
            failed = True
            print(f"jaxsep: {error}", file=sys.stderr)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for row in found:
            print(show(row.pop("name")))
            for key, value in row.items():
                print(f"  {key:12}{_text(value)}")
    return 2 if failed else 0


def describe(name: str) -> dict[str, Any]:
    """What a file or a model is, by name; ``kind`` says which."""
    if name.lower().endswith(AUDIO_SUFFIXES) and not os.path.isdir(name):
        return _audio(name)
    folder = find_model(name)
    entries = read_info(folder)
    system = entries["system"]
    return {
        "name": name,
        "kind": "model",
        "description": entries.get("description", ""),
        "stems": system["sources"],
        "sample_rate": system["sample_rate"],
        "channels": system.get("channels", 1),
        "network": system["network"]["name"],
        "license": entries.get("license", "not stated"),
        "data": entries.get("data", ""),
        "scores": entries.get("scores", {}),
        "sha256": entries.get("sha256", ""),
        "folder": str(folder),
    }


def _audio(path):
    from jaxsep.audio import AudioReader

    reader = AudioReader(path)
    reader.close()
    return {
        "name": path,
        "kind": "audio",
        "sample_rate": reader.sample_rate,
        "channels": reader.channels,
        "samples": reader.frames,
        "seconds": None if reader.frames is None else round(reader.frames / reader.sample_rate, 3),
        "bytes": os.path.getsize(path),
    }


def _text(value):
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_text(v)}" for k, v in value.items())
    return "not known" if value is None else value
