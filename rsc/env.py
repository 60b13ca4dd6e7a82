"""TradingEnv: the market game. It knows neither journal files nor database; it only tells what happened in each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from journal.header import About
from journal.schema import Trade
from rsc.env_config import ConfigError, TradingConfig
from rsc.indicators import feature_matrix, warmup_bars
from rsc.ledger import Ledger
from rsc.market import Market, load_market

_DIRECTION = (0.0, 1.0, -1.0)  # of the discrete actions: flat, long, short
_NO_TRADES: tuple[Trade, ...] = ()


class TradingEnv(gym.Env[NDArray[np.float32], Any]):
    """One asset, one account.

    ## Description
    Each step is one bar. The action, taken at the close of bar t, fills on bar t + 1, so it never trades at a price that
    the observation contained.

    ## Action Space
    Discrete(3): flat, long, short; a position is sized when it is opened and then held. Or Box(-1, 1, (1,)): target
    exposure as a fraction of equity, traded when it differs from the held one by more than the rebalance band.

    ## Observation Space
    Box, float32, shape (window * features + 2,): the last bars' features, oldest first, each a z-score over past bars;
    then exposure (position value / equity) and unrealized pnl / equity, both clipped to [-5, 5].

    ## Starting State
    A random bar (or the first) that has its features and, if the data allows, a whole episode behind it.

    ## Rewards
    Log return, simple return, or rolling Sharpe ratio of the portfolio value; less penalties. See TradingConfig.

    ## Episode End
    Terminated when equity is at or below zero (bankrupt). Truncated at the episode's length or the end of data. An open
    position is not closed then: its unrealized pnl says what it is worth.

    ## Information
    Empty. The recorder reads `journal_row` and `journal_trades`.

    ## Arguments
    ``config``: a TradingConfig or a mapping with its keys; ``market``: bars instead of the configured ticker or file.
    """

    metadata = {  # noqa: RUF012 - gymnasium's own declaration
        "render_modes": ["ansi"],
        "render_fps": 1,
    }

    def __init__(
        self,
        config: Mapping[str, Any] | TradingConfig | None = None,
        *,
        market: Market | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.config = config = TradingConfig.of(config)
        self.market = market or load_market(config.ticker, config.data, config.periods_per_year)
        self.render_mode = render_mode
        self._prepare_market()
        self._prepare_trading()
        width = config.window * len(config.features) + 2
        self.observation_space = gym.spaces.Box(-5.0, 5.0, (width,), np.float32)
        self.action_space = (
            gym.spaces.Discrete(3) if self._discrete else gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        )  # fmt: skip
        self._width = width
        self._started = False

    def _prepare_market(self) -> None:
        """Plain lists of floats: reading one number of a numpy array costs more than a step's arithmetic."""
        market, config = self.market, self.config
        self._features = feature_matrix(market, config.features).reshape(-1)
        self._columns = len(config.features)
        self._open, self._high, self._low, self._close = (
            _list_of(market, name) for name in ("open", "high", "low", "close")
        )
        self._times = _list_of(market, "times_us")
        self._first = max(warmup_bars(config.features), config.window) - 1
        if self._first + 2 > len(market):
            raise ConfigError(f"{market.name} has {len(market)} bars, a window of {config.window} needs more")

    def _prepare_trading(self) -> None:
        config = self.config
        self._discrete = config.actions == "discrete"
        self._at_open = config.fill == "open"
        self._fraction = 1.0 / (1.0 + config.fee) if config.sizing == "all_in" else config.fraction
        self._slippage = config.slippage_bps / 10_000.0
        self._stops = config.stop_loss is not None or config.take_profit is not None
        self._borrow = config.borrow_rate / self.market.periods_per_year
        self._plain_log = config.reward == "log" and not config.trade_penalty and not config.drawdown_penalty
        if config.whole_shares and config.capital * self._fraction < min(self._close):
            raise ConfigError(
                f"a capital of {config.capital:g} buys no whole share of {self.market.name}; raise it, or set"
                " whole_shares to false"
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; ``seed`` fixes its random start."""
        if seed is None and not self._started:
            seed = self.config.seed
        super().reset(seed=seed)
        self._started = True
        config = self.config
        wanted = config.episode_length or len(self._close)
        latest = max(self._first, len(self._close) - 1 - wanted)
        at = int(self.np_random.integers(self._first, latest + 1)) if config.random_start else self._first
        self._at = at
        self._end = min(at + wanted, len(self._close) - 1)
        self._step = 0
        self._ledger = Ledger(config.capital, config.fee)
        self._value = self._peak = config.capital
        self._signal = 0.0
        self._returns: list[float] = []
        self.journal_trades: Sequence[Trade] = _NO_TRADES
        self.journal_row = (config.capital, self._close[at], config.capital, 0.0, 0.0, 0.0, self._times[at])
        return self._observation(0.0, 0.0), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play one bar. The hot path: longer than the rest, since here a call is a cost."""
        at = self._at = self._at + 1
        self._step += 1
        ledger = self._ledger
        close = self._close[at]
        fees = 0.0
        trades: Sequence[Trade] = _NO_TRADES
        held = ledger.position
        if self._discrete:
            target = _DIRECTION[action]
            wants = target != self._signal or (held == 0.0) != (target == 0.0)
        else:
            target = float(action[0])
            wants = True
        if self._at_open:
            if wants:
                fees, trades = self._trade(target, self._open[at])
            if self._stops and ledger.position:
                fees, trades = self._check_stops(fees, trades)
        else:
            if self._stops and held:
                fees, trades = self._check_stops(fees, trades)
            if wants and (ledger.position or not held):  # what a stop closed is not opened again within its bar
                more_fees, more = self._trade(target, close)
                fees += more_fees
                trades = [*trades, *more] if more else trades
        position = ledger.position
        if position < 0.0 and self._borrow:
            ledger.charge_borrow(-position * close * self._borrow)
        exposure = position * close
        value = ledger.cash + exposure
        unrealized = exposure - ledger.basis if position else 0.0
        before, self._value = self._value, value
        self.journal_row = (value, close, ledger.cash, position, fees, unrealized, self._times[at])
        self.journal_trades = trades
        terminated = value <= 0.0
        if self._plain_log:
            reward = math.log(value / before) if value > 0.0 else -_RUIN
        else:
            reward = self._reward(before, value, fees > 0.0 or bool(trades))
        if terminated:
            return self._observation(0.0, 0.0), reward, True, False, {}
        first = (at - self.config.window + 1) * self._columns
        observation = np.empty(self._width, np.float32)
        observation[:-2] = self._features[first : (at + 1) * self._columns]
        observation[-2] = _clipped(exposure / value)
        observation[-1] = _clipped(unrealized / value)
        return observation, reward, False, at >= self._end, {}

    def _trade(self, target: float, price: float) -> tuple[float, list[Trade]]:
        """Bring the position to the target at this price, slippage against us; return fees and closed trades."""
        ledger = self._ledger
        equity = ledger.cash + ledger.position * price
        if self._discrete:
            if target == self._signal and ledger.position:
                return 0.0, []
            self._signal = target
            wanted = target * self._fraction * equity / price
        else:
            wanted = target * self._fraction * equity / price
            held = ledger.position * price / equity if equity > 0.0 else 0.0
            if abs(target * self._fraction - held) <= self.config.rebalance_band and (target or not ledger.position):
                return 0.0, []
        if equity <= 0.0:
            wanted = 0.0
        if self.config.whole_shares:
            wanted = float(math.trunc(wanted))
        quantity = wanted - ledger.position
        if quantity == 0.0:
            return 0.0, []
        fill = price * (1.0 + self._slippage) if quantity > 0.0 else price * (1.0 - self._slippage)
        return ledger.fill(quantity, fill, self._step, self._times[self._at])

    def _check_stops(self, fees: float, trades: Sequence[Trade]) -> tuple[float, Sequence[Trade]]:
        """Close at the stop, else at the take-profit, if the bar reached it; at the open where that gapped over it."""
        ledger, at = self._ledger, self._at
        position = ledger.position
        entry = sum(lot[0] * lot[1] for lot in ledger.lots) / position
        price = self._stop_price(entry, position > 0.0, self._open[at], self._high[at], self._low[at])
        if price is None:
            return fees, trades
        fill = price * (1.0 - self._slippage) if position > 0.0 else price * (1.0 + self._slippage)
        fee, closed = ledger.fill(-position, fill, self._step, self._times[at])
        self._signal = 0.0
        return fees + fee, [*trades, *closed]

    def _stop_price(self, entry: float, long: bool, opened: float, high: float, low: float) -> float | None:
        stop, profit = self.config.stop_loss, self.config.take_profit
        if long:
            if stop is not None and low <= entry * (1.0 - stop):
                return min(opened, entry * (1.0 - stop))
            if profit is not None and high >= entry * (1.0 + profit):
                return max(opened, entry * (1.0 + profit))
        else:
            if stop is not None and high >= entry * (1.0 + stop):
                return max(opened, entry * (1.0 + stop))
            if profit is not None and low <= entry * (1.0 - profit):
                return min(opened, entry * (1.0 - profit))
        return None

    def _reward(self, before: float, value: float, traded: bool) -> float:
        config = self.config
        if callable(config.reward):
            reward = float(config.reward(before, value))
        elif config.reward == "log":
            reward = math.log(value / before) if value > 0.0 else -_RUIN
        else:
            reward = value / before - 1.0
        if config.reward == "sharpe":
            reward = self._rolling_sharpe(reward)
        self._peak = max(self._peak, value)
        if traded:
            reward -= config.trade_penalty
        return reward - config.drawdown_penalty * (1.0 - value / self._peak)

    def _rolling_sharpe(self, latest: float) -> float:
        """Mean / std (ddof 1) of the last ``sharpe_window`` returns, not annualised; 0 while undefined."""
        recent = self._returns
        recent.append(latest)
        del recent[: -self.config.sharpe_window]
        if len(recent) < 2:
            return 0.0
        std = float(np.std(recent, ddof=1))
        return float(np.mean(recent)) / std if std > 1e-12 else 0.0

    def _observation(self, exposure: float, unrealized: float) -> NDArray[np.float32]:
        first = (self._at - self.config.window + 1) * self._columns
        observation = np.empty(self._width, np.float32)
        observation[:-2] = self._features[first : (self._at + 1) * self._columns]
        observation[-2:] = (_clipped(exposure), _clipped(unrealized))
        return observation

    def journal_about(self) -> About:
        """What a journal needs to know of this episode."""
        settings = asdict(self.config)
        settings["reward"] = self.config.reward if isinstance(self.config.reward, str) else repr(self.config.reward)
        return About(
            env=type(self).__name__,
            initial_portfolio_value=self.config.capital,
            periods_per_year=self.market.periods_per_year,
            env_config={**settings, "market": self.market.name},
            start_market_time_us=self._times[self._at],
        )

    def render(self) -> str | None:  # type: ignore[override]
        """One line of text: the bar, the price, the account."""
        if self.render_mode != "ansi":
            return None
        value, price, cash, position, _, unrealized, time_us = self.journal_row
        day = np.datetime64(time_us, "us").astype("datetime64[m]")
        return (
            f"{self.market.name} {day}  step {self._step}  price {price:.2f}  position {position:+.4f}"
            f"  cash {cash:.2f}  value {value:.2f}  unrealized {unrealized:+.2f}"
        )


_RUIN = 20.0  # the reward of going bankrupt, whose logarithm has no value: a loss of all but 2e-9 of the equity


def _clipped(value: float) -> float:
    return -5.0 if value < -5.0 else 5.0 if value > 5.0 else value


_lists: dict[tuple[int, str], tuple[Market, list[Any]]] = {}


def _list_of(market: Market, name: str) -> list[Any]:
    """A column as a list, one for all envs of the process on this market."""
    kept = _lists.get((id(market), name))
    if kept is None or kept[0] is not market:
        kept = _lists[(id(market), name)] = (market, getattr(market, name).tolist())
    return kept[1]
