"""Append odd steps to a journal, and print what became of each. test_appending.py runs it with and without compiled code."""

from __future__ import annotations

import datetime
import json
import random
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from journal import About, JournalWriter, Trade, read_journal
from journal.write.appending import COMPILED
from journal.write.vector import VectorAppender

EXTRA = ("fill", "kind")  # a slot has a field of the second name


class Indexable:
    """An int of another class."""

    def __repr__(self) -> str:
        return "Indexable()"

    def __index__(self) -> int:
        return 7


class Failing:
    """A number whose conversion fails in its own way."""

    def __repr__(self) -> str:
        return "Failing()"

    def __float__(self) -> float:
        raise RuntimeError("no value")


class Liar(tuple[Any, ...]):
    """Trades whose number is not what it says."""

    def __len__(self) -> int:
        return 3


NUMBERS = (
    0.0, -0.0, 1.5, float("nan"), float("inf"), -float("inf"), 5e-324, 1.7e308, 3, True, 10**400, -(2**63), None, "text",
    b"1", np.float64(2.5), np.float32(0.1), np.int64(-4), np.uint8(200), np.bool_(True), np.array(2.0), np.array([1.0, 2.0]),
    Decimal("1.25"), Fraction(1, 3), 1j, Indexable(), Failing(), [],
)  # fmt: skip
TIMES = (
    0, -1, 2**63 - 1, -(2**63), 2**63, 1.0, 1.5, True, None, "2024-01-01", np.int64(5), np.float64(5.0), Indexable(),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), datetime.datetime.min,  # noqa: DTZ901 - a time without a zone is refused
    np.datetime64("2024-01-01"),
)  # fmt: skip
FLAGS = (False, False, False, True, np.bool_(True), np.bool_(False), 1, 0, 2, 300, -1, None, "yes", 1.0)


def drawn(random_: random.Random, odd: float) -> list[Any]:
    """Return the arguments of a step, each odd with this probability."""

    def one(choices: tuple[Any, ...], plain: Any) -> Any:
        return random_.choice(choices) if random_.random() < odd else plain

    def number() -> Any:
        return one(NUMBERS, random_.uniform(-1e6, 1e6))

    def trade() -> Any:
        fields = (
            one((1, -1, 0, True, 1.0, None, "long", np.int8(-1)), random_.choice((1, -1))), number(),
            one(TIMES, random_.randrange(1, 50)), one(TIMES, random_.randrange(10**15)),
            number(), number(), number(), number(),
        )  # fmt: skip
        kind = random_.random()
        if kind < odd / 4:
            return fields[: random_.randrange(8)]
        return Trade(*fields) if kind < 0.5 else fields if kind < 0.8 else list(fields)

    trades: Any = tuple(trade() for _ in range(random_.choice((0, 0, 0, 1, 1, 2, 5))))
    trades = one((list(trades), Liar(trades), None, 5, {}), trades)
    extra = one(
        ((), (1.0,), [1.0, 2.0], (1.0, 2.0, 3.0), np.array([1.0, 2.0]), None, 5, iter((1.0, 2.0))), (number(), number())
    )
    return [
        *(number() for _ in range(8)),
        one(TIMES, random_.randrange(10**15)),
        one(FLAGS, False),
        one(FLAGS, False),
        trades,
        extra,
    ]


def outcome_of(append: Any, arguments: list[Any]) -> str:
    try:
        append(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "appended"


def rows_of(path: Path) -> list[str]:
    """Return the journal's rows as text that tells every bit of a number but the sign of a NaN."""
    steps = read_journal(path).steps().drop_columns(["wall_time"])
    trades = read_journal(path).trade_columns()
    times = [steps["market_time"].cast("int64").to_pylist()]
    plain = [steps[name].to_pylist() for name in steps.column_names if name not in ("market_time", "trades")]
    return [repr(column) for column in (*times, *plain, *(column.tolist() for column in trades.values()))]


def main(root: Path, seed: int) -> None:
    random_ = random.Random(seed)
    told: dict[str, Any] = {"compiled": COMPILED, "outcomes": []}
    about = About("Odd", 1000.0, 1 << 20, extra_columns=EXTRA)
    with JournalWriter(root, "odd", "one", about=about, checkpoint_every_steps=random_.choice((1, 7, 1024))) as writer:
        for _ in range(600):
            arguments = drawn(random_, odd=random_.choice((0.0, 0.02, 0.2)))
            told["outcomes"].append((outcome_of(writer.append, arguments), writer.steps, writer.trades))
    told["one"] = rows_of(writer.path)
    writers = [JournalWriter(root, "odd", f"lane{lane}", about=about, checkpoint_every_steps=11) for lane in range(3)]
    block = VectorAppender(3, EXTRA)
    for step in range(60):
        columns = [np.array([random_.uniform(-5, 5) for _ in range(3)]) for _ in range(8 + len(EXTRA))]
        flags = np.array([False] * 3)
        trades = {
            lane: [Trade(1, 1.0, step, step, 1.0, 2.0, 3.0, 4.0)] * (step % 3) for lane in range(lane_count(step))
        }
        block.append(
            [writers[0], None if step % 5 else writers[1], writers[2]],
            columns,
            np.arange(3) + step,
            flags,
            flags,
            trades,
        )
    for lane in writers:
        lane.close()
        told[lane.journal_id] = rows_of(lane.path)
    sys.stdout.write(json.dumps(told))


def lane_count(step: int) -> int:
    return step % 4


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
