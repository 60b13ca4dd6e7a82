"""The map names every module, and none that is not there."""

from __future__ import annotations

import re
import tomllib
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


def test_contract__every_module_of_rsc__is_the_reconcilers_or_forbidden_to_it() -> None:
    """A new module is on one side: what the reconciler may not know, it cannot begin to use unseen."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (forbidden,) = (set(one["forbidden_modules"]) for one in contracts if one["name"].startswith("the reconciler uses"))
    parts = {path.stem for path in (ROOT / "rsc").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    allowed = {"__init__", "closing", "db", "defaults", "metrics", "running"}
    assert forbidden == {f"rsc.{part}" for part in parts - allowed - {"__main__"}}
