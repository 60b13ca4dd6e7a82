"""`journal plot`: draw episodes in the terminal or in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from journal.cli import options
from journal.cli.choosing import opened
from journal.cli.lines import Lines, lost_text
from journal.cli.lookup import database_rows
from journal.cli.opening import paths_of
from journal.console import DATA_LOST, DONE, Count, coloured, fail, remark
from journal.format.schema import TAIL_LOST
from journal.host.liveness import Observer

if TYPE_CHECKING:
    from journal.inspect.overview import Overview
    from journal.plot.series import Series
    from journal.read.reader import Journal

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

_OVERLAID = 8  # more curves than this in one panel cannot be told apart
_FORMS = ("png", "svg", "html")


@click.command("plot", short_help="Plot episodes, in the terminal or as PNG, SVG or HTML.")
@options.targets
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a new .png, .svg or .html file.",
)
@click.option("--overlay", is_flag=True, help="Overlay all curves. Default for two to eight named episodes.")
@click.option("--sheet", is_flag=True, help="Draw a small picture per episode. Default for a run.")
@click.option(
    "-n",
    "--limit",
    type=Count(1),
    default=50,
    show_default=True,
    metavar="N",
    help="At most N episodes, chosen at equal distances in the run.",
)
@options.root
def command(
    targets: tuple[str, ...], output: Path | None, overlay: bool, sheet: bool, limit: int, journal_root: Path | None
) -> int:
    """Plot portfolio value with the closed trades marked, drawdown, position and reward of one episode.

    Several episodes are overlaid as returns since their start. A run becomes a sheet of small pictures, or one line per
    episode in the terminal. A gap in a curve shows lost steps.

    An HTML file needs no other file and no extra package. It shows price with trades, value against buy-and-hold,
    drawdown, position and rewards over market time. For several episodes it has a table that opens each.

    \b
    Examples:
      journal plot latest
      journal plot 42 -o episode.html
      journal plot 20261122-120000 -o run.png
    """

    if overlay and sheet:
        raise click.UsageError("--overlay and --sheet exclude each other")
    form = _form_of(output)
    if form == "html" and (overlay or sheet):
        raise click.UsageError("--overlay and --sheet are for pictures and the terminal; a page has a table")
    paths = list(paths_of(targets, journal_root))
    several_named = len(targets) > 1 and len(paths) == len(targets) <= _OVERLAID
    kind = "sheet" if sheet else "overlay" if overlay or several_named else "episode" if len(paths) == 1 else "sheet"
    title = f"{len(targets)} targets" if len(targets) > 1 else Path(paths[0]).parent.name if paths else targets[0]
    chosen = _evenly(paths, limit)
    reader = _Reader(chosen, most=2000 if kind == "episode" else 400)
    if not paths:
        fail(f"{targets[0]} has no journals")
    if output is None:
        _in_terminal(reader, kind)
    elif form == "html":
        _as_page(reader, title, output)
    else:
        counted = f"{title}: {len(chosen):,} of {len(paths):,} episodes" if len(chosen) < len(paths) else title
        _in_file(reader, kind, counted, output, form)
    if not reader.shown:
        fail("there is nothing to plot")
    return DATA_LOST if reader.problems else DONE


def _form_of(output: Path | None) -> str:
    if output is None:
        return ""
    form = output.suffix.lower().lstrip(".")
    if form not in _FORMS:
        raise click.BadParameter(f"{output.name} ends in none of .{', .'.join(_FORMS)}", param_hint="--output")
    return form


def _evenly(paths: list[str], limit: int) -> list[str]:
    """Select at most ``limit`` paths at equal distances, first and last included."""

    if len(paths) <= limit:
        return paths
    remark(f"showing {limit} of {len(paths):,} episodes, at equal distances; --limit N shows more")
    if limit == 1:
        return paths[-1:]
    return [paths[round(index * (len(paths) - 1) / (limit - 1))] for index in range(limit)]


class _Reader:
    """Read episodes one by one. Report unreadable and damaged ones, and count them in ``problems``."""

    def __init__(self, paths: list[str], most: int) -> None:

        self.paths = paths
        self._most = most
        self._observer = Observer()
        self.problems = 0
        self.shown = 0

    def __iter__(self) -> Iterator[Series]:
        from journal.plot.series import series_of

        for one, journal, number in self.journals():
            yield series_of(one, journal, self._most, number)

    def journals(self) -> Iterator[tuple[Overview, Journal, int | None]]:
        """Yield the readable ones, each with the number of its row, None if it has none."""
        from journal.inspect.overview import overview
        from journal.ops.dataset import with_rows
        from journal.read.reader import Journal

        for path, row in with_rows(self.paths, database_rows()):
            one = overview(path, self._observer, whole=True)
            if not isinstance(one.source, Journal):
                self.problems += 1
                remark(f"{one.journal_id} is not a readable journal: {one.problem}")
                continue
            if one.steps_lost or one.trades_lost:
                self.problems += 1
                remark(f"{one.journal_id}: damaged, {lost_text(one.steps_lost, one.trades_lost)}")
            elif one.tail_lost:
                self.problems += 1
                remark(f"{one.journal_id}: {TAIL_LOST}")
            elif one.condition == "failed":
                self.problems += 1
                remark(f"{one.journal_id}: a write failed; later steps are lost, number unknown")
            self.shown += 1
            yield one, one.source, row.get("episode_id")


def _in_terminal(reader: _Reader, kind: str) -> None:
    from journal.plot import terminal

    lines, look = Lines(), terminal.Terminal.of_terminal(coloured())
    if kind == "overlay":
        for line in terminal.overlay_lines(list(reader), look):
            lines.write(line)
    elif kind == "episode":
        for series in reader:
            for line in terminal.episode_lines(series, look):
                lines.write(line)
    else:
        width = max([len("EPISODE"), *(len(Path(path).stem) for path in reader.paths)])
        lines.write(terminal.sheet_header(width, look))
        for series in reader:
            lines.write(terminal.sheet_line(series, width, look))


def _in_file(reader: _Reader, kind: str, title: str, output: Path, form: str) -> None:
    from journal.plot.pictures import MissingPlotError

    many = list(reader)
    if not many:
        fail("there is nothing to plot")
    try:
        with opened(output) as sink:
            _draw(many, kind, title, sink, form)
    except MissingPlotError:
        fail("pictures need matplotlib", "pip install 'reinforce-strategy-creator[plot]'")
    remark(f"{output}: {len(many)} {'episode' if len(many) == 1 else 'episodes'}")


def _draw(many: list[Series], kind: str, title: str, sink: BinaryIO, form: str) -> None:
    from journal.plot import pictures

    if kind == "episode":
        figure = pictures.draw_episode(many[0])
    else:
        figure = pictures.draw_overlay(many) if kind == "overlay" else pictures.draw_sheet(title, many)
    pictures.save(figure, sink, form)


def _as_page(reader: _Reader, title: str, output: Path) -> None:
    from journal.plot.packing import Curves, Limits
    from journal.plot.page import render, row_of
    from journal.plot.series import standing_of

    curves, rows, facts = Curves(Limits.of_count(len(reader.paths))), [], {}
    for one, journal, number in reader.journals():
        name = one.journal_id if number is None else str(number)
        rows.append(
            {
                **row_of(one),
                "name": name,
                "number": number,
                "status": standing_of(one),
                "curve": curves.add(one, journal),
            }
        )
        about = journal.header.about
        facts = {"run": journal.header.run_id, "env": about.env, **about.env_config, **about.notes}
    if not rows:
        fail("there is nothing to plot")
    if len(rows) == 1:
        title = f"Episode {rows[0]['name']}"
    page = render(
        "episodes.html.j2", rows, curves, title=title, facts=facts if len(rows) == 1 else {}, generator="journal plot"
    )
    with opened(output) as sink:
        sink.write(page.encode())
    remark(f"{output}: {len(rows)} {'episode' if len(rows) == 1 else 'episodes'}")
