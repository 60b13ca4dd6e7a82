"""A version that is not supported costs one warning, and nothing else."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from rsc import versions

SETUP = Path(__file__).resolve().parents[2] / "setup.py"


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_seen", set())


@pytest.mark.parametrize(
    ("installed", "is_said"),
    [
        ("1.0.0", True), ("1.1.0", False), ("1.4.7", False), ("1.5.0rc1", True), ("2.0", True), (None, False),
        ("unknown", False),
    ],
)  # fmt: skip
def test_warn_of_unsupported__version__is_named_once(
    installed: str | None, is_said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(versions, "installed_version", lambda package: installed)
    with caplog.at_level(logging.WARNING, "rsc"):
        for _ in range(2):
            versions.warn_of_unsupported(["gymnasium"])
    expected = f"gymnasium {installed} is outside of the supported versions 1.1 to 1.4"
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [expected] * is_said


def test_warn_of_unsupported__versions_that_tests_run_with__are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    versions.warn_of_unsupported(versions.SUPPORTED)
    assert not caplog.records


@pytest.mark.parametrize(
    ("package", "requirement"), [("ray", r"ray\[rllib\]"), ("gymnasium", "gymnasium"), ("stable-baselines3",) * 2]
)
def test_tested__equals_the_ranges_of_setup(package: str, requirement: str) -> None:
    ranges = re.findall(rf'"{requirement}>=(\d+)\.(\d+)[.\d]*,<(\d+)\.(\d+)"', SETUP.read_text(encoding="utf-8"))
    (oldest, newest) = versions.SUPPORTED[package]
    assert ranges
    for found in ranges:
        assert tuple(map(int, found)) == (*oldest, newest[0], newest[1] + 1)
