"""Every code block of the pages on trainers and envs runs as it stands there, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {
    "your-own-env": ["my-first-run", "rewards", "vectors"],
    "gymnasium": ["async", "same-step", "single-file"],
    "stable-baselines3": ["sb3", "sb3-evaluated"],
    "skrl-torchrl": ["skrl", "torchrl"],
    "read-a-run": ["to-read"],
}
NEEDS = {
    "stable-baselines3": ["stable_baselines3"],
    "skrl-torchrl": ["skrl", "torchrl"],
    "read-a-run": ["minari", "h5py", "tensorboard", "mlflow"],
}
PROGRAMS = {"rsc": "rsc", "journal": "journal", "reconcile": "reconciler"}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_how_to__code_of_a_page__runs_and_its_runs_are_complete(page: str, tmp_path: Path) -> None:
    """The Python blocks as one script, then the commands, then `rsc check` on each run that the page made."""
    for name in NEEDS.get(page, ()):
        if find_spec(name) is None:  # not imported: torchrl changes how this process starts others
            pytest.skip(f"{name} is not installed, so the page {page} is NOT tested")
    code = "\n\n".join(blocks(page, "python"))
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    shell = [shlex.split(line) for block in blocks(page, "sh") for line in block.splitlines()]
    assert code.count("rsc.start_run") == len(PAGES[page])
    commands = [["page.py"], *(["-m", PROGRAMS[first], *rest] for first, *rest in shell)]
    commands += [["-m", "rsc", "check", name] for name in PAGES[page]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RSC_")}
    environment["MINARI_DATASETS_PATH"] = str(tmp_path / "minari")
    for command in commands:
        command = [sys.executable, *command]  # noqa: PLW2901 - what is shown if it fails
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
