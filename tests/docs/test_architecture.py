"""The map names every sub-package and shows the layers of the contracts; the public packages offer what they promise."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["journal", "rsc", "reconciler"])
def test_map__every_sub_package__is_on_it(package: str) -> None:
    """Each folder of code has its paragraph."""
    section = re.search(rf"### `{package}`.*?(?=\n##)", MAP, re.DOTALL)
    assert section is not None
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    absent = {
        folder for folder in folders if f"`{folder}`" not in section.group() and f"{folder}`" not in section.group()
    }
    assert absent - {"cli"} == set()


def test_map__its_layers__are_those_of_the_contracts() -> None:
    assert "<!-- layers -->" in MAP
    done = subprocess.run([sys.executable, ROOT / "scripts" / "layer_docs.py", "--check"], timeout=60, check=False)
    assert done.returncode == 0, "run: python scripts/layer_docs.py"


@pytest.mark.parametrize("package", ["journal", "rsc"])
def test_public_api__every_name__is_listed_and_can_be_imported(package: str) -> None:
    """`dir()` shows each public name, and each one leads somewhere."""
    module = importlib.import_module(package)
    for name in module.__all__:
        assert name in dir(module)
        assert getattr(module, name) is not None
