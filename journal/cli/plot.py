"""`journal plot`: draw episodes in the terminal or in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from journal.cli import options
from journal.cli.choosing import opened
from journal.cli.lines import Lines, coloured, lost_text
from journal.cli.opening import paths_of
from journal.console import DATA_LOST, DONE, Count, fail, remark
from journal.format.schema import TAIL_LOST
from journal.host.liveness import Observer

if TYPE_CHECKING:
    from journal.plot.series import Series

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
    episode in the terminal. An HTML file needs no other file. A gap in a curve shows lost steps.

    \b
    Examples:
      journal plot latest
      journal plot 42 -o episode.html
      journal plot 20261122-120000 -o run.png
    """

    if overlay and sheet:
        raise click.UsageError("--overlay and --sheet exclude each other")
    form = _form_of(output)
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
        from journal.inspect.overview import overview
        from journal.plot.series import series_of
        from journal.read.reader import Journal

        for path in self.paths:
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
            yield series_of(one, one.source, self._most)


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
            _draw(many, kind, title, reader.paths, sink, form)
    except MissingPlotError:
        fail("pictures need matplotlib", "pip install 'reinforce-strategy-creator[plot]'")
    remark(f"{output}: {len(many)} {'episode' if len(many) == 1 else 'episodes'}")


def _draw(many: list[Series], kind: str, title: str, paths: list[str], sink: BinaryIO, form: str) -> None:
    from journal.plot import page, pictures

    if kind == "episode":
        if form == "html":
            sink.write(_episode_page(many[0], paths[0]).encode())
            return
        figure = pictures.draw_episode(many[0])
    else:
        figure = pictures.draw_overlay(many) if kind == "overlay" else pictures.draw_sheet(title, many)
    if form == "html":
        sink.write(page.many_page(title, figure, many).encode())
    else:
        pictures.save(figure, sink, form)


def _episode_page(series: Series, path: str) -> str:
    from journal.plot.page import episode_page
    from journal.read.reader import read_journal

    journal = read_journal(path)
    about = journal.header.about
    facts = {"run": journal.header.run_id, "env": about.env, **about.env_config, **about.notes}
    return episode_page(series, journal.trades().to_pylist(), facts)
