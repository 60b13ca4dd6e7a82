"""The table of defaults is the code's, and each public name is on the page."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from journal.format.schema import LEASE_INTERVAL_S
from journal.host.leases import LEASE_INTERVALS
from journal.inspect import find
from journal.write.writer import CHECKPOINT_EVERY_STEPS
from rsc import defaults
from rsc.trading.config import TradingConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"


def test_reference__each_default__is_the_codes() -> None:
    """Name by name."""
    config = TradingConfig.of(None)
    code = {
        "durability": defaults.DURABILITY,
        "checkpoint_every_steps": CHECKPOINT_EVERY_STEPS,
        "lease_interval_s": LEASE_INTERVAL_S,
        "lease_intervals_until_dead": LEASE_INTERVALS,
        "grace_period_s": defaults.GRACE_PERIOD_S,
        "wait_s": defaults.WAIT_S,
        "batch_episodes": defaults.BATCH_EPISODES,
        "database_timeout_s": defaults.DATABASE_TIMEOUT_S,
        "callback_timeout_s": defaults.CALLBACK_TIMEOUT_S,
        "database_pause_s": defaults.DATABASE_PAUSE_S,
        "save_every_iterations": defaults.SAVE_EVERY_ITERATIONS,
        "mirror_every_s": defaults.MIRROR_EVERY_S,
        **{name: getattr(config, name) for name in ("capital", "fee", "sizing", "fraction", "fill", "episode_length")},
    }
    rows = dict(re.findall(r"^\| (\w+) \| ([\w.]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    rows.pop("setting")
    assert rows == {name: str(value) for name, value in code.items()}


def test_journal_root__of_both_sides__is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`journal` starts without the trading side, and so has its own words for the folder of all runs."""
    monkeypatch.delenv(defaults.JOURNAL_VARIABLE, raising=False)
    assert find.journal_root() == defaults.journal_root()
    monkeypatch.setenv(defaults.JOURNAL_VARIABLE, "elsewhere")
    assert find.journal_root() == defaults.journal_root()


@pytest.mark.parametrize("package", ["journal", "rsc"])
def test_public_names__of_a_package__are_those_on_the_page(package: str) -> None:
    section = PAGE.read_text(encoding="utf-8").split(f"### `{package}`\n")[1].split("\n### ")[0]
    first_cells = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    listed = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted([*listed, "__version__"]) == sorted(importlib.import_module(package).__all__)


def test_reference__every_variable_of_the_environment__is_in_the_table() -> None:
    root = PAGE.parents[1]
    files = [path for name in ("rsc", "journal", "reconciler", "tests") for path in (root / name).rglob("*.py")]
    used = {name for path in files for name in re.findall(r"\bRSC_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))}
    rows = set(re.findall(r"^\| `(RSC_[A-Z_]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == used
