"""What an account costs in each step: the same env recorded by itself, and through an account of four info keys.

    python benchmarks/accounts.py

Both recorders write as many rows and trades (one in eight steps) into journals. What differs is who tells the account: the
env (as TradingEnv does), or `rsc.Account` from ``info``, which also derives the trades. Medians over interleaved rounds, in
microseconds of CPU time a step; the account's cost is the median of the differences within a round. Machines are noisy: read
it beside the floor, which is `struct.pack`, CRC and one `os.write`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from crc32c import crc32c

from journal import About, Trade
from rsc.recording.accounts import Account, since_last
from rsc.recording.episode import JournalSettings
from rsc.recording.reading import AccountReader
from rsc.recording.recorder import Recorder

STEPS, ROUNDS = 5_000, 15
TRADE = [Trade(1, 1.0, 4, 0, 25.0, 25.0, 0.0, 0.0)]
FOUR_KEYS = Account(value="value", position="units", price="price", cash="cash")
ALL = Account(
    value="value", position="units", price="price", cash="cash", costs=since_last("fees"), time="time", weight=".weight",
    extra={"more": lambda env, info: env.weight},
)  # fmt: skip


class Told(gym.Env[Any, Any]):
    """Gives the same info in each step, and holds each position for four steps. Tells its account itself, too."""

    action_space = observation_space = gym.spaces.Discrete(2)
    weight = 0.5
    journal_trades: Any = ()

    def __init__(self, number: Any) -> None:
        self._infos = [
            {
                "value": number(1000.0), "units": number(step // 4), "price": number(25.0), "cash": number(900.0),
                "fees": float(step), "time": np.datetime64("2020-01-01") + step,
            }
            for step in range(8)
        ]  # fmt: skip
        self.journal_row = (1000.0, 25.0, 900.0, 1.0, 0.0, 0.0, 0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._step = 0
        return 0, self._infos[0]

    def step(self, action: Any) -> Any:
        self._step += 1
        self.journal_trades = () if self._step % 8 else TRADE
        return 0, 0.5, False, False, self._infos[self._step % 8]

    def journal_about(self) -> About:
        return About("Told", 1000.0, 252.0)


def played(env: Any) -> float:
    """Microseconds a step."""
    env.reset()
    step = env.step
    start = time.thread_time_ns()
    for _ in range(STEPS):
        step(1)
    spent = time.thread_time_ns() - start
    env.close()
    return spent / STEPS / 1000


def floor(folder: Path) -> float:
    fd = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    pack, crc, row = struct.Struct("<12d").pack, 0, [1.0] * 12
    start = time.thread_time_ns()
    for _ in range(STEPS):
        body = pack(*row)
        crc = crc32c(body, crc)
        os.write(fd, body + crc.to_bytes(4, "little"))
    spent = time.thread_time_ns() - start
    os.close(fd)
    return spent / STEPS / 1000


def read_alone(account: Account, number: Any) -> float:
    """The reader without recorder and journal."""
    env = Told(number)
    reader, infos = AccountReader(account, env), env._infos
    reader.begin(infos[0])
    read = reader.read
    start = time.thread_time_ns()
    for step in range(STEPS):
        read(0.5, infos[step % 8])
    return (time.thread_time_ns() - start) / STEPS / 1000


def main() -> int:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    settings = JournalSettings(str(folder), "run")
    ways = {
        "floor + CRC": lambda: floor(folder),
        "the env, not recorded": lambda: played(Told(float)),
        "recorded, the env tells its account": lambda: played(Recorder(Told(float), settings)),
        "recorded, four keys of info": lambda: played(Recorder(Told(float), settings, account=FOUR_KEYS)),
        "recorded, four keys, numpy numbers": lambda: played(Recorder(Told(np.float64), settings, account=FOUR_KEYS)),
        "recorded, an account that tells all": lambda: played(Recorder(Told(float), settings, account=ALL)),
        "reading four keys, alone": lambda: read_alone(FOUR_KEYS, float),
        "reading all, alone": lambda: read_alone(ALL, float),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            spent[name].append(way())
    shutil.rmtree(folder)
    unit = statistics.median(spent["floor + CRC"])
    print(f"{'':40} {'us a step':>10} {'x floor + CRC':>14}")
    for name, times in spent.items():
        print(f"{name:40} {statistics.median(times):10.2f} {statistics.median(times) / unit:14.2f}")
    direct = spent["recorded, the env tells its account"]
    for name in list(ways)[3:6]:
        costs = [one - other for one, other in zip(spent[name], direct, strict=True)]
        print(f"cost of: {name:31} {statistics.median(costs):10.2f} {statistics.median(costs) / unit:14.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
