"""Evaluate a saved policy: play unseen bars once, record the episodes, and compare with baseline accounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsc import defaults
from rsc.policies.dates import day_after, one_pass
from rsc.policies.errors import PolicyError
from rsc.policies.module import load_policy, require_fit, versions
from rsc.policies.playing import Baselines, Result, baselines, chained, play_once
from rsc.policies.split import bars_seen, has_same_prices, iso, last_seen, prices_changed, require_same_features
from rsc.policies.store import PolicyFacts, Which, read_policy, run_with_policy
from rsc.runs import incomplete_journals, new_run_id, start_run
from rsc.trading.config import ConfigError, TradingConfig
from rsc.trading.env import TradingEnv
from rsc.trading.game import Game

RANDOM_SEEDS = 100
_SOURCES = ("ticker", "data", "symbol", "market")
_LEAST_BARS = 2


@dataclass(frozen=True)
class EvaluationPlan:
    """The options of `rsc evaluate`."""

    run: str
    first_day: str | None = None
    last_day: str | None = None
    ticker: str | None = None
    data: str | None = None
    symbol: str | None = None
    episodes: int = 1
    deterministic: bool = True
    checkpoint: Which | None = None
    seed: int = 0
    run_id: str | None = None
    journal_root: Path | None = None
    policy_root: Path | None = None
    database_url: str | None = None


@dataclass(frozen=True)
class Stage:
    """The bars to play.

    Attributes:
        game: All bars, with settings of one pass.
        periods: Game and settings of each episode. Together the episodes play each bar once.
        seen: The number of bars from the time that training or selection saw.
        same: Whether the prices are those of the training.
    """

    game: Game
    periods: list[tuple[Game, dict[str, Any]]]
    seen: int
    same: bool

    @property
    def in_sample(self) -> bool:
        """Whether training or selection saw any of the bars."""
        return self.same and self.seen > 0

    @property
    def bars(self) -> int:
        return self.game.last - self.game.first + 1

    def facts(self) -> dict[str, Any]:
        """Return the bars as plain JSON, for the run's row and for `rsc evaluate --json`."""
        return {
            "market": self.game.market.name,
            "first": iso(self.game.market, self.game.first),
            "last": iso(self.game.market, self.game.last),
            "bars": self.bars,
            "bars_seen": self.seen if self.same else 0,
            "in_sample": self.in_sample,
        }


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`. ``lost`` has one line for each way in which the journals are incomplete."""

    run_id: str
    facts: PolicyFacts
    path: Path
    stage: Stage
    periods: list[Result]
    result: Result
    others: Baselines
    lost: list[str]


def evaluate(plan: EvaluationPlan) -> Evaluation:
    """Evaluate a policy, and record its episodes in a new run.

    Raises:
        PolicyError: There is no policy, it cannot be loaded, or there are no bars for it.
        ConfigError, MarketError: The prices or settings cannot be used.
        JournalExistsError: The run id is taken.
        rsc.db.session.DatabaseError: The database cannot be used.
    """
    root = defaults.policy_root(plan.policy_root)
    path, facts = read_policy(root, run_with_policy(root, plan.run), plan.checkpoint)
    stage = staged(plan, facts)
    require_fit(facts, stage.game, path)
    if not plan.deterministic and facts.algorithm == "dqn":
        raise PolicyError("DQN's policy is deterministic, so actions cannot be drawn; leave --stochastic out")
    choose = load_policy(path, facts, deterministic=plan.deterministic, seed=plan.seed)
    run = start_run(
        plan.run_id or new_run_id(),
        journal_root=plan.journal_root,
        database_url=plan.database_url,
        parameters={"evaluation": _described(plan, facts, path, stage), "policy": facts.plan},
        parent_run_id=facts.run_id,
    )
    with run:
        played = []
        for game, _ in stage.periods:
            env = run.record(TradingEnv(game.config, market=game.market), in_evaluation=True)
            played.append(play_once(env, choose, plan.seed))
            env.close()
    periods_per_year = stage.game.market.periods_per_year
    return Evaluation(
        run_id=run.run_id,
        facts=facts,
        path=path,
        stage=stage,
        periods=[chained([one], periods_per_year) for one in played],
        result=chained(played, periods_per_year),
        others=baselines(stage.periods, RANDOM_SEEDS),
        lost=incomplete_journals(run.journal_root, run.run_id, len(played)),
    )


def staged(plan: EvaluationPlan, facts: PolicyFacts) -> Stage:
    """Return the bars that a plan plays. By default these are all bars after the last seen one.

    Raises:
        PolicyError: No bar is left, the prices are not those of the training, or the bars are too few.
    """
    other = plan.ticker is not None or plan.data is not None
    settings = dict(facts.env_config)
    if other:
        settings = {name: value for name, value in settings.items() if name not in _SOURCES}
        given = {"ticker": plan.ticker, "data": plan.data, "symbol": plan.symbol}
        settings |= {name: value for name, value in given.items() if value is not None}
    market = Game(TradingConfig.of({**settings, "start_date": None, "end_date": None})).market
    same = has_same_prices(market, facts)
    if not (same or other):
        raise PolicyError(prices_changed(facts))
    if same:
        require_same_features(facts, market, versions())
    limits = _limits(plan, facts)
    unseen = market.times_us.view("datetime64[us]") >= np.datetime64(limits["start_date"])
    if plan.first_day is None and unseen.sum() < _LEAST_BARS:
        raise PolicyError(
            f"no bars are left that run {facts.run_id} did not see: the prices of {market.name} end at"
            f" {iso(market, len(market) - 1)[:10]}, training and selection saw those up to {last_seen(facts)[:10]};"
            " --from and --to play seen bars (IN SAMPLE), --ticker or --data other prices, and `rsc train --train-until"
            " DATE` leaves bars unseen"
        )
    game = Game(TradingConfig.of(one_pass({**settings, **limits})), market)
    seen = bars_seen(market, game.first, game.last, facts)
    return Stage(game, list(_periods(game, settings, plan.episodes)), seen, same or market.name == facts.market.name)


def _limits(plan: EvaluationPlan, facts: PolicyFacts) -> dict[str, Any]:
    """Return the first and last day to play. The env config's end_date counts if it leaves unseen bars."""
    first = plan.first_day or day_after(last_seen(facts))
    last = plan.last_day
    if plan.first_day is None and last is not None and last < first:
        raise PolicyError(
            f"--to {last} is before {first}, the first day that run {facts.run_id} did not see; give --from"
        )
    own = facts.env_config.get("end_date")
    if last is None and own is not None and str(own)[:10] >= first:
        last = str(own)[:10]
    return {"start_date": first, "end_date": last}


def _periods(game: Game, settings: dict[str, Any], episodes: int) -> Iterator[tuple[Game, dict[str, Any]]]:
    """Yield each episode's bars: consecutive periods of about equal length, divided between days.

    Raises:
        PolicyError: A period would have fewer than two bars: the first is only observed.
    """
    days = game.market.times_us[game.first : game.last + 1].view("datetime64[us]").astype("datetime64[D]")
    wanted = [len(days) * number // episodes for number in range(episodes)]
    starts = [int(np.searchsorted(days, days[place])) for place in wanted if place < len(days)]
    ends = [*starts[1:], len(days)]
    shortest = min(end - start for start, end in zip(starts, ends, strict=True))
    if len(starts) < episodes or shortest < _LEAST_BARS:
        raise PolicyError(
            f"{len(days)} bars do not make {episodes} episodes of at least {_LEAST_BARS}; lower --episodes"
        )
    for start, end in zip(starts, ends, strict=True):
        limits = {"start_date": str(days[start]), "end_date": str(days[end - 1])}
        one = one_pass({**settings, **limits})
        try:
            yield Game(TradingConfig.of(one), game.market), one
        except ConfigError as error:
            raise PolicyError(f"{error}; lower --episodes") from error


def _described(plan: EvaluationPlan, facts: PolicyFacts, path: Path, stage: Stage) -> dict[str, Any]:
    """Return the facts about the evaluation for the run's row."""
    return {
        "checkpoint": path.name,
        "iteration": facts.iteration,
        "deterministic": plan.deterministic,
        "seed": plan.seed,
        "episodes": plan.episodes,
        **stage.facts(),
    }
