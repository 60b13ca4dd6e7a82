"""Accounts of environments from public packages, which `attach` and `record` recognise.

Tests compare each with the env's own report at an episode's end (tests/rsc/test_known.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from rsc.recording.accounts import Account, before, since_last

NAN = float("nan")
Info = Mapping[str, Any]
Of = Callable[[Any], Account]


def account_of(env: gym.Env[Any, Any]) -> Account | None:
    """Return the account of a known env, through any wrappers; None if the env is not known."""
    bare = env.unwrapped
    for cls in type(bare).__mro__:
        of = KNOWN.get((cls.__module__.partition(".")[0], cls.__name__))
        if of is not None:
            return of(bare)
    return None


# Names of the account's value in known envs, for the example in an error message.
_LIKELY = ("portfolio_value", "net_worth", "account_value", "total_value", "total_asset", "equity", "nav", "balance")


def likely_value(info: Info) -> str:
    """Return the key of an info that is most likely the account's value."""
    found = [key for name in _LIKELY for key in info if isinstance(key, str) and name in key.lower()]
    return found[0] if found else "a key of info"


def _anytrading_stocks(env: Any) -> Account:
    """Return the account of gym-anytrading's StocksEnv: "Long" holds shares, "Short" holds cash.

    The env realises its profit when it sells, and at the last step. In between, this value assumes a sale now, so that
    both agree at each sale.
    """
    bid, ask = env.trade_fee_bid_percent, env.trade_fee_ask_percent

    def shares(env: Any, info: Info) -> float:
        if env._position.name == "Short" or env._truncated:
            return 0.0
        return float(env._total_profit * (1 - ask) / env.prices[env._last_trade_tick])

    def value(env: Any, info: Info) -> float:
        held = shares(env, info)
        return float(held * (1 - bid) * env.prices[env._current_tick]) if held else float(env._total_profit)

    def cash(env: Any, info: Info) -> float:
        return 0.0 if shares(env, info) else float(env._total_profit)

    def costs(env: Any, info: Info) -> float:
        before, now = _last_two_positions(env)
        sold = before == "Long" and (now == "Short" or env._truncated)
        bought = before == "Short" and now == "Long" and not env._truncated
        # After a sale, profit = shares * price * (1 - bid). A purchase deducts ask from the profit.
        return float(env._total_profit * (bid / (1 - bid) * sold + ask * bought))

    return Account(value=value, capital=1.0, position=shares, price=_anytrading_price, cash=cash, costs=costs)


def _anytrading_forex(env: Any) -> Account:
    """Return the account of gym-anytrading's ForexEnv, in `unit_side`: a position holds the other currency, or nothing."""
    left, fee = env.unit_side == "left", env.trade_fee
    holding = "Short" if left else "Long"

    def rate(price: float) -> float:
        """Return the price of the other currency in the account's currency."""
        return 1 / price if left else price

    def price(env: Any, info: Info) -> float:
        return rate(float(env.prices[env._current_tick]))

    def entered(env: Any) -> float:
        return float(env.prices[env._last_trade_tick])

    def units(env: Any, info: Info) -> float:
        if env._position.name != holding or env._truncated:
            return 0.0
        bought = entered(env)
        return float(env._total_profit * (bought - fee) if left else env._total_profit / bought)

    def value(env: Any, info: Info) -> float:
        held, now = units(env, info), float(env.prices[env._current_tick])
        if not held:
            return float(env._total_profit)
        return held / now if left else held * (now - fee)

    def fill_price(env: Any, info: Info) -> float:
        return price(env, info) if env._truncated else rate(entered(env))

    def costs(env: Any, info: Info) -> float:
        before, now = _last_two_positions(env)
        profit, at = float(env._total_profit), float(env.prices[env._current_tick])
        if left:  # the env deducts the fee when the position is opened
            opened = now == holding and before != holding and not env._truncated
            return profit * fee / entered(env) if opened else 0.0
        closed = before == holding and (now != holding or env._truncated)
        return profit * fee / (at - fee) if closed else 0.0

    return Account(
        value=value, capital=1.0, position=units, price=price, fill_price=fill_price, costs=costs
    )  # fmt: skip


def _anytrading_price(env: Any, info: Info) -> float:
    return float(env.prices[env._current_tick])


def _last_two_positions(env: Any) -> tuple[str, str]:
    """Return the positions before and after the step. The first entries of an episode may be equal, or placeholders."""
    before, now = env._position_history[-2:]
    return before.name if before is not None else "", now.name


def _gym_trading_env(env: Any) -> Account:
    """Return the account of gym-trading-env's envs. Their "position" is a weight; units are in their portfolio.

    An order fills at the close of the previous bar. With limit orders, which the env does not report, fill prices are
    unknown.
    """

    def previous(env: Any) -> float:
        return float(env._price_array[env._idx - 1] if env._step else env._price_array[env._idx])

    def fill_price(env: Any, info: Info) -> float:
        return NAN if env._limit_orders else previous(env)

    def costs(env: Any, info: Info) -> float:
        """Return the position's gain minus the value's gain: fees, and interest as the env books it."""
        if not env._step or env._limit_orders or not (env.trading_fees or env.borrow_interest_rate):
            return NAN if env._limit_orders else 0.0
        values = env.historical_info["portfolio_valuation", slice(-2, None)]
        gained = env._portfolio.asset * (float(env._price_array[env._idx]) - previous(env))
        lost = gained - (float(values[1]) - float(values[0]))
        return float(lost) if abs(lost) > 1e-12 * abs(float(values[0])) else 0.0

    return Account(
        value="portfolio_valuation", capital=".portfolio_initial_value", position="._portfolio.asset",
        weight="real_position", price="data_close", fill_price=fill_price, cash="._portfolio.fiat", costs=costs, time="date",
    )  # fmt: skip


def _finrl(env: Any) -> Account:
    """Return the account of FinRL's StockTradingEnv, whose state has cash, prices and shares.

    An order fills at the price of the previous day. With several stocks, trades are unknown.
    """
    count = env.stock_dim
    tickers = [str(ticker) for ticker in env.df.tic.unique()]

    def value(env: Any, info: Info) -> float:
        prices, shares = env.state[1 : count + 1], env.state[count + 1 : 2 * count + 1]
        return float(env.state[0] + sum(price * held for price, held in zip(prices, shares, strict=True)))

    shared: dict[str, Any] = {
        "value": value,
        "cash": ".state.0",
        "costs": since_last(".cost"),
        "time": lambda env, info: env._get_date(),
    }
    if count == 1:
        return Account(
            **shared, position=".state.2", price=".state.1", fill_price=before(".state.1"), periods_per_year=252
        )
    extra = {f"price_{ticker}": f".state.{1 + place}" for place, ticker in enumerate(tickers)}
    extra |= {f"shares_{ticker}": f".state.{1 + count + place}" for place, ticker in enumerate(tickers)}
    return Account(**shared, extra=extra, periods_per_year=252)


def _torchtrade(env: Any) -> Account:
    """Return the account of TorchTrade's offline envs of one asset.

    An order fills at the close of the previous bar; slippage is a cost. The env does not tell its fees, so the pnl of
    trades is before fees and slippage.
    """

    def value(env: Any, info: Info) -> float:
        return float(env._get_portfolio_value())

    def price(env: Any, info: Info) -> float:
        return float(env._cached_base_features["close"])

    return Account(
        value=value, position=".position.position_size", price=price, fill_price=before(price),
        cash=".balance" if env.leverage == 1 else None, time=".current_timestamp",
    )  # fmt: skip


KNOWN: dict[tuple[str, str], Of] = {
    ("gym_anytrading", "StocksEnv"): _anytrading_stocks,
    ("gym_anytrading", "ForexEnv"): _anytrading_forex,
    ("gym_trading_env", "TradingEnv"): _gym_trading_env,
    ("finrl", "StockTradingEnv"): _finrl,
    ("torchtrade", "SequentialTradingEnv"): _torchtrade,
}
