"""The settings of TradingEnv: typed, validated, each with its unit."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from rsc.indicators import FEATURES

Reward = Callable[[float, float], float]


class ConfigError(ValueError):
    """A setting that TradingEnv cannot work with."""


@dataclass(frozen=True)
class TradingConfig:
    """Settings of TradingEnv.

    Market: ``ticker`` or ``data`` (a file), ``periods_per_year`` (asked for intraday bars).
    Trading: ``actions`` "discrete" (flat, long, short) or "continuous" (target exposure in [-1, 1]); ``sizing``
    "fixed_fractional" (``fraction`` of equity) or "all_in"; ``fill`` "open" or "close" of the bar after the
    observation; ``fee`` a fraction of the traded value on each leg; ``slippage_bps`` basis points against the trader;
    ``borrow_rate`` a year, on the value of shorts; ``stop_loss`` and ``take_profit`` fractions of the entry price;
    ``rebalance_band``: the change of exposure that a continuous action must ask for to be traded.
    Episode: ``episode_length`` steps (None: to the end of data), ``random_start``.
    Observation: ``window`` bars of ``features``.
    Reward: "log", "simple", "sharpe" (over the last ``sharpe_window`` returns), or a function of (value before,
    value after); less ``trade_penalty`` when a trade happens, and ``drawdown_penalty`` times the drawdown.
    """

    ticker: str | None = None
    data: str | None = None
    periods_per_year: float | None = None
    capital: float = 10_000.0
    actions: str = "discrete"
    sizing: str = "fixed_fractional"
    fraction: float = 0.95
    whole_shares: bool = False
    fill: str = "open"
    fee: float = 0.001
    slippage_bps: float = 0.0
    borrow_rate: float = 0.0
    stop_loss: float | None = None
    take_profit: float | None = None
    rebalance_band: float = 0.05
    episode_length: int | None = 250
    random_start: bool = True
    window: int = 10
    features: tuple[str, ...] = FEATURES
    reward: str | Reward = "log"
    sharpe_window: int = 20
    trade_penalty: float = 0.0
    drawdown_penalty: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise ConfigError(problem)

    @staticmethod
    def of(settings: Mapping[str, Any] | TradingConfig | None) -> TradingConfig:
        """From an env_config mapping; unknown keys are an error that names the nearest known one.

        Keys of the forerunner are taken, with a warning where their unit was another.
        """
        if isinstance(settings, TradingConfig):
            return settings
        values = _modernised(dict(settings or {}))
        unknown = [key for key in values if key not in _KNOWN]
        if unknown:
            near = difflib.get_close_matches(unknown[0], [*_KNOWN, *_FORERUNNER], n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_KNOWN)}"
            raise ConfigError(f"env_config has no key {unknown[0]!r}{hint}")
        if "features" in values:
            values["features"] = tuple(values["features"])
        if not values.get("data") and not values.get("ticker"):
            values["ticker"] = "MSFT"
        return TradingConfig(**values)


_KNOWN = tuple(field.name for field in fields(TradingConfig))

# Old key: new key, factor from the old unit to the new one.
_FORERUNNER: dict[str, tuple[str, float | None]] = {
    "initial_balance": ("capital", None),
    "transaction_fee_percent": ("fee", 0.01),
    "stop_loss_pct": ("stop_loss", 0.01),
    "take_profit_pct": ("take_profit", 0.01),
    "window_size": ("window", None),
    "risk_fraction": ("fraction", None),
    "position_sizing_method": ("sizing", None),
    "trading_penalty": ("trade_penalty", None),
    "sharpe_window_size": ("sharpe_window", None),
}


def _modernised(values: dict[str, Any]) -> dict[str, Any]:
    for old, (new, factor) in _FORERUNNER.items():
        if old not in values:
            continue
        if new in values:
            raise ConfigError(f"env_config has both {old!r} and {new!r}; keep {new!r}")
        value = values.pop(old)
        if factor is not None and value is not None:
            warnings.warn(
                f"env_config {old}={value} is read as percent: {new}={value * factor:g}", UserWarning, stacklevel=4
            )
            value = value * factor
        values[new] = value
    return values


def _problems(c: TradingConfig) -> list[str]:
    """What is wrong, in words; nothing if all is well."""
    checks = {
        "give either ticker or data": bool(c.ticker) != bool(c.data),
        f"capital must be positive, got {c.capital}": c.capital > 0,
        f"actions must be 'discrete' or 'continuous', got {c.actions!r}": c.actions in ("discrete", "continuous"),
        f"sizing must be 'fixed_fractional' or 'all_in', got {c.sizing!r}": c.sizing in ("fixed_fractional", "all_in"),
        f"fraction must be above 0 and at most 1, got {c.fraction}": 0 < c.fraction <= 1,
        f"fill must be 'open' or 'close', got {c.fill!r}": c.fill in ("open", "close"),
        f"fee is a fraction of the traded value, below 0.5, got {c.fee}": 0 <= c.fee < 0.5,
        f"slippage_bps must be from 0 to 5000, got {c.slippage_bps}": 0 <= c.slippage_bps <= 5000,
        f"borrow_rate must not be negative, got {c.borrow_rate}": c.borrow_rate >= 0,
        f"stop_loss is a fraction between 0 and 1, got {c.stop_loss}": c.stop_loss is None or 0 < c.stop_loss < 1,
        f"take_profit is a positive fraction, got {c.take_profit}": c.take_profit is None or c.take_profit > 0,
        f"rebalance_band must be from 0 to 1, got {c.rebalance_band}": 0 <= c.rebalance_band <= 1,
        f"episode_length must be positive, got {c.episode_length}": c.episode_length is None or c.episode_length > 0,
        f"window must be positive, got {c.window}": c.window > 0,
        f"features must be among {', '.join(FEATURES)}, got {list(c.features)}": bool(c.features)
        and set(c.features) <= set(FEATURES),
        f"reward must be 'log', 'simple', 'sharpe' or a function, got {c.reward!r}": callable(c.reward)
        or c.reward in ("log", "simple", "sharpe"),
        f"sharpe_window must be at least 2, got {c.sharpe_window}": c.sharpe_window >= 2,
    }
    return [problem for problem, fine in checks.items() if not fine]
