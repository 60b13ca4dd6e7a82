"""Metrics of many episodes at once have the bits that each episode has alone."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from rsc.metrics.many import Episode, figures_of_many
from rsc.metrics.running import RunningMetrics
from rsc.metrics.whole import EveryStep

EXTRAS: tuple[tuple[str, ...], ...] = ((), ("costs", "fill_price", "exit_costs"), ("fill_price",))
ODD = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -5.0)


def metrics(extra: tuple[str, ...], initial: float = 100.0) -> RunningMetrics:
    return RunningMetrics(initial, 252.0, start_price=10.0, extra_columns=extra)


def episode(rng: np.random.Generator, extra: tuple[str, ...], steps: int) -> Episode:
    """An episode of random values, with odd ones in one of three, and trades that often fit to its positions."""
    columns: dict[str, Any] = {"step": np.arange(1, steps + 1)}
    columns["position"] = np.repeat(rng.integers(-2, 3, steps), rng.integers(1, 9, steps))[:steps].astype(float)
    columns["portfolio_value"] = 100.0 * np.cumprod(1 + rng.normal(0, 0.02, steps))
    columns["price"] = 10.0 * np.cumprod(1 + rng.normal(0, 0.01, steps))
    for name in ("reward", "fees", "unrealized_pnl", *extra):
        columns[name] = rng.normal(0, 10.0 ** rng.integers(-9, 9), steps)
    if "fill_price" in extra:
        columns["fill_price"] = columns["price"] * 1.001
    if rng.random() < 1 / 3:
        names = [name for name in columns if name != "step"]
        for _ in range(rng.integers(1, 4)):
            columns[names[rng.integers(len(names))]][rng.integers(steps)] = ODD[rng.integers(len(ODD))]
    closed = np.flatnonzero(np.diff(columns["position"], prepend=0.0)) + 1
    closed = closed[rng.random(len(closed)) < rng.choice([0.0, 0.5, 1.0])]
    trades = {
        "exit_step": closed,
        "entry_step": closed - rng.integers(-1, 5, len(closed)),
        "direction": rng.choice([-1, 1], len(closed)).astype("i1"),
        "quantity": rng.integers(1, 3, len(closed)).astype(float),
        "exit_price": rng.normal(10, 1, len(closed)),
        "pnl": rng.normal(0, 3, len(closed)),
        "costs": rng.random(len(closed)),
    }
    if len(closed) and rng.random() < 1 / 5:
        trades[str(rng.choice(["exit_price", "pnl", "costs"]))][0] = ODD[rng.integers(len(ODD))]
    return Episode(metrics(extra, float(rng.choice([100.0, 100.0, 0.0]))), columns, trades)


def alone(one: Episode, extra: tuple[str, ...]) -> tuple[Any, dict[str, float], bytes]:
    own = RunningMetrics.from_bytes(one.start.to_bytes())
    own.fold(one.steps, one.trades)
    result, every = own.result(), EveryStep(0.0, 10.0)
    every.take(one.steps, one.trades)
    return result, every.figures(result.initial_portfolio_value, result, one.trades), own.to_bytes()


def bits(values: dict[str, Any]) -> dict[str, Any]:
    """Values by name, floats as their bytes, so that all NaN are equal and 0.0 is not -0.0."""

    def of(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return "nan" if value != value else struct.pack("<d", value)

    return {name: of(value) for name, value in values.items()}


def state_of(state: bytes) -> dict[str, Any]:
    return bits({str(index): value for index, value in enumerate(struct.unpack("<48d", state[37 : 37 + 48 * 8]))})


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: "+".join(extra) or "no-extra")
@pytest.mark.parametrize("seed", range(12))
def test_many__random_episodes__have_the_bits_of_each_alone(seed: int, extra: tuple[str, ...]) -> None:
    rng = np.random.default_rng(seed)
    longest = (3, 40, 300, 9000)[seed % 4]
    episodes = [episode(rng, extra, int(steps)) for steps in rng.integers(1, longest, 5 if longest > 999 else 40)]
    expected = [alone(one, extra) for one in episodes]

    found = figures_of_many(episodes)

    for one, (figures, every, state), many in zip(episodes, expected, found, strict=True):
        assert many is not None
        assert bits(vars(many[0])) == bits(vars(figures))
        assert bits(many[1]) == bits(every)
        assert len(state) == len(one.start.to_bytes())
        assert one.start.to_bytes()[:37] == state[:37]
        assert state_of(one.start.to_bytes()) == state_of(state)


@pytest.mark.parametrize("name", ["no quantity", "exit behind the end", "exit before the first step"])
def test_many__trades_that_are_odd__are_left_to_the_other_code(name: str) -> None:
    rng = np.random.default_rng(1)
    episodes = [episode(rng, (), 30) for _ in range(3)]
    episodes = [one._replace(start=metrics(())) for one in episodes]
    odd = dict(next(one for one in episodes if len(one.trades["pnl"])).trades)
    if name == "no quantity":
        odd["quantity"] = np.full(len(odd["pnl"]), np.nan)
    else:
        odd["exit_step"] = odd["exit_step"] + 40 if "behind" in name else odd["exit_step"] - 40
    episodes[1] = episodes[1]._replace(trades=odd)
    expected = [alone(episodes[index], ()) for index in (0, 2)]

    first, second, third = figures_of_many(episodes)

    assert second is None
    assert first is not None
    assert bits(vars(first[0])) == bits(vars(expected[0][0]))
    assert third is not None
    assert bits(vars(third[0])) == bits(vars(expected[1][0]))
