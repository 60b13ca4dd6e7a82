"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def script(contains: str) -> str:
    """The README's one Python block with these words."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if contains in block]
    return str(found)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs__links_of_a_page__lead_somewhere(page: Path) -> None:
    """A reader never meets a page that is not there."""
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.rllib
@pytest.mark.timeout(400)
def test_readme__own_config_script__runs_as_shown_and_reconciles(tmp_path: Path) -> None:
    """One line on one's own config, then the command that follows it."""
    (tmp_path / "script.py").write_text(script("rsc.attach"), encoding="utf-8")
    for command in (
        ("script.py",),
        ("-m", "reconciler", "--run-id", "mine"),
        ("-m", "rsc", "check", "mine"),
        ("-m", "rsc", "report", "mine"),
    ):
        done = run(tmp_path, *command)
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        if "check" in command:
            assert re.search(r"^([1-9]\d*) of \1 episodes complete", done.stdout, re.MULTILINE)
    assert (tmp_path / "mine.html").exists()


def test_readme__commands__are_targets_of_the_makefile() -> None:
    """`.ci/run` runs the README's own test command."""
    readme, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    commands = re.findall(r"^    (make (\w+)) ", readme, re.MULTILINE)
    assert [target for _, target in commands] == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for _, target in commands)
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith(commands[1][0])


def test_readme__length__is_one_screen() -> None:
    """Everything else is in docs/."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 45
