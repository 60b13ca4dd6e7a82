"""The map names every module, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package", ["journal", "rsc", "reconciler"])
def test_map__every_module__is_on_it(package: str) -> None:
    """A stranger finds his way, and the way is still there."""
    modules = {path.name for path in (ROOT / package).glob("*.py") if not path.stem.startswith("__")}
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text[text.index(f"`{package}/` ") :].split("\n\n`")[0].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+\.py)`", section, re.MULTILINE)) == modules
