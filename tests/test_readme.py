"""The README's code runs, and its commands are those of the continuous integration."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_blocks_run():
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["stems"].shape == (4, 2, 16000)
    assert names["y"].shape == names["song"].shape


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
