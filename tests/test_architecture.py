"""The house: floors, no circles, a lazy face, short functions."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxsep

PACKAGE = Path(jaxsep.__file__).parent

#: Room -> floor. A room imports from its own floor or below.
FLOORS = {
    "__init__": 0,
    "_interrupts": 0,
    "_memory": 0,
    "errors": 0,
    "parts": 1,
    "_checks": 1,
    "_rows": 1,
    "_queue": 1,
    "_sharding": 1,
    "examples": 1,
    "spectral": 1,
    "resampling": 1,
    "masks": 1,
    "wiener": 1,
    "losses": 1,
    "metrics": 1,
    "augment": 1,
    "bss": 1,
    "baselines": 1,
    "nn": 2,
    "networks": 2,
    "codecs": 2,
    "compilation": 3,
    "system": 3,
    "optimizers": 4,
    "distillation": 4,
    "fine_tuning": 4,
    "fsdp": 4,
    "precision": 4,
    "training": 4,
    "inference": 4,
    "live": 4,
    "live_windows": 4,
    "files": 5,
    "audio": 5,
    "outputs": 5,
    "hub": 5,
    "importers": 5,
    "checkpoints": 5,
    "evaluation": 6,
    "separator": 6,
    "figures": 6,
    "report": 6,
    "export": 6,
    "commands": 7,
    "cli": 7,
    "__main__": 7,
}
ARRAY_FLOOR = {"jax", "numpy", "jaxsep"} | set(sys.stdlib_module_names)


def files():
    return sorted(PACKAGE.rglob("*.py"))


def room(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(path, everywhere=True):
    """Modules that a file imports; without ``everywhere`` only when it is itself imported."""
    tree = ast.parse(path.read_text())
    if path == PACKAGE / "__init__.py":  # what it imports for type checkers is never imported
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "jaxsep":
                yield from (f"jaxsep.{alias.name}" for alias in node.names if alias.name in FLOORS)
            else:
                yield node.module


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_from_its_own_floor_or_below(path):
    for name in imports(path):
        if name.startswith("jaxsep."):
            assert FLOORS[name.split(".")[1]] <= FLOORS[room(path)], f"{path.name} imports {name}"
        if FLOORS[room(path)] == 1:
            assert name.split(".")[0] in ARRAY_FLOOR, f"{path.name} imports {name}"
        if name.split(".")[0] == "flax":
            assert room(path) in ("networks", "nn")


def test_there_are_no_circles():
    graph = {
        module(path): {n for n in imports(path, everywhere=False) if n.startswith("jaxsep")}
        for path in files()
    }

    def visit(name, above):
        assert name not in above, f"circle: {' -> '.join([*above, name])}"
        for other in graph.get(name, ()):
            visit(other, [*above, name])

    for name in graph:
        visit(name, [])


def module(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_file_and_no_function_is_long():
    for path in files():
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                doc = len((ast.get_docstring(node) or "").splitlines())
                assert node.end_lineno - node.lineno + 1 - doc <= 60, f"{path}: {node.name}"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import jaxsep", {"jax", "numpy", "librosa", "matplotlib", "orbax", "flax", "soundfile"}),
        (
            "import jaxsep; jaxsep.stft, jaxsep.si_sdr",
            {"librosa", "matplotlib", "orbax", "flax", "soundfile"},
        ),
        ("from jaxsep.commands.models import models", {"jax", "librosa", "matplotlib", "flax", "soundfile"}),
        ("import jaxsep; jaxsep.Separator", {"librosa", "matplotlib", "orbax"}),
        (
            "from jaxsep.cli import _parser; _parser().format_help()",
            {"jax", "numpy", "librosa", "matplotlib"},
        ),
    ],
)
def test_the_face_is_lazy(code, absent):
    check = f"{code}; import sys; print(sorted(set(sys.modules) & {absent!r}))"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in jaxsep.__all__:
        assert getattr(jaxsep, name) is not None
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = jaxsep.nonesuch


def test_the_package_offers_its_public_modules_to_editors_and_to_readers():
    import jaxsep

    here = Path(jaxsep.__file__).parent
    files = (p for p in here.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists())
    public = {p.stem for p in files if not p.stem.startswith("_")}
    assert set(jaxsep._MODULES) == public - {"cli", "commands", "nn", "outputs", "pretrained"}
    (block,) = (n for n in ast.parse((here / "__init__.py").read_text()).body if isinstance(n, ast.If))
    typed = {(n.module, a.asname) for n in block.body for a in n.names}
    lazy = {("jaxsep", name) for name in jaxsep._MODULES} | {(m, name) for name, m in jaxsep._PUBLIC.items()}
    assert typed == lazy
