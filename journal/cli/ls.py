"""`journal ls`: list the runs, or the episodes of a run, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journal.cli import options
from journal.cli.lines import Lines, age_text, json_line, lost_text, painted, size_text
from journal.cli.mirrored import whole_mirror
from journal.cli.opening import paths_of
from journal.cli.runs import list_all
from journal.console import DATA_LOST, DONE, Count, coloured, remark
from journal.format.schema import TAIL_LOST, EndReason
from journal.host.liveness import Liveness, Observer
from journal.inspect.condition import Condition
from journal.inspect.figures import number_text
from journal.inspect.find import journal_root as root_of
from journal.inspect.where import parse

if TYPE_CHECKING:
    from journal.inspect.overview import Overview
    from journal.inspect.where import Clause

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

FIELDS = (
    "id",
    "run",
    "state",
    "steps",
    "trades",
    "size",
    "age",
    "end",
    "writer",
    "steps_lost",
    "trades_lost",
    "problem",
    "path",
)


@click.command("ls", short_help="List the runs, or the episodes of a run.")
@click.argument("targets", nargs=-1, metavar="[TARGET]...", type=options.JournalName("target", runs=True))
@click.option(
    "-w",
    "--where",
    "where",
    multiple=True,
    metavar="CONDITION",
    help="Only episodes that meet the condition, for example 'state=torn'.",
)
@click.option("-s", "--sort", "sort", metavar="FIELD", help="Sort by a field or metric. Default: by id, oldest first.")
@click.option("--reverse", is_flag=True, help="Reverse the order.")
@click.option("-n", "--limit", type=Count(1), metavar="N", help="At most N lines.")
@click.option(
    "-f", "--figure", "figures", multiple=True, metavar="NAME", help="Add a column with a metric, for example pnl."
)
@click.option("-q", "--ids", is_flag=True, help="Print only ids, for other commands.")
@options.as_json
@options.root
def command(
    targets: tuple[str, ...],
    where: tuple[str, ...],
    sort: str | None,
    reverse: bool,
    limit: int | None,
    figures: tuple[str, ...],
    ids: bool,
    as_json: bool,
    journal_root: Path | None,
) -> int:
    """List the runs, or the episodes of each TARGET (a run, an episode or a file).

    Only the footer of a closed journal is read; `journal verify` checks the rest. Fields for --where and --sort are
    id, run, state (closed, open, torn, failed, damaged, unreadable), steps, trades, size (bytes), age (seconds since
    the last step), end (how it ended), writer (alive, dead, unsure), steps_lost, trades_lost, and every metric.

    \b
    Examples:
      journal ls
      journal ls 20261122-120000 --where 'state != closed'
      journal ls latest --figure pnl --figure sharpe_ratio --sort pnl --limit 10
      journal ls s3://bucket/journals/20261122-120000
    """

    if ids and as_json:
        raise click.UsageError("--ids and --json exclude each other")
    if (mirror := whole_mirror(targets)) is not None:
        targets, journal_root = (), mirror
    root = root_of(journal_root)
    if not targets:
        if where or sort or figures:
            raise click.UsageError("--where, --sort and --figure choose episodes: name a run")

        return list_all(root, ids, as_json, limit, reverse)

    now = datetime.now(UTC)
    paths = list(paths_of(targets, journal_root))
    found = _found(paths, _clauses(where), sort, reverse, set(figures), now)
    printer = _Printer(paths, figures, ids, as_json, now)
    for one, values in islice(found, limit):
        printer.print(one, values)
    return printer.finish()


def _found(
    paths: list[str], clauses: list[Clause], sort: str | None, reverse: bool, figures: set[str], now: datetime
) -> Iterator[tuple[Overview, dict[str, Any]]]:
    """Yield the selected episodes in order. Without --sort, yield each as soon as it is read."""

    wanted = {clause.name for clause in clauses} | figures | ({sort} if sort else set())
    if reverse and not sort:
        paths = paths[::-1]
    found = _chosen(paths, Observer(), clauses, bool(wanted - set(FIELDS)), now)
    return _sorted(found, sort, reverse, now) if sort else found


_WORDS: dict[str, tuple[str, ...]] = {
    "state": tuple(Condition),
    "writer": tuple(Liveness),
    "end": tuple(EndReason),
}
"""The possible words of a field. Another word in a condition is refused as a typing error."""


def _clauses(where: tuple[str, ...]) -> list[Clause]:
    known = _AnyName(FIELDS)
    try:
        clauses = [clause for text in where for clause in parse(text, known)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--where") from None
    for clause in clauses:
        words = _WORDS.get(clause.name)
        if words and clause.op not in ("=", "!="):
            raise click.BadParameter(f"{clause.name} has no order, compare it by = or !=", param_hint="--where")
        if words and clause.text not in words:
            expected = f"{clause.name} is one of {', '.join(words)}"
            raise click.BadParameter(f"there is no {clause.name} {clause.text!r}; {expected}", param_hint="--where")
    return clauses


class _AnyName(tuple[str, ...]):
    """Accept every name. Metrics come from plug-ins, so their names are checked on the first episode."""

    def __contains__(self, name: object) -> bool:
        return True


def _chosen(
    paths: Iterable[str], observer: Any, clauses: list[Clause], with_figures: bool, now: datetime
) -> Iterator[tuple[Overview, dict[str, Any]]]:
    from journal.inspect.overview import overview

    for path in paths:
        one = overview(path, observer)
        values = values_of(one, now, with_figures) if clauses or with_figures else {}
        try:
            if all(clause.holds(values) for clause in clauses):
                yield one, values
        except KeyError as error:
            if one.source is not None:
                names = ", ".join(values)
                raise click.BadParameter(f"there is no {error}, there are: {names}", param_hint="--where") from None
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--where") from None


def values_of(one: Overview, now: datetime, with_figures: bool) -> dict[str, Any]:
    """Return the fields of an episode by name, for conditions and JSON."""
    values: dict[str, Any] = {
        "id": one.journal_id,
        "run": one.run_id,
        "state": str(one.condition),
        "steps": one.steps,
        "trades": one.trades,
        "size": one.size_bytes,
        "age": (now - one.last_time).total_seconds() if one.last_time else None,
        "end": one.end_reason,
        "writer": str(one.writer.liveness) if one.writer else None,
        "steps_lost": one.steps_lost,
        "trades_lost": one.trades_lost,
        "problem": one.problem or None,
        "path": one.path,
    }
    if with_figures:
        for name, value in one.figures().items():
            values.setdefault(name, value)
    return values


def _sorted(
    found: Iterable[tuple[Overview, dict[str, Any]]], sort: str, reverse: bool, now: datetime
) -> Iterator[tuple[Overview, dict[str, Any]]]:
    """Sort the episodes. Those without the value come last in both directions."""
    every = [(one, values or values_of(one, now, False)) for one, values in found]
    if every and not any(sort in values for _, values in every):
        raise click.BadParameter(f"there is no {sort!r}, there are: {', '.join(every[0][1])}", param_hint="--sort")
    with_value = [pair for pair in every if pair[1].get(sort) is not None]
    yield from sorted(with_value, key=lambda pair: pair[1][sort], reverse=reverse)
    yield from (pair for pair in every if pair[1].get(sort) is None)


class _Printer:
    """Prints episodes one by one, and collects the messages for the end."""

    def __init__(self, paths: list[str], figures: tuple[str, ...], ids: bool, as_json: bool, now: datetime) -> None:

        self._lines = Lines()
        self._figures, self._ids, self._as_json, self._now = figures, ids, as_json, now
        self._colours = coloured()
        self._width = max([len("EPISODE"), *(len(path) - path.rfind("/") - 8 for path in paths)] if paths else [28])
        self._counts: Counter[str] = Counter()
        self._problems: list[str] = []
        self._headed = ids or as_json

    def _header(self) -> str:
        columns = [
            f"{'EPISODE':<{self._width}} {'STATE':<10} {'STEPS':>7} {'TRADES':>6} {'SIZE':>5} {'AGE':>4} END/WRITER"
        ]
        return " ".join([*columns, *(f"{name[:13]:>13}" for name in self._figures)])

    def _head(self) -> None:
        """Print the header line before the first episode, so that a refused condition prints no header."""
        if not self._headed:
            self._headed = True
            self._lines.write(self._header())

    def print(self, one: Overview, values: dict[str, Any]) -> None:
        self._check_figures(one, values)
        self._head()
        self._counts[str(one.condition)] += 1

        if one.problem:
            self._problems.append(f"{one.journal_id}: {one.problem}")
        elif one.steps_lost or one.trades_lost:
            self._problems.append(f"{one.journal_id}: {lost_text(one.steps_lost, one.trades_lost)}")
        elif one.tail_lost:
            self._problems.append(f"{one.journal_id}: {TAIL_LOST}")
        elif one.condition == "failed":
            self._problems.append(f"{one.journal_id}: a write failed; later steps are lost, number unknown")
        if self._ids:
            self._lines.write(one.journal_id)
        elif self._as_json:
            self._lines.write(_json(one, values or values_of(one, self._now, False), self._figures))
        else:
            self._lines.write(self._line(one, values))

    def _check_figures(self, one: Overview, values: dict[str, Any]) -> None:
        """Refuse an unknown figure. Every journal with figures has all of them."""
        unknown = [name for name in self._figures if name not in values]
        if unknown and one.source is not None and len(values) > len(FIELDS):
            names = ", ".join(name for name in values if name not in FIELDS)
            raise click.BadParameter(f"there is no {unknown[0]!r}, there are: {names}", param_hint="--figure")

    def _line(self, one: Overview, values: dict[str, Any]) -> str:

        state = painted(f"{one.condition!s:<10}", one.condition, self._colours)
        end = f"writer {one.writer.liveness}" if one.writer else one.end_reason or "-"
        line = (
            f"{one.journal_id:<{self._width}} {state} {one.steps:>7} {one.trades:>6} {size_text(one.size_bytes):>5} "
            f"{age_text(one.last_time, self._now):>4} {end}"
        )
        if not self._figures:
            return line
        cells = [f"{number_text(values.get(name)):>13}" for name in self._figures]
        return f"{line}{' ' * max(0, 10 - len(end))} {' '.join(cells)}"

    def finish(self) -> int:
        """Print the messages and return the exit code."""

        self._head()
        for problem in self._problems[:20]:
            remark(problem)
        if len(self._problems) > 20:
            remark(f"and {len(self._problems) - 20} more like these")
        total = sum(self._counts.values())
        if not self._ids and not self._as_json and total != 1:
            each = ", ".join(f"{count:,} {state}" for state, count in self._counts.most_common())
            remark(f"{total:,} episodes" + (f": {each}" if each else ""))
        return DATA_LOST if self._problems else DONE


def _json(one: Overview, values: dict[str, Any], figures: tuple[str, ...]) -> str:

    header = one.header
    shown = {name: values[name] for name in FIELDS}
    shown["verified"] = one.verified
    shown["writer_reason"] = one.writer.reason if one.writer else None
    shown["start_time"] = header.start_time if header else None
    shown["last_step_time"] = one.last_time
    return json_line({**shown, **{name: values.get(name) for name in figures}})
