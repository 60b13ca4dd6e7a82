"""The program of a writer process: runs the Python lines that a test sends, with the public API at hand.

A request is one line of JSON on stdin, ``{"code": "..."}``; the answer is one line on stdout with the value of the
last expression, or with the exception. Everything else that is printed goes to stderr.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import traceback
from typing import Any

from journal import About, EndReason, JournalWriter, RunMarker, Trade, new_journal_id

START_US = 1_577_836_800_000_000  # 2020-01-01
DAY_US = 86_400_000_000


def about(**more: Any) -> About:
    return About(**{"env": "AttackedEnv", "initial_portfolio_value": 10_000.0, "periods_per_year": 252.0, **more})


def begin(root: str, run_id: str = "r1", journal_id: str = "", **settings: Any) -> JournalWriter:
    """An open journal."""
    given = settings.pop("about", None) or about()
    return JournalWriter(root, run_id, journal_id or new_journal_id(), about=given, **settings)


def append(writer: JournalWriter, *, terminated: bool = False, truncated: bool = False, trades: int = 0) -> None:
    """The next step, with values that tell its number."""
    step = writer.steps + 1
    closed = [Trade(1, 1.0, step, START_US + step * DAY_US, 100.0, 101.0, 1.0, 0.0) for _ in range(trades)]
    writer.append(
        action=1.0,
        reward=0.001,
        portfolio_value=10_000.0 + step,
        price=100.0,
        cash=10_000.0 + step,
        position=0.0,
        fees=0.0,
        unrealized_pnl=0.0,
        market_time=START_US + step * DAY_US,
        terminated=terminated,
        truncated=truncated,
        trades=closed,
    )


def steps(writer: JournalWriter, count: int, **more: Any) -> int:
    for _ in range(count):
        append(writer, **more)
    return writer.steps


def finish(writer: JournalWriter) -> None:
    """The env ends the episode: a last step that says so, and the journal's end."""
    append(writer, terminated=True)
    writer.close(EndReason.TERMINATED)


def marker(root: str, run_id: str = "r1", parameters: dict[str, Any] | None = None) -> RunMarker:
    return RunMarker(root, run_id, parameters or {})


def root_id(root: str, run_id: str) -> str:
    """The random id of a run's folder, which its file ``root`` holds."""
    with open(os.path.join(root, run_id, "root")) as file:
        return str(json.load(file)["root_id"])


def answer(code: str, names: dict[str, Any]) -> Any:
    """Run the lines, and return the last one's value if it is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<attack>", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "<attack>", "eval"), names)


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            reply = {"value": answer(json.loads(line)["code"], globals())}
        except BaseException as error:
            reply = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        out.write(json.dumps(reply, default=str) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
