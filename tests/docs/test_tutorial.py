"""The tutorial works as it stands there: a training is really killed, and its episodes are ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")


def run_block(code: str, folder: Path) -> str:
    """Run a block in bash, as a reader types it, and return what it prints. It must succeed in time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RSC_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    block = subprocess.Popen(
        ["bash", "-e", "-c", code],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that a training that hangs ends with its block
    )
    try:
        output, _ = block.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(block.pid, signal.SIGKILL)
        raise
    assert block.returncode == 0, f"{code}\n{output}"
    return output


@pytest.mark.rllib
@pytest.mark.timeout(600)
def test_tutorial__its_blocks__rescue_a_killed_training(tmp_path: Path) -> None:
    """Each block in order. Before `reconcile` episodes are left behind, and after it none is."""
    outputs = {}
    for language, code in re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL):
        if language == "python":
            (tmp_path / "own_env.py").write_text(code, encoding="utf-8")
        else:
            outputs[code.strip()] = run_block(code, tmp_path)
    checked = outputs['rsc check first || echo "exit status $?"']
    assert re.search(r"^episode \d+: still started$", checked, re.MULTILINE)
    assert checked.endswith("exit status 1\n")
    assert re.search(r"first .* running ", outputs["rsc runs"])
    assert re.search(r"^[1-9]\d* episodes? ended \(", outputs["reconcile --run-id first"], re.MULTILINE)
    assert re.search(r"^(\d+) of \1 episodes complete, run interrupted$", outputs["rsc check first"], re.MULTILINE)
    assert re.search(
        r"\d of \d+ episodes of run first$", outputs["rsc episodes first --where 'status = truncated' --sort -pnl"]
    )
    assert (tmp_path / "first.html").stat().st_size > 100_000
    assert "3 of 3 episodes complete, run completed" in outputs["python own_env.py\nrsc check own"]
