"""The README as the page of the package shows it, where a file of the repository has no address.

Hatch calls it while it builds; it keeps links with an address, and names the files that others lead to.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class PackagePage(MetadataHookInterface):
    """Sets the package's description."""

    def update(self, metadata: dict) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": page(text)}


def page(text: str) -> str:
    """The README without pictures and sounds, its relative links as names of files; code as it is."""
    parts = re.split(r"(```.*?```)", text, flags=re.DOTALL)
    return "".join(part if part.startswith("```") else _named(part) for part in parts)


def _named(text):
    text = re.sub(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\s*", "", text)
    text = re.sub(r"^Hear it:.*?\n\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\(\[([^\]]+)\]\((?!https?:|#)([^)]+)\)\)", r"(\1: `\2`)", text)
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)", r"\1 (`\2`)", text)
