"""Benchmarks: their options, and how their tables get into the documentation."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "harness")
HARNESS = runpy.run_path(str(FOLDER / "harness.py"))


@pytest.mark.parametrize("name", NAMES)
def test_benchmark__help__names_the_common_options(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # as in `make bench`
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert told.returncode == 0, told.stderr
    assert all(option in told.stdout for option in ("--quick", "--json", "--docs"))


@pytest.mark.parametrize("name", sorted({*NAMES, "learning-planted", "learning-real"} - {"regression", "learning"}))
def test_documentation__every_benchmark__has_one_place_for_its_tables(name: str) -> None:
    text = HARNESS["DOCS"].read_text(encoding="utf-8")
    assert text.count(f"<!-- bench:{name} -->") == 1
    changed = HARNESS["put"](text, name, "| new |")
    assert changed.count("<!-- end -->") == text.count("<!-- end -->")
    assert f"<!-- bench:{name} -->\n\n| new |\n\n<!-- end -->" in changed


def test_documentation__without_a_place__is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        HARNESS["put"]("text", "append", "| new |")


def test_ratios__kept__are_those_that_are_measured() -> None:
    kept = json.loads((FOLDER / "ratios.json").read_text(encoding="utf-8"))
    source = (FOLDER / "regression.py").read_text(encoding="utf-8")
    assert kept
    assert all(f'"{name}":' in source for name in kept)
    assert all(ratio > 1 for ratio in kept.values())
