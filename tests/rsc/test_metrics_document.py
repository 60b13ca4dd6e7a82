"""docs/metrics.md is enough to compute every metric: an implementation made from it agrees with every row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from journal import Journal, list_journals, read_journal
from rsc.closing import ended_from
from rsc.db.models import FRACTIONS
from rsc.metrics import METRIC_NAMES
from rsc.metrics.whole import WHOLE_NAMES
from rsc.recording.accounts import Account, before
from rsc.recording.episode import JournalSettings
from rsc.recording.recorder import Recorder
from rsc.recording.vector import VectorRecorder
from rsc.trading.env import TradingEnv
from rsc.trading.vector_env import TradingVectorEnv
from tests.rsc.markets import random_market
from tests.support.by_the_document import FORMULAS, episode_of, metrics_by_the_document
from tests.support.journals import abandon, flip
from tests.support.walks import ACCOUNT, Walk

NOW = datetime(2026, 11, 22, tzinfo=UTC)
COSTLY = {
    "fee": 0.002,
    "slippage_bps": 5.0,
    "borrow_rate": 0.2,
    "stop_loss": 0.05,
    "take_profit": 0.1,
    "episode_length": 150,
}


def play(env: Any, steps: int, seed: int = 0) -> Any:
    """Play random actions, over resets; the last episode is left as it is."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    for _ in range(steps):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if not isinstance(env, gym.vector.VectorEnv) and (terminated or truncated):
            env.reset()
    return env


def trading(root: Path, market_seed: int = 1, jump: float = 0.02, steps: int = 400, **settings: Any) -> Any:
    env = TradingEnv({**COSTLY, **settings}, market=random_market(market_seed, bars=900, jump=jump))
    return play(Recorder(env, JournalSettings(str(root), "run", checkpoint_every_steps=64)), steps)


def walking(root: Path, account: Account = ACCOUNT, steps: int = 50) -> Any:
    return play(Recorder(Walk(), JournalSettings(str(root), "run", checkpoint_every_steps=8), account=account), steps)


def vector(root: Path) -> Any:
    market = random_market(4, bars=900)
    env = TradingVectorEnv({**COSTLY, "num_envs": 5}, market=market)
    return play(VectorRecorder(env, JournalSettings(str(root), "run")), 200)


def damaged(root: Path) -> None:
    """A bit flips in a batch in the middle, and in a tail: steps are lost."""
    env = trading(root, steps=130)
    writer = env._writer
    abandon(writer)
    flip(writer.path, 8 * (writer.path.stat().st_size // 3))


def killed(root: Path) -> None:
    abandon(trading(root, steps=140)._writer)


def failed(root: Path) -> None:
    env = trading(root, steps=100)
    path = env._writer.path
    abandon(env._writer)
    path.with_suffix(".tail").rename(path.with_suffix(".failed"))


def _told(**changes: Any) -> Account:
    given = {"value": "net_worth", "position": "units", "price": "close", "costs": None, "periods_per_year": 252.0}
    return Account(**{**given, **changes})


EPISODES: dict[str, Callable[[Path], Any]] = {
    "default": lambda root: trading(root, slippage_bps=0.0, borrow_rate=0.0),
    "all costs": trading,
    "fill at close": lambda root: trading(root, fill="close"),
    "continuous": lambda root: trading(root, actions="continuous", fraction=0.9),
    "continuous, wild": lambda root: trading(root, market_seed=3, jump=0.1, actions="continuous", fill="close"),
    "bankrupt": lambda root: trading(root, market_seed=5, jump=0.3, stop_loss=None, take_profit=None),
    "few steps": lambda root: trading(root, episode_length=7, steps=40),
    "one step": lambda root: trading(root, episode_length=1, steps=4),
    "no step": lambda root: trading(root, steps=0),
    "vector": vector,
    "foreign": walking,
    "foreign, exit costs": lambda root: walking(
        root, _told(costs=lambda env, info: 0.0, extra={"exit_costs": lambda env, info: 0.1 * abs(env.units)})
    ),
    "foreign, fill price": lambda root: walking(root, _told(fill_price=before("close"))),
    "foreign, no costs": lambda root: walking(root, _told()),
    "foreign, no price": lambda root: walking(root, _told(price=None)),
    "foreign, no position": lambda root: walking(root, _told(position=None)),
    "foreign, no periods": lambda root: walking(root, _told(periods_per_year=None)),
    "foreign, weight": lambda root: walking(root, _told(position=None, weight=lambda env, info: 0.5)),
    "foreign, begins with a position": lambda root: walking(root, _told(position=lambda env, info: env.units + 3.0)),
    "from rewards": lambda root: walking(root, Account.from_rewards("money", capital=1000.0)),
    "killed": killed,
    "failed": failed,
}  # fmt: skip


def journals(root: Path) -> list[Journal]:
    return [read_journal(root / "run" / f"{one}.arrows") for one in list_journals(root, "run")]


def differences(journal: Journal) -> dict[str, tuple[Any, Any]]:
    row = ended_from(journal, finalized_by="reconciler", now=NOW).row
    episode = episode_of(journal)
    expected = metrics_by_the_document(episode)
    told = (row["not_told"] or "").split()
    for name in ("sharpe_ratio", "win_rate"):  # the row has 0.0 where they are undefined
        if expected[name] is None and name not in told:
            expected[name] = 0.0
    scale = max(abs(episode.initial), 1.0)
    return {name: (row[name], value) for name, value in expected.items() if not _same(name, row[name], value, scale)}


_MONEY = ("pnl", "unrealized_pnl", "total_costs", "total_fees", "liquidation_value", "average_trade", "total_reward")


def _same(name: str, ours: float | None, theirs: float | None, scale: float) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-10 * (scale if name in _MONEY else 1.0))


@pytest.mark.parametrize("case", EPISODES)
def test_rows__any_episode__are_what_the_document_says(tmp_path: Path, case: str) -> None:
    made = EPISODES[case](tmp_path)
    found = journals(tmp_path)
    assert found
    assert {journal.path.name: differences(journal) for journal in found} == {one.path.name: {} for one in found}
    if made is not None:
        made.close()
        assert [differences(journal) for journal in journals(tmp_path)] == [{}] * len(found)


def test_rows__steps_lost__have_null_where_every_step_is_needed(tmp_path: Path) -> None:
    damaged(tmp_path)
    (journal,) = journals(tmp_path)
    assert journal.steps_lost
    row = ended_from(journal, finalized_by="reconciler", now=NOW).row
    assert row["total_steps"] == journal.metrics_step == 130
    assert [row[name] for name in WHOLE_NAMES] == [None] * len(WHOLE_NAMES)
    assert None not in [row[name] for name in ("beta", "alpha", "skew", "turnover", "total_costs", "liquidation_value")]


def test_cases__together__leave_no_metric_undefined_and_every_metric_unknown_once(tmp_path: Path) -> None:
    """So the comparison above has compared numbers, and NULLs, of each."""
    for number, case in enumerate(("all costs", "continuous", "foreign, no price", "foreign, no position", "one step")):
        EPISODES[case](tmp_path / str(number))
    rows = [
        ended_from(journal, finalized_by="reconciler", now=NOW).row
        for number in range(5)
        for journal in journals(tmp_path / str(number))
    ]
    assert [name for name in FORMULAS if all(row[name] is None for row in rows)] == []


def test_document__has_a_formula_for_each_metric() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert tuple(named) == (*METRIC_NAMES, *WHOLE_NAMES)
    assert set(FORMULAS) == set(named)
    fractions = re.findall(r"^\| `(\w+)` \|.*\| fraction[^|]*\|[^|]*\|$", page, re.MULTILINE)
    assert set(fractions) == FRACTIONS, "what is printed in percent"


def test_lots__many_small_steps__are_those_of_the_ledger(tmp_path: Path) -> None:
    """The lots that the journal implies are the lots that the env holds: units, prices, and the sign of each gain."""
    rng, compared = np.random.default_rng(1), 0
    for seed in range(12):
        env = TradingEnv(
            {**COSTLY, "borrow_rate": 0.0, "actions": "continuous", "stop_loss": None, "take_profit": None},
            market=random_market(seed, bars=400),
        )
        recorder = Recorder(env, JournalSettings(str(tmp_path), f"run-{seed}"))
        recorder.reset(seed=seed)
        for _ in range(int(rng.integers(20, 150))):
            recorder.step(rng.uniform(-1, 1, 1))
        ledger = env._ledger
        recorder.close()
        (one,) = list_journals(tmp_path, f"run-{seed}")
        journal = read_journal(tmp_path / f"run-{seed}" / f"{one}.arrows")
        row, trades = ended_from(journal, finalized_by="callback", now=NOW).row, journal.trades().to_pylist()
        price = row["last_price"]
        gains = [trade["pnl"] for trade in trades]
        for size, entry, _, _, costs, _ in ledger.lots:
            gains.append(ledger.side * size * (price - entry) - costs - size * price * env._game.terms.cost_rate)
        assert row["win_rate_marked"] == sum(gain > 0 for gain in gains) / len(gains)
        compared += len(ledger.lots)
    assert compared > 10
