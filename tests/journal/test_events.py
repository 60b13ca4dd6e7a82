"""Whatever a process prints or logs is one JSON object a line."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SCRIPT = """
import logging, sys, warnings
from journal.console import remark
from journal.events import log_json
{before}
log_json("trial")
remark("done", "pass", ended=2, mean=float("nan"), deep={{"a": float("inf")}})
print("one\\ntwo")
sys.stderr.write("half")
sys.stderr.write(" a line\\n")
logging.getLogger("rsc").warning("%s is odd", "x")
warnings.warn("careful")
print("\\x1b[31mred")
{after}
"""


def events(after: str = "", before: str = "") -> tuple[list[dict[str, Any]], int]:
    code = SCRIPT.format(after=after, before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()], done.returncode


def test_log_json__all_that_is_printed_or_logged__is_an_event_of_its_own() -> None:
    found, _ = events()
    assert [event["message"] for event in found[:5]] == ["done", "one", "two", "half a line", "x is odd"]
    assert (found[0]["event"], found[0]["ended"], found[0]["mean"], found[0]["deep"]) == ("pass", 2, None, {"a": None})
    assert (found[4]["level"], found[4]["logger"]) == ("warning", "rsc")
    assert any("careful" in event["message"] for event in found)
    assert all({"time", "level", "program", "event", "message"} <= set(event) for event in found)
    assert all(event["time"].endswith("Z") and event["program"] == "trial" for event in found)


def test_log_json__crash__is_one_event_with_its_traceback() -> None:
    found, code = events("raise ValueError('broken')")
    assert (found[-1]["event"], found[-1]["level"], code) == ("crash", "error", 1)
    assert "ValueError: broken" in found[-1]["traceback"]


def test_log_json__called_twice__writes_each_event_once() -> None:
    found, _ = events(before="log_json('trial')")
    assert [event["message"] for event in found].count("done") == 1
