"""Ratios of few steps are marked where people read them."""

from __future__ import annotations

import pytest

from journal.inspect.figures import few_steps_mark


@pytest.mark.parametrize(
    ("figures", "mark"),
    [
        ({"total_steps": 19, "sharpe_ratio": 9.1}, " (few steps)"),
        ({"total_steps": 20, "sharpe_ratio": 9.1}, ""),
        ({"total_steps": 19, "sharpe_ratio": None}, ""),
        ({"sharpe_ratio": 9.1}, ""),
    ],
)
def test_mark__fewer_than_20_steps_and_a_ratio__is_there(figures: dict[str, float | None], mark: str) -> None:
    assert few_steps_mark(figures, "sharpe_ratio") == mark
