"""Determine which bars of a market were seen, and whether prices and features are those of the training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from rsc.policies.errors import PolicyError
from rsc.policies.store import FeatureFacts, MarketFacts, PolicyFacts, Span
from rsc.trading.config import TradingConfig
from rsc.trading.game import Game
from rsc.trading.market import Market

_TOLERANCE = 1e-4
"""Tolerance for features: they are float32, and rounding differs between versions of numpy and processors."""


def span_of(game: Game) -> Span:
    """Return the bars that episodes of a game may touch."""
    return Span(iso(game.market, game.first), iso(game.market, game.last), game.last - game.first + 1)


def iso(market: Market, bar: int) -> str:
    """Return the time of a bar, ISO 8601, UTC."""
    return str(np.datetime64(int(market.times_us[bar]), "us").astype("datetime64[s]"))


def last_seen(facts: PolicyFacts) -> str:
    """Return the time of the last bar that training or selection saw."""
    return max(facts.training.last, facts.validation.last) if facts.validation else facts.training.last


def bars_seen(market: Market, first: int, last: int, facts: PolicyFacts) -> int:
    """Return the number of bars from ``first`` to ``last`` that training or selection saw."""
    times = market.times_us[first : last + 1]
    seen = np.zeros(len(times), np.bool_)
    for span in filter(None, (facts.training, facts.validation)):
        seen |= (times >= _us(span.first)) & (times < _us(span.last) + 1_000_000)  # a span keeps whole seconds
    return int(seen.sum())


def bars_after(market: Market, until: str) -> int:
    """Return the number of bars after a time."""
    return int((market.times_us >= _us(until) + 1_000_000).sum())


def prices_changed(facts: PolicyFacts) -> str:
    """Return the message for prices that are not those of the training."""
    return (
        f"the prices of {facts.market.name} up to {last_seen(facts)[:10]} are not those that the policy of run"
        f" {facts.run_id} was trained on (another file, or prices adjusted anew); bring those back, or give --ticker or"
        " --data to evaluate on others"
    )


def _us(text: str) -> int:
    return int(np.datetime64(text, "us").astype(np.int64))


def market_facts(market: Market, until: str) -> MarketFacts:
    """Return the facts that are stored about the prices up to a time."""
    return MarketFacts(market.name, market.periods_per_year, _digest(market, until))


def _digest(market: Market, until: str) -> str:
    """Return a digest of all bars up to a time. Later bars in the file do not change it."""
    count = int(np.searchsorted(market.times_us, _us(until) + 1_000_000))
    digest = hashlib.blake2b(repr(sorted(market.extra)).encode(), digest_size=16)
    columns = (market.times_us, market.open, market.high, market.low, market.close, market.volume)
    for column in (*columns, *(market.extra[name] for name in sorted(market.extra))):
        digest.update(np.ascontiguousarray(column[:count]).tobytes())
    return digest.hexdigest()


def has_same_prices(market: Market, facts: PolicyFacts) -> bool:
    """Return whether the bars up to the last seen one are those of the training."""
    return _digest(market, last_seen(facts)) == facts.market.digest


def feature_facts(game: Game) -> list[FeatureFacts]:
    """Return mean and standard deviation of each feature over the bars of a game."""
    names = game.config.features
    width = len(names)
    newest = game.tape.windows[game.first : game.last + 1, game.tape.width - width : game.tape.width].astype(np.float64)
    return [
        FeatureFacts(name, float(mean), float(std))
        for name, mean, std in zip(names, newest.mean(axis=0), newest.std(axis=0), strict=True)
    ]


def require_same_features(facts: PolicyFacts, market: Market, versions: Mapping[str, str]) -> None:
    """Check that the features of the training bars have the same values as in the training.

    Raises:
        PolicyError: A feature differs. The message names differing versions.
    """
    settings = {**facts.env_config, "start_date": facts.training.first[:10], "end_date": facts.training.last[:10]}
    game = Game(TradingConfig.of(settings), market)
    for was, now in zip(facts.features, feature_facts(game), strict=False):
        if abs(was.mean - now.mean) > _TOLERANCE or abs(was.std - now.std) > _TOLERANCE:
            raise PolicyError(
                f"the feature {was.name!r} of the training bars has mean {now.mean:.4f} and standard deviation"
                f" {now.std:.4f}, and had {was.mean:.4f} and {was.std:.4f} in the training"
                f" ({differing(facts.versions, versions) or 'with the same versions of all packages'}); use the versions"
                " that trained the policy, or train again"
            )


def differing(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the packages with differing versions as text; empty if there are none."""
    return ", ".join(f"{name} {then[name]} then, {now.get(name)} now" for name in then if then[name] != now.get(name))
