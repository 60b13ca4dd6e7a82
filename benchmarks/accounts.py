"""Measure the cost of reading an account in each step: the env provides its account itself, or four keys of info do.

    python benchmarks/accounts.py

Both recorders write the same number of rows and trades (one in eight steps) into journals. In one case the env provides the
account, as TradingEnv does. In the other, `rsc.Account` reads it from ``info`` and derives the trades. Figures are medians
over interleaved rounds, in microseconds of CPU time a step. The account's cost is the median of the differences within a
round. Machines are noisy, so compare with the floor, which is `struct.pack`, CRC and one `os.write`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from crc32c import crc32c
from harness import Table, between, in_turns, parser_of, quartiles, ratios, report

from journal import About, Trade
from rsc.recording.accounts import Account, since_last
from rsc.recording.episode import JournalSettings
from rsc.recording.reading import AccountReader
from rsc.recording.recorder import Recorder

STEPS = 5_000
FLOOR = "floor + CRC"
TRADE = [Trade(1, 1.0, 4, 0, 25.0, 25.0, 0.0, 0.0)]
FOUR_KEYS = Account(value="value", position="units", price="price", cash="cash")
ALL = Account(
    value="value", position="units", price="price", cash="cash", costs=since_last("fees"), time="time", weight=".weight",
    extra={"more": lambda env, info: env.weight},
)  # fmt: skip


class Told(gym.Env[Any, Any]):
    """An env that provides its account itself. Each step has the same info, and each position lasts four steps."""

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
    """Return microseconds a step."""
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
    """Return microseconds a step of the reader alone, without recorder and journal."""
    env = Told(number)
    reader, infos = AccountReader(account, env), env._infos
    reader.begin(infos[0])
    read = reader.read
    start = time.thread_time_ns()
    for step in range(STEPS):
        read(0.5, infos[step % 8])
    return (time.thread_time_ns() - start) / STEPS / 1000


def main() -> int:
    parser = parser_of(__doc__, rounds=15)
    parser.add_argument("--folder", help="where to write, by default a temporary folder")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    settings = JournalSettings(str(folder), "run")
    ways = {
        FLOOR: lambda: floor(folder),
        "the env, not recorded": lambda: played(Told(float)),
        "recorded, the env tells its account": lambda: played(Recorder(Told(float), settings)),
        "recorded, four keys of info": lambda: played(Recorder(Told(float), settings, account=FOUR_KEYS)),
        "recorded, four keys, numpy numbers": lambda: played(Recorder(Told(np.float64), settings, account=FOUR_KEYS)),
        "recorded, an account that tells all": lambda: played(Recorder(Told(float), settings, account=ALL)),
        "reading four keys, alone": lambda: read_alone(FOUR_KEYS, float),
        "reading all, alone": lambda: read_alone(ALL, float),
    }
    spent = in_turns(ways, 2 if given.quick else given.rounds)
    shutil.rmtree(folder)
    table = Table(("way", "us of CPU time a step", "x floor + CRC", "quartiles"))
    for name, (lower, middle, upper) in ratios(spent, FLOOR).items():
        table.rows.append((name, statistics.median(spent[name]), middle, between(lower, upper)))
    costs = Table(("cost of an account", "us of CPU time a step", "x floor + CRC", "quartiles"))
    direct = spent["recorded, the env tells its account"]
    for name in list(ways)[3:6]:
        each = [one - other for one, other in zip(spent[name], direct, strict=True)]
        lower, middle, upper = quartiles([cost / unit for cost, unit in zip(each, spent[FLOOR], strict=True)])
        costs.rows.append((name.removeprefix("recorded, "), statistics.median(each), middle, between(lower, upper)))
    report("accounts", [table, costs], given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
