"""Code that all benchmarks share: options, facts about the machine, and tables, also in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "benchmarks.md"
sys.path.append(str(ROOT))  # some benchmarks use servers of the tests
# Processes that a benchmark starts use compiled modules, as if pip had installed them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
_PACKAGES = ("numpy", "pyarrow", "msgspec", "gymnasium", "ray", "torch")
Cell = str | float


@dataclass
class Table:
    """A table of figures.

    Attributes:
        headings: The heading of each column.
        rows: The cells of each row: texts and numbers. Numbers are shown with three significant digits.
        title: The title; empty if the benchmark has only one table.
    """

    headings: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    title: str = ""


def parser_of(doc: str | None, *, rounds: int | None = None) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks.

    Args:
        doc: The benchmark's docstring, which `--help` shows.
        rounds: The default of `--rounds`; None for a benchmark without this option.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"how often all is measured, in turns: {rounds}")
    parser.add_argument("--quick", action="store_true", help="less of everything: shows that it works, not how fast")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--docs", action="store_true", help=f"also write the tables into {DOCS.name}")
    return parser


def machine() -> dict[str, Any]:
    """Return the facts that figures depend on: processor, load, kernel, and versions."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found.group(1) if found else platform.machine()


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure all ways in each round, so that a disturbance affects all of them. NaN if a package is not installed."""
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            try:
                measured[name].append(way())
            except ImportError:
                measured[name].append(float("nan"))
    return measured


def ratios(measured: Mapping[str, Sequence[float]], floor: str) -> dict[str, tuple[float, float, float]]:
    """Return the quartiles of each way's ratios to the floor. Each ratio compares two times of one round."""
    return {
        name: quartiles([one / unit for one, unit in zip(each, measured[floor], strict=True)])
        for name, each in measured.items()
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, middle, upper


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return a 95 % confidence interval of the median, as two of the values. It assumes no distribution.

    With fewer than six values the confidence is lower than 95 %, and the smallest and the largest value are returned.
    """
    ordered, count = sorted(values), len(values)
    outside, rank = 0.0, 0
    while (outside := outside + 2 * math.comb(count, rank) / 2**count) <= 0.05:
        rank += 1
    return ordered[max(rank - 1, 0)], ordered[count - max(rank, 1)]


def between(lower: float, upper: float) -> str:
    """Return a range as text."""
    low, high = shown(lower), shown(upper)
    return low if low == high else f"{low} to {high}"


def shown(cell: Cell) -> str:
    """Return a cell as text: a number with three significant digits."""
    if isinstance(cell, str):
        return cell
    if cell != cell:
        return "-"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def report(name: str, tables: Sequence[Table], given: argparse.Namespace) -> None:
    """Print the tables of a benchmark, and write them into the documentation if asked.

    Args:
        name: The benchmark's name. In the documentation ``<!-- bench:NAME -->`` and ``<!-- end -->`` enclose its tables.
        tables: The benchmark's tables.
        given: The options, from `parser_of`.
    """
    where = machine()
    if given.json:
        print(json.dumps({"benchmark": name, "machine": where, "tables": [asdict(table) for table in tables]}))
    else:
        print(sentence_of(where))
        for table in tables:
            print(_plain(table))
    if given.docs:
        marked = "\n\n".join([*map(_markdown, tables), sentence_of(where)])
        DOCS.write_text(put(DOCS.read_text(encoding="utf-8"), name, marked), encoding="utf-8")


def sentence_of(where: Mapping[str, Any]) -> str:
    """Return one line about the machine."""
    versions = ", ".join(f"{package} {version}" for package, version in where["versions"].items())
    return (
        f"{where['processor']}, {where['cores']} cores, load {where['load']} at the end; Linux {where['kernel']},"
        f" Python {where['python']}, {versions}"
    )


def put(text: str, name: str, tables: str) -> str:
    """Return a document with these tables between the comments of a benchmark.

    Raises:
        ValueError: The document does not have these comments.
    """
    pattern = re.compile(rf"(<!-- bench:{re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the document has no place for the tables of {name}")
    return pattern.sub(lambda found: f"{found.group(1)}\n{tables}\n\n{found.group(2)}", text)


def _plain(table: Table) -> str:
    cells = [list(table.headings), *([shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.headings))]
    lines = [
        row[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in cells
    ]
    return "\n".join(["", *([table.title] if table.title else []), *lines])


def _markdown(table: Table) -> str:
    rows = [list(table.headings), ["---"] * len(table.headings), *([shown(cell) for cell in row] for row in table.rows)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*([f"{table.title}:", ""] if table.title else []), *lines])
