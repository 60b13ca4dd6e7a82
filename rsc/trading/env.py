"""TradingEnv: one account that trades one asset. It exposes the details of each step, and writes no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log
from struct import Struct
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from journal.format.header import About
from journal.format.schema import Trade
from rsc.trading.config import TradingConfig
from rsc.trading.game import Game, exposure_of
from rsc.trading.indicators import CLIP
from rsc.trading.ledger import Ledger, exit_price
from rsc.trading.market import Market
from rsc.trading.rewards import LOG_FLOOR, Reward, StepOutcome
from rsc.trading.tape import ACCOUNT_COLUMNS

Observation = NDArray[np.float32]

# By discrete action: flat, long, short. The Nones refuse actions from 3 up, and negative ones, which index from the end.
_SIDES = (0, 1, -1, *[None] * 61)
_OVER = -1  # a step before the next reset is refused
_NO_TRADES: tuple[Trade, ...] = ()
_CLIP_SQUARED = CLIP * CLIP
_write_account: Callable[..., None] = Struct(f"{ACCOUNT_COLUMNS}f").pack_into


class TradingEnv(gym.Env[Observation, Any]):
    """One asset, one account.

    ## Description
    Each step is one bar. The action is chosen at the close of bar t and fills on bar t + 1, at its open or at its close. So
    it never trades at a price that the observation contained. Between open and close, the bar's high or low may reach the
    stop loss or the take profit. The account is valued at the close.

    ## Action Space
    Discrete(3): flat, long, short; a position is sized when it is opened, and then held. Or Box(-1, 1, (1,)): target
    exposure, in full positions, traded when it differs from the held one by more than the rebalance band.

    ## Observation Space
    Box(-5, 5), float32, shape (window * features + 4,): the last bars' features, oldest first, each a z-score over
    past bars; then the account: position value / equity, unrealized pnl / equity, total return, drawdown.

    ## Starting State
    A random bar (or the first) that has all features and, if the data allows, a whole episode after it; all cash.

    ## Rewards
    Log return, simple return or rolling Sharpe ratio of the portfolio value, or the user's function, less penalties:
    see docs/environment.md.

    ## Episode End
    Terminated when equity at a close is zero or less: bankrupt. Truncated at the episode's length or the end of data. An
    open position is not closed then; its value is in the unrealized pnl.

    ## Information
    Empty. After a step, `journal_row`, `journal_trades` and `journal_extra` have the details.

    ## Arguments
    ``config``: a TradingConfig or a mapping with its keys (RLlib's env_config); ``market``: bars instead of the
    configured ticker or file. Raises ConfigError and rsc.market.MarketError, each with one line that says what to do.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self,
        config: Mapping[str, Any] | TradingConfig | None = None,
        *,
        market: Market | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.config = config = TradingConfig.of(config)
        self.render_mode = render_mode
        self.spec = EnvSpec(
            "TradingEnv-v0",
            entry_point=type(self),  # type: ignore[arg-type]  # it means a call with keyword arguments
            kwargs={"config": config, "market": market},
        )
        self._game = game = Game(config, market)
        self.market = game.market
        self.observation_space = game.observation_space()
        self.action_space = game.action_space()
        self._discrete = config.actions == "discrete"
        self._at_open = config.fill == "open"
        self._has_stops = config.stop_loss is not None or config.take_profit is not None
        self._plain_log = config.reward == "log" and not config.trade_penalty and not config.drawdown_penalty
        self._special = game.terms.interest > 0.0 or game.terms.margin is not None
        self._plain_extra = not (self._special or game.terms.costs_more_than_fees)
        self._per_capital = 1.0 / config.capital
        self._account_offset = game.tape.width * np.dtype(np.float32).itemsize
        self._bars, self._rows = game.tape.bars, game.tape.rows
        self._seed = config.seed
        self._t = self._start = 0
        self._end = _OVER

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Fixes the random start of this and the following episodes. None: the config's seed at the first reset,
                later no new seed.
            options: Ignored.

        Returns:
            The observation and an empty info.
        """
        super().reset(seed=self._seed if seed is None else seed)
        self._seed = None
        config = self.config
        t, self._end = self._game.draw_episode(self.np_random)
        self._t = self._start = t
        self._ledger = Ledger(config.capital, self._game.terms)
        self._order: Callable[..., tuple[Trade, ...]] = self._ledger.turn if self._discrete else self._ledger.aim
        self._value = self._peak = capital = float(config.capital)
        self._reward = Reward(config.reward, config.sharpe_window, config.trade_penalty, config.drawdown_penalty)
        self.journal_row = (capital, self._bars[t][3], capital, 0.0, 0.0, 0.0, self._bars[t][4])
        self.journal_trades: Sequence[Trade] = _NO_TRADES
        observation = self._rows[t].copy()
        _write_account(observation, self._account_offset, 0.0, 0.0, 0.0, 0.0)
        return observation, {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one bar. Inlined: a function call is measurable here."""
        t = self._t + 1
        if t > self._end:
            raise ResetNeeded("the episode is over, or none has begun: call reset() first")
        try:
            target = _SIDES[action] if self._discrete else exposure_of(action)
        except (IndexError, TypeError):
            target = None
        if target is None:  # before any change, so that a refused action consumes no bar
            raise ValueError(f"expected an action of {self._game.actions_in_words()}, got {action!r}")
        self._t = t
        opened, high, low, close, time_us, carry, night = self._bars[t]
        ledger = self._ledger
        ledger.fees = ledger.spent = ledger.owed = 0.0
        side = ledger.side
        trades = _NO_TRADES
        wants = target != side or not self._discrete
        if self._special:
            trades = self._accrue(t)
            if trades:
                side = 0
                wants = False
        elif side < 0:
            owed = ledger.borrow * (ledger.size * night)
            ledger.cash -= owed
            ledger.owed = owed

        if wants and self._at_open:
            trades = self._order(target, opened, t - self._start, time_us, carry)
            side = ledger.side
        if side and self._has_stops:
            stop, take = ledger.stop, ledger.take
            if (low <= stop or high >= take) if side > 0 else (high >= stop or low <= take):
                trades += ledger.close(exit_price(side, stop, take, opened, high, low), carry)
                side = 0
                wants = False  # a position that a stop closed is not reopened in the same bar
        if wants and not self._at_open:
            trades = self._order(target, close, t - self._start, time_us, carry)
            side = ledger.side

        if side:
            size = ledger.size
            worth = size * close
            if side > 0:
                position = size
                unrealized = worth - ledger.entry_value - ledger.costs
            else:
                owed = ledger.borrow * (size * carry - ledger.carries)
                unrealized = ledger.entry_value - worth - ledger.costs - owed
                position = -size
                worth = -worth
            cash = ledger.cash
            value = cash + worth
        else:
            position = worth = unrealized = 0.0
            value = cash = ledger.cash

        before, self._value = self._value, value
        fees = ledger.fees
        peak = self._peak
        if value > peak:
            self._peak = peak = value
        drawdown = 1.0 - value / peak
        if self._plain_log:
            ratio = value / before
            reward = log(ratio if ratio > LOG_FLOOR else LOG_FLOOR)
        else:
            traded = position != self.journal_row[3] or trades != _NO_TRADES
            reward = self._reward(StepOutcome(before, value, worth, drawdown, fees, traded))
        self.journal_row = (value, close, cash, position, fees, unrealized, time_us)
        self.journal_trades = trades

        observation = self._rows[t].copy()
        if value <= 0.0:
            self._end = _OVER
            _write_account(observation, self._account_offset, *_ruined(value * self._per_capital - 1.0, drawdown))
            return observation, reward, True, False, {}
        # Only these can leave the observation space while equity is positive.
        exposure = worth / value
        if exposure * exposure > _CLIP_SQUARED:
            exposure = CLIP if exposure > 0.0 else -CLIP
        latent = unrealized / value
        if latent * latent > _CLIP_SQUARED:
            latent = CLIP if latent > 0.0 else -CLIP
        gain = value * self._per_capital - 1.0
        if gain > CLIP:
            gain = CLIP
        _write_account(observation, self._account_offset, exposure, latent, gain, drawdown)
        return observation, reward, False, t == self._end, {}

    def _accrue(self, t: int) -> tuple[Trade, ...]:
        """Start bar ``t``: add interest on cash and borrow cost. Return the trades of a liquidation, if there is one."""
        ledger, close = self._ledger, self.journal_row[1]
        called = ledger.short_of_margin(self._value, ledger.size * close)
        opened, _, _, _, _, carry, night = self._bars[t]
        ledger.interest = ledger.accrue(self._game.tape.days[t].item(), night)
        ledger.liquidated = called
        return ledger.close(opened, carry) if called else _NO_TRADES

    @property
    def journal_extra(self) -> Sequence[float]:
        """Return the columns of `Game.journal_columns` after a step."""
        ledger, bar = self._ledger, self._bars[self._t]
        fill = bar[0] if self._at_open else bar[3]
        exit_costs = ledger.exit_costs(bar[3]) if ledger.side else 0.0
        if self._plain_extra:
            return fill, exit_costs
        terms = self._game.terms
        extra = [bar[0] if ledger.liquidated else fill, exit_costs]
        if terms.costs_more_than_fees:
            extra.append(ledger.spent + ledger.owed)
        if terms.interest:
            extra.append(ledger.interest)
        if terms.margin is not None:
            extra.append(float(ledger.liquidated))
        return extra

    def journal_about(self) -> About:
        """Return the journal's header for this episode."""
        return self._game.about(type(self).__name__, self._start)

    def render(self) -> str | None:  # type: ignore[override]
        """Return one line of text: bar, price, account."""
        if self.render_mode != "ansi":
            return None
        value, price, cash, position, _, unrealized, time_us = self.journal_row
        bar = np.datetime64(time_us, "us").astype("datetime64[m]")
        return (
            f"{self.market.name} {bar}  step {self._t - self._start}  price {price:.2f}  position {position:+.4f}"
            f"  cash {cash:.2f}  value {value:.2f}  unrealized {unrealized:+.2f}"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the lists of bars and rows, which the tape rebuilds."""
        return {**self.__dict__, "_bars": None, "_rows": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bars, self._rows = self._game.tape.bars, self._game.tape.rows


def _ruined(gain: float, drawdown: float) -> tuple[float, float, float, float]:
    """Return the account's observation columns after bankruptcy, where ratios to equity are undefined."""
    return 0.0, 0.0, max(gain, -CLIP), min(drawdown, CLIP)
