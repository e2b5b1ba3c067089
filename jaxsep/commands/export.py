"""``jaxsep export``: a model as one file that runs without jaxsep."""

from __future__ import annotations

from pathlib import Path

from jaxsep.errors import UserError
from jaxsep.export import PLATFORMS, export_model
from jaxsep.files import check_writable
from jaxsep.separator import Separator


def export(options) -> int:
    """Write the file, and say what it holds."""
    platforms = tuple(dict.fromkeys(options.platforms.split(",")))
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown:
        raise UserError(f"--platforms {unknown[0]}: expected some of {', '.join(PLATFORMS)}")
    check_writable(options.file)
    separator = Separator.from_pretrained(options.model, wiener=options.wiener)
    model = export_model(separator, options.file, platforms=platforms)
    if not options.quiet:
        size = Path(options.file).stat().st_size / 1e6
        print(f"{options.file}: {', '.join(model['stems'])}; {model['sample_rate']} Hz; {size:.1f} MB")
        print("Any length, (channels, samples) -> (stems, channels, samples); see docs/library.md")
    return 0
