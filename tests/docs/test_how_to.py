"""Every code block of the pages on trainers and envs runs as it stands there, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from rsc.cli import command as rsc_program
from rsc.runs import start_run
from rsc.trading.env import TradingEnv

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


def test_report_page__its_commands__write_pages(tmp_path: Path) -> None:
    for name in ("monday", "tuesday"):
        places = {
            "journal_root": tmp_path / "rsc-data/journal",
            "database_url": f"sqlite:///{tmp_path}/rsc-data/rsc.db",
        }
        with start_run(name, **places) as run:
            env = run.record(TradingEnv({"episode_length": 20}))
            env.reset(seed=1)
            while not any(env.step(1)[2:4]):
                pass
            env.close()
    (block,) = blocks("report", "sh")
    for line in block.splitlines():
        command = [sys.executable, "-m", *shlex.split(line, comments=True)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.html")} == {"tuesday.html", "compared.html"}


def test_evaluate_page__its_commands__are_ones_that_the_program_takes() -> None:
    """Trainings are too slow to be repeated here: tests/rsc/policies runs each of these commands."""
    text = (ROOT / "docs" / "how-to" / "evaluate.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (?:\$ )?(rsc .*)$", text, re.MULTILINE)
    assert {line.split()[1] for line in lines} == {"train", "evaluate", "compare"}
    for line in lines:
        words = shlex.split(line, comments=True)
        with click.Context(rsc_program, info_name="rsc") as context:
            verb = rsc_program.get_command(context, words[1])
            assert verb is not None
            verb.make_context(words[1], words[2:], parent=context)
