"""The code of the README and of docs/ runs, links lead somewhere, and commands are those of the CI."""

import json
import re
import runpy
import sys
import types
from pathlib import Path

import pytest

import train.__main__
from jaxsep.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCS = {
    path.relative_to(ROOT / "docs").as_posix(): path.read_text() for path in (ROOT / "docs").rglob("*.md")
}


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run_blocks(page, text):
    """Run the blocks of a page one after the other; return what they define."""
    names: dict = {}
    assert blocks(text)
    for block in blocks(text):
        exec(compile(block, page, "exec"), names)
    return names


def test_the_python_blocks_run(tmp_path, monkeypatch):
    """Those of a page need no other page."""
    monkeypatch.chdir(tmp_path)
    assert len(blocks(README)) == 2
    assert run_blocks("README.md", README)["stems"].shape == (4, 2, 16000)
    pages = ("separate.md", "train.md", "parts.md", "library.md", "live.md")
    found = {page: run_blocks(page, DOCS[page]) for page in pages}
    assert found["library.md"]["y"].shape == found["library.md"]["song"].shape
    assert {p.name for p in tmp_path.iterdir()} == {"song.wav", "vocals.wav", "accompaniment.wav"}


def test_the_readme_is_short():
    assert README.count("\n") <= 120


@pytest.mark.parametrize("page", ["/README.md", *sorted(DOCS)])
def test_links_lead_somewhere(page):
    text, folder = (README, ROOT) if page not in DOCS else (DOCS[page], (ROOT / "docs" / page).parent)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (folder / target).exists(), target


def test_the_packages_page_leads_nowhere_that_has_no_address(monkeypatch):
    hatch = "hatchling.metadata.plugin.interface"
    stub = types.ModuleType(hatch)
    stub.MetadataHookInterface = object
    monkeypatch.setitem(sys.modules, hatch, stub)
    page = runpy.run_path(str(ROOT / "docs" / "package_page.py"))["page"](README)
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert links and all(link.startswith("https://") for link in links)
    assert "Hear it" not in page and "All options (`docs/separate.md`)" in page
    assert blocks(page) == blocks(README)


def test_the_array_run_is_a_dozen_lines():
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "train_step" in b)
    statements = [x for x in block.splitlines() if x and not x.startswith(("from", "import"))]
    assert len(statements) <= 12


def test_continuous_integration_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    for part in ('install -q -c constraints.txt -e ".[test]"', "-m pytest", "jaxsep demo"):
        assert part in script
    assert '.venv/bin/pip install -c constraints.txt -e ".[test]"' in README


def test_no_file_names_an_address_of_a_registry():
    for name in ("constraints.txt", "pyproject.toml", "README.md"):
        text = (ROOT / name).read_text()
        assert "index-url" not in text
        assert "find-links" not in text


@pytest.mark.slow
def test_the_guide_to_data_of_ones_own_runs(tmp_path, monkeypatch, capsys):
    guide = DOCS["own_data.md"]
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks(guide)[0], "own_data.md", "exec"), {})
    (tmp_path / "mine.yaml").write_text(re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)[0])
    assert train.__main__.main(["mine.yaml", "--dry-run"]) == 0
    assert train.__main__.main(["mine.yaml", "--steps", "2", "--valid_every", "2"]) == 0
    assert main(["evaluate", "test", "-m", "runs/mine", "--json", "scores.json"]) == 0
    assert main(["evaluate", "test", "--baseline", "irm"]) == 0
    assert set(json.loads(Path("scores.json").read_text())["summary"]) >= {"vocals", "accompaniment"}
