"""Rewrite the generated part of a page of docs/, or with --check only look whether it is current."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def renew(page: Path, renewed: Callable[[str], str]) -> int:
    """Write the page as `renewed` returns it. With --check return 1 if it would change, and write nothing."""
    text = page.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(renewed(text) != text)
    page.write_text(renewed(text), encoding="utf-8")
    return 0
