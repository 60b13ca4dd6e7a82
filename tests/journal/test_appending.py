"""Compiled code and Python append the same slots, and refuse the same values with the same words."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from journal import About, JournalValueError, JournalWriter, Trade, read_journal
from journal.write import appending
from journal.write.appending import COMPILED, Appending, PythonAppending

SCRIPT = Path(__file__).with_name("odd_steps.py")
SOURCE = Path(__file__).parents[2] / "journal" / "write" / "_appending.pyx"


def _told(root: Path, seed: int, *, compiled: bool) -> dict[str, Any]:
    environment = {**os.environ, "RSC_COMPILED": "1" if compiled else "0"}
    ran = subprocess.run(
        [sys.executable, SCRIPT, root, str(seed)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told.pop("compiled") is compiled
    return told


def test_appending__in_ci__is_compiled() -> None:
    if platform.machine() == "x86_64" and os.environ.get("CI") and os.environ.get("RSC_COMPILED") != "0":
        assert COMPILED, "this installation has no compiled code: was there no C compiler?"


@pytest.mark.skipif(not COMPILED, reason="this installation has no compiled code")
@pytest.mark.parametrize("seed", range(6))
def test_append__odd_values__gives_the_same_rows_and_errors_compiled(tmp_path: Path, seed: int) -> None:
    compiled = _told(tmp_path / "compiled", seed, compiled=True)
    python = _told(tmp_path / "python", seed, compiled=False)
    for mine, other in zip(compiled["outcomes"], python["outcomes"], strict=True):
        assert mine == other
    assert compiled == python
    appended = [text for text, *_ in compiled["outcomes"]].count("appended")
    assert 100 < appended < 600  # both kinds were tried


@pytest.mark.skipif(not COMPILED, reason="this installation has no compiled code")
def test_appending__source_was_changed_since_it_was_compiled__appends_in_python_and_says_so(tmp_path: Path) -> None:
    """As after a pull into an editable installation."""
    package = Path(appending.__file__).parents[1]
    copied = tmp_path / "journal"
    shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))
    module = importlib.util.find_spec("journal.write._appending")
    assert module is not None
    shutil.copy(str(module.origin), copied / "write")
    source = copied / "write" / "_appending.pyx"
    code = "from journal.write.appending import COMPILED, WHY_PYTHON; print(COMPILED, WHY_PYTHON)"
    for text, told in ((SOURCE.read_text(), "True \n"), ("# changed", f"False {appending.OUTDATED}\n")):
        source.write_text(text)
        ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert ran.stdout == told


def test_append__either_form__has_the_same_signature_and_documentation() -> None:
    ours, other = inspect.signature(Appending.append), inspect.signature(PythonAppending.append)
    assert list(ours.parameters) == list(other.parameters)
    assert [one.default for one in ours.parameters.values()][9:] == [one.default for one in other.parameters.values()][
        9:
    ]
    assert Appending.append.__doc__ == PythonAppending.append.__doc__


def test_append__more_trades_than_a_slot_can_count__is_refused_and_the_next_step_recorded(tmp_path: Path) -> None:
    about = About("Many", 1000.0, 10)
    with JournalWriter(tmp_path, "run", "many", about=about, checkpoint_every_steps=200_000) as writer:
        writer.append(1.0)
        with pytest.raises(JournalValueError, match="at most 65535"):
            writer.append(2.0, trades=[Trade(1, 1.0, 1, 1, 1.0, 2.0, 1.0, 0.0)] * 65_536)
        writer.append(3.0)
    assert read_journal(writer.path).steps()["action"].to_pylist() == [1.0, 3.0]
