"""Code that both envs share: market, spaces, and where episodes may start."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np

from journal.format.header import About
from journal.format.schema import COSTS, EXIT_COSTS, FILL_PRICE
from rsc.trading.config import ConfigError, TradingConfig
from rsc.trading.indicators import CLIP
from rsc.trading.market import Market, load_market, market_from_frame, with_periods
from rsc.trading.tape import ACCOUNT_COLUMNS, Tape, tape_of

# Imports inside functions load modules that are slow to import and not always needed.

# Columns of journals: interest on cash in the step; 1 if the step closed the position for lack of margin, else 0.
INTEREST, LIQUIDATED = "interest", "liquidated"
_DAY = np.timedelta64(1, "D")


class Game:
    """A validated configuration with its market. Raises ConfigError or MarketError if they do not fit together."""

    def __init__(self, config: TradingConfig, market: Market | None = None) -> None:
        self.config = config
        self.tape = _tape(config, market)
        self.market = self.tape.market
        self.terms = config.terms()
        self.first, self.last = self._bounds()
        self._refuse_a_size_of_nothing()

    def observation_space(self) -> gym.spaces.Box:
        return gym.spaces.Box(-CLIP, CLIP, (self.tape.width + ACCOUNT_COLUMNS,), np.float32)

    def action_space(self) -> gym.Space[Any]:
        if self.config.actions == "discrete":
            return gym.spaces.Discrete(3)
        return gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def actions_in_words(self) -> str:
        """Describe the valid actions in messages."""
        discrete = self.config.actions == "discrete"
        return "0 (flat), 1 (long) or 2 (short)" if discrete else "one target exposure from -1 to 1, in an array"

    def draw_episode(self, random: np.random.Generator) -> tuple[int, int]:
        """Return first and last bar of an episode. The first bar is only observed, so there are ``last - first`` steps."""
        length = self.config.episode_length or self.last - self.first
        latest = max(self.first, self.last - length)
        start = int(random.integers(self.first, latest + 1)) if self.config.random_start else self.first
        return start, min(start + length, self.last)

    def about(self, env: str, start: int) -> About:
        """Return the journal's header for an episode that starts at this bar."""
        return About(
            env=env,
            initial_portfolio_value=float(self.config.capital),
            periods_per_year=self.market.periods_per_year,
            env_config=self._config_json,
            extra_columns=self.journal_columns,
            start_market_time_us=int(self.market.times_us[start]),
            start_price=float(self.market.close[start]),
            market=self.market.name or None,
        )

    @functools.cached_property
    def journal_columns(self) -> tuple[str, ...]:
        """Return the names of the columns of `TradingEnv.journal_extra`."""
        terms = self.terms
        optional = ((COSTS, terms.costs_more_than_fees), (INTEREST, terms.interest), (LIQUIDATED, terms.margin))
        return (FILL_PRICE, EXIT_COSTS, *(name for name, told in optional if told))

    @functools.cached_property
    def _config_json(self) -> dict[str, Any]:
        """The settings as JSON, cached: with short episodes this takes a tenth of a reset."""
        return self.config.to_json()

    def _bounds(self) -> tuple[int, int]:
        """Return the first bar at which an episode may start, and the last that it may reach."""
        config, times = self.config, self.market.times_us.view("datetime64[us]")
        first, last = self.tape.first, len(times) - 1
        if config.start_date is not None:
            first = max(first, int(np.searchsorted(times, _day("start_date", config.start_date))))
        if config.end_date is not None:
            last = int(np.searchsorted(times, _day("end_date", config.end_date) + _DAY)) - 1
        if first >= last:
            raise ConfigError(
                f"{self.market.name} has no bars to play: its features and a window of {config.window} begin at "
                f"{times[min(self.tape.first, len(times) - 1)].astype('datetime64[D]')}, prices end at "
                f"{times[-1].astype('datetime64[D]')}, start_date is {config.start_date}, end_date {config.end_date}"
            )
        return first, last

    def _refuse_a_size_of_nothing(self) -> None:
        if not self.config.whole_shares:
            return
        dearest = float(self.market.high[self.first : self.last + 1].max())
        if self.terms.full_size(float(self.config.capital), dearest) < 1.0:
            raise ConfigError(
                f"whole_shares: {self.terms.size:.3g} of a capital of {self.config.capital:g} buys no share of "
                f"{self.market.name} at {dearest:g}, its highest price; raise capital or fraction, or allow fractions"
            )


def exposure_of(action: Any) -> float:
    """Return a continuous action as a number, clipped to [-1, 1]. Raises ValueError for NaN."""
    target = float(action[0])
    if -1.0 <= target <= 1.0:
        return target
    if target != target:
        raise ValueError("expected a target exposure from -1 to 1, got NaN")
    return 1.0 if target > 0.0 else -1.0


def _day(name: str, text: str) -> np.datetime64:
    try:
        return np.datetime64(text, "D")
    except ValueError:
        raise ConfigError(f"{name} must be a date like 2008-01-31, got {text!r}") from None


def _tape(config: TradingConfig, market: Any) -> Tape:
    given = config.market if market is None else market
    if type(given).__module__.startswith("ray"):
        given = _from_ray(given)
    if given is None:
        given = load_market(config.ticker, config.data, config.periods_per_year, config.symbol)
    elif hasattr(given, "columns"):
        given = market_from_frame(given, config.periods_per_year, config.symbol)
    if isinstance(given, Tape):
        return _same_features(given, config).of_market(with_periods(given.market, config.periods_per_year))
    if not isinstance(given, Market):
        raise ConfigError(
            f"market must be a Market, a Tape, a data frame, or a Ray reference to one, got {type(given).__name__}"
        )
    market = with_periods(given, config.periods_per_year)
    return tape_of(market, config.features, config.window, config.normalise_window)


def _same_features(tape: Tape, config: TradingConfig) -> Tape:
    made, wanted = (
        (tape.features, tape.window, tape.normalise),
        (config.features, config.window, config.normalise_window),
    )
    if made != wanted:
        raise ConfigError(f"the tape was made for features, window, normalise_window {made}, the config wants {wanted}")
    return tape


@functools.lru_cache(maxsize=16)
def _from_ray(reference: Any) -> Any:
    import ray

    return ray.get(reference)
