"""Settings of TradingEnv: typed and validated, each with its unit."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from rsc.trading.forerunner import FORERUNNER_KEYS, modernised
from rsc.trading.ledger import Terms
from rsc.trading.rewards import RewardFunction

_DAYS_A_YEAR = 365.0  # for interest: the day count convention ACT/365
DEFAULT_TICKER = "MSFT"
DEFAULT_FEATURES = ("return", "rsi", "macd", "bollinger", "volatility", "adx", "aroon", "atr", "volume")


class ConfigError(ValueError):
    """A setting of TradingEnv is invalid."""


@dataclass(frozen=True)
class TradingConfig:
    """Settings of TradingEnv; docs/environment.md has the table.

    Market: ``ticker``, ``data`` (a file) or ``market`` (a Market, a Tape, a data frame, or a Ray reference to one);
    ``symbol``, the asset to read where a file or a frame holds several; ``periods_per_year`` (by default estimated);
    ``start_date`` and ``end_date`` (ISO), the first and last day that episodes may touch.
    Trading: ``actions`` "discrete" (flat, long, short) or "continuous" (target exposure in [-1, 1]); ``sizing``
    "fixed_fractional" (``fraction`` of equity) or "all_in"; ``whole_shares``; ``fill`` "open" or "close" of the bar after
    the observation; ``fee`` a fraction of the traded value on each fill, plus ``fee_per_share``, at least
    ``fee_minimum``; ``slippage_bps`` basis points against the trader; ``borrow_rate`` a year, on the value of shorts;
    ``cash_rate`` a year, earned on cash; ``stop_loss`` and ``take_profit`` fractions of the average entry price;
    ``maintenance_margin`` the least equity, a fraction of the position's value; ``rebalance_band``: a continuous action
    is traded if it changes the position by more than this fraction of equity.
    Episode: ``episode_length`` steps (None: to the end of data), ``random_start``, ``seed`` of the first reset.
    Observation: ``window`` bars of ``features``, each normalised over its last ``normalise_window`` bars.
    Reward: "log", "simple", "sharpe" (over the last ``sharpe_window`` returns), or a function of a StepOutcome;
    less ``trade_penalty`` in a step that trades, and ``drawdown_penalty`` times the drawdown.
    """

    ticker: str | None = None
    data: str | None = None
    market: Any = field(default=None, repr=False, compare=False)
    symbol: str | None = None
    periods_per_year: float | None = None
    start_date: str | None = None
    end_date: str | None = None
    capital: float = 10_000.0
    actions: str = "discrete"
    sizing: str = "fixed_fractional"
    fraction: float = 0.95
    whole_shares: bool = False
    fill: str = "open"
    fee: float = 0.001
    fee_per_share: float = 0.0
    fee_minimum: float = 0.0
    slippage_bps: float = 0.0
    borrow_rate: float = 0.0
    cash_rate: float = 0.0
    maintenance_margin: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    rebalance_band: float = 0.05
    episode_length: int | None = 250
    random_start: bool = True
    window: int = 10
    features: tuple[str, ...] = DEFAULT_FEATURES
    normalise_window: int = 252
    reward: str | RewardFunction = "log"
    sharpe_window: int = 20
    trade_penalty: float = 0.0
    drawdown_penalty: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.ticker is None and self.data is None and self.market is None:
            object.__setattr__(self, "ticker", DEFAULT_TICKER)
        features: Any = self.features
        if isinstance(features, str) or not isinstance(features, Iterable):
            raise ConfigError(f"features must be a list of columns, got {features!r}")
        object.__setattr__(self, "features", tuple(self.features))
        problem = _problem(self)
        if problem:
            raise ConfigError(problem)

    @staticmethod
    def of(settings: Mapping[str, Any] | TradingConfig | None) -> TradingConfig:
        """Return the config of an env_config mapping. An unknown key is an error that names the nearest known one.

        Keys of the forerunner are accepted, with a warning where their unit differed.
        """
        if isinstance(settings, TradingConfig):
            return settings
        try:
            values = modernised(dict(settings or {}))
        except ValueError as error:
            raise ConfigError(str(error)) from None
        unknown = [key for key in values if key not in _KNOWN]
        if unknown:
            near = difflib.get_close_matches(str(unknown[0]), [*_KNOWN, *FORERUNNER_KEYS], n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_KNOWN)}"
            raise ConfigError(f"env_config has no key {unknown[0]!r}{hint}")
        return TradingConfig(**values)

    def terms(self) -> Terms:
        """Return the trading terms. A full position leaves enough equity to pay its own costs."""
        slippage = self.slippage_bps / 10_000.0
        affordable = 1.0 / (1.0 + self.fee + slippage)
        return Terms(
            fee=self.fee,
            slippage=slippage,
            borrow=self.borrow_rate / _DAYS_A_YEAR,
            size=affordable if self.sizing == "all_in" else min(self.fraction, affordable),
            whole_shares=self.whole_shares,
            band=self.rebalance_band,
            stop_loss=self.stop_loss,
            take_profit=self.take_profit,
            fee_per_share=self.fee_per_share,
            fee_minimum=self.fee_minimum,
            interest=self.cash_rate / _DAYS_A_YEAR,
            margin=self.maintenance_margin,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the settings for the journal's header, as JSON values; the market and a function by name."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values["features"] = list(self.features)
        values["market"] = None if self.market is None else getattr(self.market, "name", type(self.market).__name__)
        if callable(self.reward):
            values["reward"] = getattr(self.reward, "__qualname__", type(self.reward).__name__)
        return values


_KNOWN = tuple(each.name for each in dataclasses.fields(TradingConfig))
_CHOICES = {
    "actions": ("discrete", "continuous"),
    "sizing": ("fixed_fractional", "all_in"),
    "fill": ("open", "close"),
}
# Condition of a setting, and whether it holds.
_NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "capital": ("a positive amount", lambda x: x > 0),
    "periods_per_year": ("positive", lambda x: x > 0),
    "fraction": ("above 0 and at most 1", lambda x: 0 < x <= 1),
    "fee": ("a fraction of the traded value from 0 to below 0.5", lambda x: 0 <= x < 0.5),
    "slippage_bps": ("from 0 to 5000 basis points", lambda x: 0 <= x <= 5000),
    "fee_per_share": ("an amount of money that is not negative", lambda x: 0 <= x < float("inf")),
    "fee_minimum": ("an amount of money that is not negative", lambda x: 0 <= x < float("inf")),
    "borrow_rate": ("a yearly fraction from 0 to 10", lambda x: 0 <= x <= 10),
    "cash_rate": ("a yearly fraction from 0 to 10", lambda x: 0 <= x <= 10),
    "maintenance_margin": ("a fraction between 0 and 1 of the position's value", lambda x: 0 < x < 1),
    "stop_loss": ("a fraction between 0 and 1 of the entry price", lambda x: 0 < x < 1),
    "take_profit": ("a positive fraction of the entry price", lambda x: 0 < x < float("inf")),
    "rebalance_band": ("from 0 to 1", lambda x: 0 <= x <= 1),
    "trade_penalty": ("a finite number", lambda x: abs(x) < float("inf")),
    "drawdown_penalty": ("a finite number", lambda x: abs(x) < float("inf")),
}
_INTEGERS = {"episode_length": 1, "window": 1, "normalise_window": 2, "sharpe_window": 2}
_OPTIONAL = {"periods_per_year", "maintenance_margin", "stop_loss", "take_profit", "episode_length"}


def _problem(config: TradingConfig) -> str | None:
    """Return a message about the first invalid setting; None if all are valid."""
    given = [name for name in ("ticker", "data", "market") if getattr(config, name) is not None]
    if len(given) > 1:
        return f"give only one of ticker, data and market, got {' and '.join(given)}"
    for name, choices in _CHOICES.items():
        if getattr(config, name) not in choices:
            return f"{name} must be {' or '.join(map(repr, choices))}, got {getattr(config, name)!r}"
    if not callable(config.reward) and config.reward not in ("log", "simple", "sharpe"):
        return f"reward must be 'log', 'simple', 'sharpe' or a function, got {config.reward!r}"
    seed: Any = config.seed
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral) or int(seed) < 0):
        return f"seed must be a whole number that is not negative, got {config.seed!r}"
    if not all(isinstance(name, str) for name in config.features):
        return f"features must be names of columns, got {list(config.features)}"
    if not config.features or len(set(config.features)) < len(config.features):
        return f"features must name at least one column, each once, got {list(config.features)}"
    return _number_problem(config)


def _number_problem(config: TradingConfig) -> str | None:
    for name in (*_NUMBERS, *_INTEGERS):
        value = getattr(config, name)
        if value is None and name in _OPTIONAL:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral if name in _INTEGERS else Real):
            return f"{name} must be {'a whole number' if name in _INTEGERS else 'a number'}, got {value!r}"
        if name in _INTEGERS and value < _INTEGERS[name]:
            return f"{name} must be at least {_INTEGERS[name]}, got {value}"
        if name in _NUMBERS and not _NUMBERS[name][1](float(value)):
            return f"{name} must be {_NUMBERS[name][0]}, got {value}"
    return _never_trades(config)


def _never_trades(config: TradingConfig) -> str | None:
    """Return a message if no order can ever be executed, else None."""
    size, band = config.terms().size, config.rebalance_band
    if config.actions == "continuous" and size <= band:
        return (
            f"rebalance_band {band:g} skips every order: a full position is {size:.3g} of equity; "
            "the band must be smaller, or fraction larger"
        )
    if config.fee_minimum >= config.capital:
        return f"fee_minimum {config.fee_minimum:g} must be less than the capital, {config.capital:g}"
    return None
