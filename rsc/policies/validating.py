"""Score a saved policy by one pass over the validation bars."""

from __future__ import annotations

import math
from pathlib import Path

from rsc.policies.module import load_policy
from rsc.policies.playing import chained, play_once
from rsc.policies.store import PolicyFacts, Validation
from rsc.trading.env import TradingEnv
from rsc.trading.game import Game


def validate(path: Path, facts: PolicyFacts, game: Game) -> Validation:
    """Play the validation bars once, deterministically, with the policy of a checkpoint.

    Args:
        path: The checkpoint.
        facts: Its description.
        game: The validation bars, with settings of one pass.

    Raises:
        PolicyError: The checkpoint cannot be loaded.
    """
    played = play_once(TradingEnv(game.config, market=game.market), load_policy(path, facts))
    result = chained([played], game.market.periods_per_year)
    sharpe = None if math.isnan(result.sharpe_ratio) else result.sharpe_ratio
    return Validation(facts.iteration, result.total_reward, result.total_return, sharpe, result.trades)


def best_of(validations: list[Validation]) -> Validation:
    """Return the validation with the highest total reward, which training maximises; the earliest of equal ones."""
    return max(validations, key=lambda one: (one.total_reward, -one.iteration))
