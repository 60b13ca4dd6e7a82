"""The incremental form: the pure functions' figures from any blocks, the same bits for the same blocks, whatever happens."""

from __future__ import annotations

import decimal
import itertools
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc import metrics as m
from rsc.metrics import RunningMetrics

NAN = math.nan
INITIAL, YEAR, START_PRICE = 10_000.0, 252.0, 25.0
STEP_COLUMNS = ("portfolio_value", "price", "reward", "fees", "position", "unrealized_pnl")
TRADE_COLUMNS = ("pnl", "quantity", "exit_price")

Columns = dict[str, np.ndarray]
Block = tuple[Columns, Columns]


def episode(seed: int, steps: int, spread: float = 0.01, trades_each: float = 0.1) -> Block:
    """Columns of a whole episode; each trade has the step that closed it."""
    rng = np.random.default_rng(seed)
    values = INITIAL * np.cumprod(1.0 + rng.normal(1e-4, spread, steps).clip(-0.9))
    columns = {
        "step": np.arange(1, steps + 1),
        "portfolio_value": values,
        "price": START_PRICE * np.cumprod(1.0 + rng.normal(1e-4, spread, steps).clip(-0.9)),
        "reward": rng.normal(0, 1, steps),
        "fees": rng.exponential(1.0, steps) * (rng.random(steps) < 0.3),
        "position": rng.integers(-1, 2, steps) * 0.5,
        "unrealized_pnl": rng.normal(0, 100, steps),
    }
    exit_step = np.sort(rng.integers(1, steps + 1, int(steps * trades_each))) if steps else np.empty(0, np.int64)
    return columns, trades_of(rng.normal(0, 50, len(exit_step)), exit_step)


def trades_of(pnls: np.ndarray, exit_step: np.ndarray) -> Columns:
    """What a fold reads of trades."""
    count = len(pnls)
    prices = np.linspace(20.0, 30.0, count)
    entry_step = np.maximum(exit_step - np.arange(count) % 7, 0)
    sides = np.where(np.arange(count) % 2, 1, -1).astype(np.int8)
    return {
        "pnl": pnls, "quantity": 1.0 + np.arange(count) % 3, "direction": sides, "entry_step": entry_step,
        "exit_step": exit_step, "exit_price": prices,
    }  # fmt: skip


def split(whole: Block, cuts: Iterable[int]) -> Iterator[Block]:
    """The blocks between these steps, each with the trades that its steps closed."""
    steps, trades = whole
    count = len(steps["portfolio_value"])
    edges = sorted({0, count, *(cut for cut in cuts if cut < count)})
    for first, end in itertools.pairwise(edges):
        chosen = (trades["exit_step"] > first) & (trades["exit_step"] <= end)
        block = {name: column[first:end] for name, column in steps.items()}
        yield block, {name: column[chosen] for name, column in trades.items()}


def new_metrics() -> RunningMetrics:
    return RunningMetrics(INITIAL, YEAR, start_price=START_PRICE)


def folded(blocks: Iterable[Block]) -> RunningMetrics:
    running = new_metrics()
    for steps, trades in blocks:
        running.fold(steps, trades)
    return running


def by_definition(whole: Block) -> dict[str, float]:
    """What the pure functions, and plain exact sums, say of the episode."""
    steps, trades = whole
    values = steps["portfolio_value"]
    last = float(values[-1]) if len(values) else INITIAL
    r, b = m.returns(values, INITIAL), m.returns(steps["price"], START_PRICE)
    pnls = trades["pnl"]
    gain, market = m.total_return(INITIAL, last), steps["price"][-1] / START_PRICE - 1 if len(values) else NAN
    held = trades["exit_step"] - trades["entry_step"]
    return {
        "initial_portfolio_value": INITIAL,
        "final_portfolio_value": last,
        "pnl": last - INITIAL,
        "unrealized_pnl": float(steps["unrealized_pnl"][-1]) if len(values) else 0.0,
        "total_return": m.total_return(INITIAL, last),
        "annual_return": m.annual_return(INITIAL, last, len(values), YEAR),
        "sharpe_ratio": m.sharpe_ratio(r, YEAR),
        "sortino_ratio": m.sortino_ratio(r, YEAR),
        "calmar_ratio": m.calmar_ratio(values, INITIAL, YEAR),
        "volatility": m.volatility(r, YEAR),
        "max_drawdown": m.max_drawdown(values, INITIAL),
        "win_rate": m.win_rate(trades["pnl"]),
        "profit_factor": m.profit_factor(trades["pnl"]),
        "time_in_market": m.time_in_market(steps["position"]),
        "total_reward": math.fsum(steps["reward"]),
        "total_fees": math.fsum(steps["fees"]),
        "total_steps": len(values),
        "total_trades": len(pnls),
        "sharpe_standard_error": m.sharpe_standard_error(r, YEAR),
        "skew": m.skew(r),
        "kurtosis": m.kurtosis(r),
        "longest_drawdown_steps": NAN if (longest := m.longest_drawdown_steps(values, INITIAL)) is None else longest,
        "buy_and_hold_return": market,
        "excess_return": gain - market,
        "beta": m.beta(r, b),
        "alpha": m.alpha(r, b, YEAR),
        "information_ratio": m.information_ratio(r, b, YEAR),
        "turnover": m.turnover(steps, trades, INITIAL, YEAR),
        "total_costs": math.fsum(steps["fees"]),
        "liquidation_value": last if not len(values) or steps["position"][-1] == 0 else NAN,
        "average_trade": math.fsum(pnls) / len(pnls) if len(pnls) else NAN,
        "best_trade": float(np.max(pnls)) if len(pnls) and np.isfinite(pnls).all() else NAN,
        "worst_trade": float(np.min(pnls)) if len(pnls) and np.isfinite(pnls).all() else NAN,
        "average_holding_steps": float(np.mean(held)) if len(pnls) else NAN,
    }


def assert_is(result: m.EpisodeMetrics, expected: dict[str, float], scale: float = 1.0) -> None:
    for name, theirs in expected.items():
        ours = getattr(result, name)
        ours = NAN if ours is None else ours
        same = math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12 * scale)
        assert same or (math.isnan(ours) and math.isnan(theirs)), f"{name}: {ours!r}, expected {theirs!r}"


episodes = st.builds(
    episode,
    seed=st.integers(0, 10**9),
    steps=st.integers(0, 3000),
    spread=st.sampled_from([1e-8, 1e-4, 0.01, 0.1]),
    trades_each=st.sampled_from([0.0, 0.1, 1.0]),
)
cut_lists = st.lists(st.integers(1, 3000), max_size=30)


@given(episodes, cut_lists)
@settings(deadline=None)
def test_running__any_blocks__gives_the_definitions_figures(whole: Block, cuts: list[int]) -> None:
    """To 1e-12, every figure, wherever the seals fell."""
    assert_is(folded(split(whole, cuts)).result(), by_definition(whole), scale=100.0)


@pytest.mark.parametrize("every", [1, 2, 17])
def test_running__tiniest_blocks__give_the_definitions_figures(every: int) -> None:
    """A seal after each step costs no digit."""
    whole = episode(1, 20_000)
    assert_is(folded(split(whole, range(0, 20_000, every))).result(), by_definition(whole), scale=100.0)


def test_running__one_block__has_the_bits_of_the_definition() -> None:
    """One kernel serves both forms."""
    whole = episode(2, 1000)
    result, expected = folded(split(whole, [])).result(), by_definition(whole)
    names = (
        "sharpe_ratio",
        "sortino_ratio",
        "volatility",
        "max_drawdown",
        "calmar_ratio",
        "time_in_market",
        "win_rate",
        "sharpe_standard_error",
        "skew",
        "kurtosis",
        "longest_drawdown_steps",
        "beta",
        "alpha",
        "information_ratio",
        "turnover",
    )
    assert {name: getattr(result, name) for name in names} == {name: expected[name] for name in names}


@given(episodes, cut_lists, st.integers(0, 30))
@settings(deadline=None)
def test_running__restored_from_its_bytes__goes_on_with_the_same_bits(whole: Block, cuts: list[int], seam: int) -> None:
    """Live, rescued and recomputed figures agree to the last bit, since their blocks do."""
    live = rescued = new_metrics()
    for number, block in enumerate(split(whole, cuts)):
        if number == seam:
            rescued = RunningMetrics.from_bytes(live.to_bytes())
        live.fold(*block)
        if rescued is not live:
            rescued.fold(*block)
    assert rescued.to_bytes() == live.to_bytes()
    assert repr(rescued.result()) == repr(live.result())


def unaligned(column: np.ndarray) -> np.ndarray:
    moved = np.frombuffer(b"\0\0\0" + column.tobytes(), np.uint8)[3:].view(column.dtype)
    assert moved.flags.aligned == (not len(column) or column.itemsize == 1)
    return moved


LAYOUTS = {
    "strided": lambda column: np.repeat(column, 3)[::3],
    "reversed": lambda column: column[::-1].copy()[::-1],
    "unaligned": unaligned,
    "big-endian": lambda column: column.astype(">f8"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("steps", [1, 250, 20_000])
def test_running__other_memory_layout__has_the_same_bits(layout: str, steps: int) -> None:
    """The writer's arrays and the reader's lie differently in memory; numpy sums them in another order if let."""
    columns, trades = episode(3, steps)
    other = {name: LAYOUTS[layout](column) for name, column in columns.items()}
    one = folded([(columns, trades)])
    other_trades = {name: LAYOUTS[layout](column) for name, column in trades.items()}
    assert folded([(other, other_trades)]).to_bytes() == one.to_bytes()


def test_running__rows_of_a_structured_array__are_taken() -> None:
    """A fold uses nothing but ``mapping[name]``."""
    columns, trades = episode(4, 300)
    rows = np.zeros(300, [("step", "i8"), *((name, "f8") for name in STEP_COLUMNS)])
    for name in ("step", *STEP_COLUMNS):
        rows[name] = columns[name]
    assert folded([(rows, trades)]).to_bytes() == folded([(columns, trades)]).to_bytes()  # type: ignore[list-item]


FOLD_AND_PRINT = """
import numpy as np
from rsc.metrics import RunningMetrics
rng = np.random.default_rng(5)
running = RunningMetrics(1e4, 252.0)
for n in (1, 7, 250, 1024, 20000):
    names = ("reward", "fees", "position", "unrealized_pnl")
    values, prices = (1e4 * np.multiply.accumulate(1 + rng.uniform(-0.01, 0.01, n)) for _ in range(2))
    trades = dict.fromkeys(("pnl", "quantity", "exit_price"), rng.uniform(-1, 1, n))
    trades |= {"entry_step": np.arange(n), "exit_step": np.arange(n), "direction": np.ones(n, np.int8)}
    steps = {k: rng.uniform(-1, 1, n) for k in names}
    running.fold({"step": np.arange(n), "portfolio_value": values, "price": prices, **steps}, trades)
print(running.to_bytes().hex())
"""


def test_running__on_a_plainer_cpu__has_the_same_bits() -> None:
    """The reconciler's machine may lack what the trainer's CPU has."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("this CPU has no extensions that could be missed")
    plain = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(found), "OPENBLAS_CORETYPE": "Nehalem"}
    states = [
        subprocess.run(
            [sys.executable, "-c", FOLD_AND_PRINT], env=env, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for env in (dict(os.environ), plain)
    ]
    assert states[0] == states[1]
    assert len(states[0]) > 300


def exact_moments(values: np.ndarray, initial: float) -> tuple[float, float, float]:
    """Mean, standard deviation and downside deviation of the returns, in 40 digits."""
    with decimal.localcontext(prec=40):
        before = Decimal(initial)
        returns = []
        for value in map(Decimal, values.tolist()):
            returns.append(value / before - 1)
            before = value
        mean = sum(returns, start=Decimal(0)) / len(returns)
        squares = sum(((r - mean) ** 2 for r in returns), start=Decimal(0))
        falls = sum((r * r for r in returns if r < 0), start=Decimal(0))
        return float(mean), float((squares / (len(returns) - 1)).sqrt()), float((falls / len(returns)).sqrt())


@pytest.mark.parametrize(("drift", "spread"), [(0.0, 1e-9), (1e-5, 1e-10), (-1e-5, 1e-8)])
def test_running__a_million_steps_of_small_spread__against_40_digits(drift: float, spread: float) -> None:
    """Raw sums of squares would lose the spread around the mean altogether; plain sums of sums would lose digits."""
    r = drift + spread * np.random.default_rng(6).normal(0, 1, 1_000_000)
    values = INITIAL * np.cumprod(1.0 + r)
    idle = {"step": np.arange(1, 1_000_001), **dict.fromkeys(STEP_COLUMNS[1:], np.zeros(1_000_000))}
    trades = trades_of(np.empty(0), np.empty(0, np.int64))
    result = folded(split(({"portfolio_value": values, **idle}, trades), range(0, 1_000_000, 1000))).result()
    mean, deviation, downside = exact_moments(values, INITIAL)
    root = math.sqrt(YEAR)
    assert result.volatility == pytest.approx(deviation * root, rel=1e-12)
    assert result.sharpe_ratio == pytest.approx(mean / deviation * root, rel=1e-12, abs=1e-12 * root)
    if downside:
        assert result.sortino_ratio == pytest.approx(mean / downside * root, rel=1e-12, abs=1e-12 * root)


def test_running__a_million_steps_of_sums__against_fsum() -> None:
    """Rewards that nearly cancel, fees that hardly show behind a large one."""
    whole = episode(7, 1_000_000, trades_each=0.01)
    steps, _ = whole
    steps["reward"][::2] += 1e6
    steps["reward"][1::2] -= 1e6
    steps["fees"][0] = 1e9
    result = folded(split(whole, range(0, 1_000_000, 1024))).result()
    assert result.total_fees == pytest.approx(math.fsum(steps["fees"]), rel=1e-15)
    assert result.total_reward == pytest.approx(math.fsum(steps["reward"]), abs=1e-12 * 1e6 * 1e3)


def test_running__no_steps__says_what_is_known() -> None:
    """An episode that was killed before its first step: no gain, no fall, nothing else."""
    result = new_metrics().result()
    known = {name: value for name, value in vars(result).items() if name != "not_told" and not math.isnan(value)}
    assert result.not_told == ()
    assert known == {
        "initial_portfolio_value": INITIAL,
        "final_portfolio_value": INITIAL,
        "pnl": 0.0,
        "unrealized_pnl": 0.0,
        "total_return": 0.0,
        "max_drawdown": 0.0,
        "total_reward": 0.0,
        "total_fees": 0.0,
        "total_steps": 0,
        "total_trades": 0,
        "longest_drawdown_steps": 0,
        "total_costs": 0.0,
        "liquidation_value": INITIAL,
    }


def test_running__empty_block__changes_no_bit() -> None:
    """Nothing happened in it."""
    whole = episode(8, 500)
    nothing = {name: np.empty(0) for name in (*STEP_COLUMNS, *TRADE_COLUMNS, "exit_step", "entry_step", "direction")}
    running = folded(split(whole, [100]))
    before = running.to_bytes()
    running.fold(nothing, nothing)
    assert running.to_bytes() == before


@pytest.mark.parametrize("last", [0.0, -500.0])
def test_running__bankrupt_in_the_last_step__keeps_its_figures(last: float) -> None:
    """Equity at or below zero ends an episode, and its loss is a return like any other."""
    whole = episode(9, 400)
    whole[0]["portfolio_value"][-1] = last
    result = folded(split(whole, [256])).result()
    assert_is(result, by_definition(whole), scale=100.0)
    assert result.max_drawdown >= 1.0
    assert math.isfinite(result.sharpe_ratio)
    assert result.pnl == last - INITIAL


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 0.0, -1.0])
@pytest.mark.parametrize("column", [*STEP_COLUMNS, "pnl"])
@pytest.mark.parametrize("cuts", [(), (100,), (150, 151, 152)])
def test_running__odd_value_midway__costs_its_figures_and_no_others(
    odd: float, column: str, cuts: tuple[int, ...]
) -> None:
    """As by definition: no warning, no exception, no inf; what does not hang on the column stays."""
    whole = episode(10, 300, trades_each=1.0)
    (whole[1] if column == "pnl" else whole[0])[column][151] = odd
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = folded(split(whole, cuts)).result()
    expected = by_definition(whole)
    assert_is(result, {name: x if math.isfinite(x) else math.nan for name, x in expected.items()}, scale=100.0)


@given(st.data())
@settings(deadline=None)
def test_running__any_floats_at_all__neither_raises_nor_warns(data: Any) -> None:
    """Whatever an env says, training goes on, and the database gets numbers or NULL."""
    some = st.lists(st.floats(), min_size=6, max_size=6).map(np.array)
    columns = ("fill_price", "costs", "exit_costs")
    initial, year, price, position = (data.draw(st.floats()) for _ in range(4))
    extra = data.draw(st.sampled_from([(), columns]))
    whole = {"exit_step": np.arange(6), "entry_step": np.arange(-3, 3), "direction": np.ones(6, np.int8)}
    blocks = [
        (
            {"step": np.arange(6), **{name: data.draw(some) for name in (*STEP_COLUMNS, *columns)}},
            {**whole, **{name: data.draw(some) for name in TRADE_COLUMNS}},
        )
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    with warnings.catch_warnings():  # nothing is drawn in here: Hypothesis warns when another thread uses random
        warnings.simplefilter("error")
        running = RunningMetrics(initial, year, start_price=price, start_position=position, extra_columns=extra)
        for block in blocks:
            running.fold(*block)
            running = RunningMetrics.from_bytes(running.to_bytes())
        result = running.result()
        m.stored(result)
    assert not any(math.isinf(getattr(result, name) or 0.0) for name in m.METRIC_NAMES)


def test_to_bytes__any_state__is_small_and_of_one_size() -> None:
    """Each batch of a journal carries one."""
    sizes = {len(folded(split(episode(11, steps), [50])).to_bytes()) for steps in (0, 1, 5000)}
    assert sizes == {421}


GOOD = folded(split(episode(12, 100), [50])).to_bytes()
GARBAGE = {
    "nothing": b"",
    "cut": GOOD[:-1],
    "longer": GOOD + b"\0",
    "zeros": bytes(len(GOOD)),
    "text": b"x" * len(GOOD),
    "negative steps": GOOD[:5] + b"\xff" * 8 + GOOD[13:],
    "negative trades": GOOD[:13] + b"\xff" * 8 + GOOD[21:],
    "more exposed steps than steps": GOOD[:5] + (1).to_bytes(8, "little") + GOOD[13:],
    "more wins than trades": GOOD[:13] + (0).to_bytes(8, "little") + GOOD[21:],
    "longer drawdown than the longest": GOOD[:21] + (60).to_bytes(8, "little") + bytes(8) + GOOD[37:],
}


@pytest.mark.parametrize("state", GARBAGE.values(), ids=GARBAGE.keys())
def test_from_bytes__garbage__is_a_clear_error(state: bytes) -> None:
    """A StateError, which is a ValueError."""
    with pytest.raises(ValueError, match="not a state of running metrics"):
        RunningMetrics.from_bytes(state)


def test_from_bytes__newer_version__says_to_upgrade() -> None:
    """Not misread."""
    with pytest.raises(m.StateError, match="version 3, this program knows 2; upgrade"):
        RunningMetrics.from_bytes(GOOD[:3] + b"\x03" + GOOD[4:])


@given(st.binary(max_size=600) | st.binary(min_size=417, max_size=417).map(lambda rest: b"rsm\x02" + rest))
def test_from_bytes__any_bytes__are_refused_or_kept_to_the_bit(state: bytes) -> None:
    """No third thing, and no other exception."""
    try:
        running = RunningMetrics.from_bytes(state)
    except m.StateError:
        return
    running.result()
    assert running.to_bytes() == state


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_from_bytes__any_buffer__is_taken(kind: Any) -> None:
    """What a reader has at hand."""
    assert RunningMetrics.from_bytes(kind(GOOD)).to_bytes() == GOOD
