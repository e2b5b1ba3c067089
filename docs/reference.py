"""python docs/reference.py [-o FOLDER]: the API reference as pages, from the docstrings, by pdoc.

Needs the extra ``docs``. A warning, such as a name that does not resolve, is an error.
"""

import argparse
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # of a checkout that is not installed


def main(arguments: list[str]) -> int:
    """Write the pages; return the exit status."""
    parser = argparse.ArgumentParser(prog="python docs/reference.py", description=__doc__)
    parser.add_argument("-o", "--out", default="docs/api", metavar="FOLDER")
    out = Path(parser.parse_args(arguments).out)
    import pdoc

    import jaxsep

    for name in jaxsep.__all__:  # lazy names are there once they were asked for
        setattr(jaxsep, name, getattr(jaxsep, name))
    pdoc.render.configure(docformat="google", math=False, footer_text=f"jaxsep {jaxsep.__version__}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # pdoc looks for the types of inherited fields in the module that inherits them.
        warnings.filterwarnings("ignore", message=r"Error parsing type annotation .* for .*\.__init__")
        pdoc.pdoc("jaxsep", output_directory=out)
    pages = sorted(out.rglob("*.html"))
    print(f"{out / 'index.html'}: {len(pages)} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
