"""TradingVectorEnv: many trading envs in one object, computed with arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from journal.format.header import About
from rsc.trading.config import ConfigError, TradingConfig
from rsc.trading.game import Game
from rsc.trading.indicators import CLIP
from rsc.trading.market import Market
from rsc.trading.tape import ACCOUNT_COLUMNS
from rsc.trading.vector_accounts import (
    CLOSE,
    OPEN,
    Accounts,
    Flags,
    Floats,
    Integers,
    LedgerAccounts,
    Trades,
    accounts_of,
)
from rsc.trading.vector_rewards import Rewards

Batch = NDArray[np.float32]


class TradingVectorEnv(gym.vector.VectorEnv[Batch, Any, NDArray[Any]]):
    """``num_envs`` trading envs with the results of as many `TradingEnv` in a `SyncVectorEnv`, bit for bit.

    For RLlib: ``config.environment(TradingVectorEnv, env_config={...})`` with
    ``gym_env_vectorize_mode="vector_entry_point"``, which adds ``num_envs`` to the config.

    An env whose episode ended is reset by the next step, which ignores its action and returns a reward of 0
    (gymnasium's autoreset NEXT_STEP). ``reset(seed=s)`` seeds env i with s + i. Discrete actions are computed by numpy for
    all envs at once. Continuous actions are computed account by account, since each account may hold any number of lots;
    so are accounts with fees per share, minimum fees, interest on cash or a maintenance margin.

    For a recorder, valid until the next call of ``step`` or ``reset``:

    - ``journal_played``: bool, shape (n,): True for envs that played a step (the step reset the others);
    - ``journal_figures()``: the figures of `rsc.recording.recorder.Journaled.journal_row`, an array of each;
    - ``journal_extras()``: the figures of `journal_extra`, an array of each;
    - ``journal_trades()``: by env, the trades that the step closed, for envs that closed any;
    - ``journal_about(i)``: the `Journaled.journal_about` of env i.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self,
        config: Mapping[str, Any] | TradingConfig | None = None,
        num_envs: int | None = None,
        *,
        market: Market | None = None,
    ) -> None:
        settings = config if isinstance(config, TradingConfig) else dict(config or {})
        if isinstance(settings, dict):
            num_envs = settings.pop("num_envs", 1) if num_envs is None else num_envs
        self.num_envs = n = 1 if num_envs is None else int(num_envs)
        if n < 1:
            raise ConfigError(f"num_envs must be at least 1, got {n}")
        self.config = TradingConfig.of(settings)
        self._game = game = Game(self.config, market)
        self.market = game.market
        self.single_observation_space = game.observation_space()
        self.single_action_space = game.action_space()
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self._accounts: Accounts = accounts_of(game, n)
        self._rewards = Rewards(self.config, n)
        self._width = game.tape.width
        self._per_capital = 1.0 / self.config.capital
        self._columns = np.empty((ACCOUNT_COLUMNS, n))
        self._randoms: dict[int, np.random.Generator] = {}
        self._t, self._starts, self._ends = (np.zeros(n, np.int64) for _ in range(3))
        self._bars = np.empty((self._accounts.bar_rows, n))
        self._value, self._peak = np.zeros(n), np.zeros(n)
        self._over: Flags = np.ones(n, np.bool_)
        self._idle: Flags | None = np.ones(n, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Batch, dict[str, Any]]:
        """Start an episode in each env, or in those that a mask selects.

        Args:
            seed: A seed s for seeds s + i, or one seed for each env. None: no new seeds.
            options: ``{"reset_mask": flags}`` with bool flags of shape (n,) resets only the envs that are True.

        Returns:
            Observations of all envs, and an empty info.
        """
        mask = (options or {}).get("reset_mask")
        lanes = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        self._seed(seed, lanes)
        self._begin(lanes)
        self._over[lanes] = False
        self._idle = np.ones(self.num_envs, np.bool_)
        observations = self._game.tape.windows[self._t]
        observations[:, self._width :] = 0.0
        return observations, {}

    def step(self, actions: Any) -> tuple[Batch, Floats, Flags, Flags, dict[str, Any]]:
        """Play one bar in each env, or reset it if its episode is over."""
        if len(self._randoms) < self.num_envs:
            raise ResetNeeded("no episode has begun in an env: call reset() first")
        accounts, t, bars = self._accounts, self._t, self._bars
        targets = accounts.targets(actions)
        lanes = self._reset_the_finished()
        idle = self._idle
        t += 1
        if idle is not None:
            t[lanes] = self._starts[lanes]
        self._game.tape.prices[: len(bars)].take(t, axis=1, out=bars, mode="clip")
        accounts.play(targets, idle, bars, t - self._starts)

        before, value = self._value, accounts.cash + accounts.worth
        self._value = value
        np.maximum(self._peak, value, out=self._peak)
        terminated = value <= 0.0
        truncated = t == self._ends
        drawdown = 1.0 - value / self._peak
        rewards = self._rewards(before, value, drawdown, accounts, idle)
        observations = self._observations(value, drawdown, terminated)
        if idle is not None:
            rewards[lanes] = 0.0
            observations[lanes, self._width :] = 0.0
        truncated &= ~terminated
        self._over = terminated | truncated
        return observations, rewards, terminated, truncated, {}

    def _observations(self, value: Floats, drawdown: Floats, ruined: Flags) -> Batch:
        """Return a new array, with the account's columns as in `TradingEnv.step`."""
        accounts, columns = self._accounts, self._columns
        exposure, latent, gain, _ = columns
        np.multiply(value, self._per_capital, out=gain)
        gain -= 1.0
        columns[3] = drawdown
        some_ruined = ruined.any()
        equity = np.where(ruined, 1.0, value) if some_ruined else value
        np.divide(accounts.worth, equity, out=exposure)
        np.divide(accounts.unrealized, equity, out=latent)
        np.maximum(columns[:3], -CLIP, out=columns[:3])
        np.minimum(columns[:3], CLIP, out=columns[:3])
        if some_ruined:  # see rsc.trading.env: ratios to zero equity are undefined
            columns[:2, ruined] = 0.0
            columns[3, ruined] = np.minimum(drawdown[ruined], CLIP)
        observations: Batch = self._game.tape.windows[self._t]
        observations[:, self._width :] = columns.T
        return observations

    def _reset_the_finished(self) -> Integers:
        """Reset the envs whose episode is over, and return their indices. ``_idle`` marks them (None if there are none)."""
        lanes = self._over.nonzero()[0]
        self._idle = self._over if len(lanes) else None
        if len(lanes):
            self._begin(lanes)
        return lanes

    def _begin(self, lanes: Integers) -> None:
        for lane in lanes.tolist():
            self._starts[lane], self._ends[lane] = self._game.draw_episode(self._randoms[lane])
        self._t[lanes] = self._starts[lanes]
        self._value[lanes] = self._peak[lanes] = self.config.capital
        self._accounts.reset(lanes)
        self._rewards.reset(lanes)

    def _seed(self, seed: int | Sequence[int | None] | None, lanes: Integers) -> None:
        """Seed only the envs that are reset."""
        if seed is None and not self._randoms:
            seed = self.config.seed
        n = self.num_envs
        seeds = list(seed) if isinstance(seed, Sequence) else [None if seed is None else seed + i for i in range(n)]
        if len(seeds) != n:
            raise ValueError(f"expected {n} seeds, got {len(seeds)}")
        for lane in lanes.tolist():
            if seeds[lane] is not None or lane not in self._randoms:
                self._randoms[lane] = seeding.np_random(seeds[lane])[0]

    @property
    def journal_played(self) -> Flags:
        """True for each env that played a step. The others were only reset."""
        return np.ones(self.num_envs, np.bool_) if self._idle is None else ~self._idle

    def journal_about(self, index: int) -> About:
        """Return the journal's header for this env's episode."""
        return self._game.about("TradingEnv", int(self._starts[index]))

    def journal_figures(self) -> tuple[NDArray[Any], ...]:
        """Return portfolio value, price, cash, position, fees, unrealized pnl, market time in us; each of shape (n,)."""
        accounts = self._accounts
        figures = (self._value, self._bars[CLOSE], accounts.cash, accounts.position, accounts.fees, accounts.unrealized)
        return (*figures, self.market.times_us[self._t])

    def journal_extras(self) -> list[NDArray[Any]]:
        """Return the columns of `Game.journal_columns`, each of shape (n,)."""
        accounts, terms = self._accounts, self._game.terms
        fill = self._bars[OPEN if self.config.fill == "open" else CLOSE]
        columns = [fill, accounts.exit_costs]
        if terms.costs_more_than_fees:
            columns.append(accounts.spent)
        if isinstance(accounts, LedgerAccounts):
            if terms.interest:
                columns.append(accounts.interest)
            if terms.margin is not None:
                columns[0] = np.where(accounts.liquidated, self._bars[OPEN], fill)
                columns.append(accounts.liquidated)
        return columns

    def journal_trades(self) -> Trades:
        """Return the trades that the last step closed, by env. Envs without any are left out."""
        return self._accounts.trades(self.market.times_us, self._starts)
