"""`rsc train --log-format json` writes one documented JSON object a line, also for Ray's own lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
# 3 000 steps in 5 envs: at the end each env is in mid-episode.
SMALL = "--ticker MSFT --iterations 1 --num-env-runners 1 --num-envs-per-env-runner 5 --run-id logged --reconcile"


@pytest.mark.rllib
@pytest.mark.timeout(300)
def test_train__json_log__is_one_documented_event_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rsc", "train", *SMALL.split(), "--log-format", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    names = [event["event"] for event in events if event["event"] not in ("message", "line", "log")]
    assert names == ["run", "iteration", "saved", "episodes"]
    for event in events:
        assert event["program"].endswith("train")
        assert f"`{event['event']}`" in PAGE
        assert all(f"`{field}`" in PAGE for field in event)
    by_name = {event["event"]: event for event in events}
    assert by_name["iteration"]["iteration"] == by_name["iteration"]["iterations"] == 1
    assert by_name["iteration"]["env_steps"] > 0
    assert by_name["episodes"]["started"] == 5
    assert any(re.match(r"5 episodes ended", event["message"]) for event in events)  # by `reconcile`


def test_native_lines__native_code_and_subprocesses__are_events_too() -> None:
    script = """
import os, subprocess, sys
from journal.events import log_json, native_lines
log_json("trial")
with native_lines():
    os.write(2, b"native\\n")
    subprocess.run(["echo", "child"])
    print("python")
print("after")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, done.stdout) == (0, "")
    assert sorted(event["message"] for event in events) == ["after", "child", "native", "python"]
