"""Translate the `env_config` of an earlier env (the forerunner) to the names and units of TradingConfig."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple


class Key(NamedTuple):
    """A translated setting: current key ("" if none), converted value, and a message for the user."""

    name: str
    convert: Callable[[Any], Any] = lambda value: value
    remark: str = ""


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else percent / 100.0


_PERCENT = "was in percent"
_GONE = "no longer has an effect"

FORERUNNER_KEYS: dict[str, Key] = {
    "df": Key("market"),
    "initial_balance": Key("capital"),
    "transaction_fee_percent": Key("fee", _fraction, _PERCENT),
    "window_size": Key("window"),
    "normalization_window_size": Key("normalise_window"),
    "sharpe_window_size": Key("sharpe_window"),
    "use_sharpe_ratio": Key("reward", lambda wanted: "sharpe" if wanted else "simple"),
    "trading_frequency_penalty": Key("trade_penalty", remark="grew with each trade so far and was charged every step"),
    "stop_loss_pct": Key("stop_loss", _fraction, _PERCENT),
    "take_profit_pct": Key("take_profit", _fraction, _PERCENT),
    "position_sizing_method": Key("sizing"),
    "risk_fraction": Key("fraction"),
    "trading_incentive": Key("", remark=_GONE),
    "risk_free_rate": Key("", remark=_GONE),
    "use_dynamic_sizing": Key("", remark=_GONE),
    "min_position_size_pct": Key("", remark=_GONE),
    "max_position_size_pct": Key("", remark=_GONE),
}


def modernised(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings under current keys. Raises ValueError if an old key and its new one are both given."""
    modern = {key: value for key, value in values.items() if key not in FORERUNNER_KEYS}
    for old in values.keys() & FORERUNNER_KEYS.keys():
        key = FORERUNNER_KEYS[old]
        if key.name in modern:
            raise ValueError(f"env_config has both {old!r} and {key.name!r}; keep {key.name!r}")
        value = key.convert(values[old])
        if key.name:
            modern[key.name] = value
        if key.remark and values[old]:
            became = f"; it is now {key.name}={value:g}, {_MEANING[key.name]}" if key.name else ""
            warnings.warn(f"env_config {old}={values[old]!r}: {old} {key.remark}{became}", UserWarning, stacklevel=5)
    return modern


_MEANING = {
    "fee": "a fraction of the traded value",
    "stop_loss": "a fraction of the entry price",
    "take_profit": "a fraction of the entry price",
    "trade_penalty": "charged in each step that trades",
}
