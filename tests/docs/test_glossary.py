"""The glossary has each term once, and words that were given up are not used any more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TERMS = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)[2:]
FOLDERS = ("journal", "rsc", "reconciler", "tests", "docs", "benchmarks", "scripts")

RETIRED = {
    "snapshot": r"looks\.py|journal\.looks",
    "peek": r"\bglanc\w+",
    "evidence": r"\bsighting\w*|RunSight",
    "RunState": r"\bRunSight\b",
    "incremental form": r"running form",
    "read_marker, marker_liveness": r"look_at_marker",
    "passes, executors": r"reconciler[./](slices|writing|recording|looking|reconcile|once)\b",
    "relax_garbage_collection": r"spare_the_collector",
    "closing.py": r"road home",
    "stateless": r"level-driven",
    "tests.support": r"journal[./]testing\b",
}
"""A pattern for each word that was given up, by the term that took its place."""


def files() -> list[Path]:
    """All sources and pages, without this one."""
    found = [path for folder in FOLDERS for kind in ("py", "md") for path in (ROOT / folder).rglob(f"*.{kind}")]
    return [*(path for path in found if path != Path(__file__)), ROOT / "README.md"]


def test_glossary__each_term__is_there_once_with_one_meaning() -> None:
    assert len(TERMS) > 20
    assert sorted(TERMS) == sorted(set(TERMS))


@pytest.mark.parametrize("term", RETIRED)
def test_retired_word__is_used_nowhere(term: str) -> None:
    pattern = re.compile(RETIRED[term], re.IGNORECASE)
    used = [str(path.relative_to(ROOT)) for path in files() if pattern.search(path.read_text(encoding="utf-8"))]
    assert used == [], f"say {term} instead"
