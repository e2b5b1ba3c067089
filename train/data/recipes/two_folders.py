"""Two folders of recordings, each of one instrument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxsep.errors import UserError
from jaxsep.parts import register
from train.data.bank import Track
from train.data.recipes.class_folders import ClassFolders


@register("recipe", "two_folders")
@dataclass(frozen=True)
class TwoFolders(ClassFolders):
    """Two folders of recordings, each of one instrument, mixed in pairs."""

    def find(self, data: Any, folder, sources, part) -> list[Track]:
        """The recordings below a folder."""
        if len(sources) != 2:
            raise UserError(f"data.recipe=two_folders: expected two sources, not {', '.join(sources)}")
        return super().find(data, folder, sources, part)
