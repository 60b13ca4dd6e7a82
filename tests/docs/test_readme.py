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
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs__links_of_a_page__lead_somewhere(page: Path) -> None:
    """A reader never meets a page that is not there."""
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing


def test_readme__journal_script__runs_as_shown(tmp_path: Path) -> None:
    """The journal by itself, without RLlib and database."""
    (tmp_path / "script.py").write_text(script("JournalWriter"), encoding="utf-8")
    done = run(tmp_path, "script.py")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "journals" / "my-run").glob("*.arrows"))


@pytest.mark.rllib
@pytest.mark.timeout(400)
def test_readme__own_config_script__runs_as_shown_and_reconciles(tmp_path: Path) -> None:
    """One line on one's own config, then the command that follows it."""
    (tmp_path / "script.py").write_text(script("rsc.attach"), encoding="utf-8")
    for command in (
        ("script.py",),
        ("-m", "reconciler", "--run-id", "my-first-run"),
        ("-m", "rsc", "check", "my-first-run"),
    ):
        done = run(tmp_path, *command)
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    assert "4 of 4 episodes complete" in done.stdout
