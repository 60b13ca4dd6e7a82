"""Rewrite the generated part of a page of docs/. With --check, only compare it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def renew(page: Path, renewed: Callable[[str], str]) -> int:
    """Write the page as ``renewed`` returns it. With --check, write nothing, and return 1 if the page would change."""
    text = page.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(renewed(text) != text)
    page.write_text(renewed(text), encoding="utf-8")
    return 0
