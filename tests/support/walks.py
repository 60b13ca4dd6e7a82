"""An env like those of other projects: it reports its account in `info`, under its own names."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from rsc.recording.accounts import Account, since_last

ACCOUNT = Account(
    value="net_worth", position="units", price="close", costs=since_last("fees"), time="date", periods_per_year=252
)


class Walk(gym.Env[Any, Any]):
    """A random walk of prices. Actions are positions: flat, long, short. Episodes are 20 steps long."""

    observation_space = gym.spaces.Box(-1000, 1000, (2,), np.float32)
    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(self, length: int = 20, actions: str = "discrete", render_mode: str | None = None) -> None:
        box = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(3) if actions == "discrete" else box
        self.length = length
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.value, self.units, self.fees = 0, 1000.0, 0.0, 0.0
        self.prices = 100 + self.np_random.normal(0, 1, self.length + 1).cumsum()
        return self._given()

    def step(self, action: Any) -> Any:
        target = (0.0, 1.0, -1.0)[int(action)] if self.action_space.shape == () else float(action[0])
        self.t += 1
        gain = self.units * (self.prices[self.t] - self.prices[self.t - 1])
        paid = 0.1 * abs(target - self.units)
        self.value += gain - paid
        self.fees += paid
        self.units = target
        return *self._given()[:1], float(gain - paid), False, self.t == self.length, self._given()[1]

    def _given(self) -> tuple[Any, dict[str, Any]]:
        observation = np.array([self.prices[self.t] - 100, self.units], np.float32)
        info = {
            "net_worth": float(self.value), "units": self.units, "close": float(self.prices[self.t]), "fees": self.fees,
            "date": np.datetime64("2020-01-01") + self.t,
        }  # fmt: skip
        return observation, info


def register() -> str:
    """Register the env with gymnasium, and return its id."""
    if "Walk-v0" not in gym.registry:
        gym.register("Walk-v0", entry_point="tests.support.walks:Walk")
    return "Walk-v0"
