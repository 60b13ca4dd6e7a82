"""`journal info`: describe one journal on one page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journal.cli import options
from journal.cli.lines import count_text, finding_text, size_text, time_text, unknown_text
from journal.console import DATA_LOST, DONE, fail, folded, plain, print_json
from journal.format.schema import TAIL_LOST
from journal.host.liveness import Observer
from journal.inspect.figures import few_steps_mark, number_text
from journal.inspect.find import find_journal
from journal.places import shown

if TYPE_CHECKING:
    from journal.host.liveness import LivenessReport
    from journal.inspect.overview import Overview
    from journal.read.reader import Journal

# Imports inside functions load numpy or pyarrow, which `--help` does not need.


@click.command("info", short_help="Describe one journal.")
@options.episode
@click.option("--batches", is_flag=True, help="List the sealed batches too.")
@options.as_json
@options.root
def command(episode: str, batches: bool, as_json: bool, journal_root: Path | None) -> int:
    """Describe one journal: identity, state, schema, checkpoints, metrics so far, findings.

    Every byte is verified. A live journal is described as it is now.

    \b
    Examples:
      journal info latest
      journal info 42 --json | jq .metrics
    """
    from journal.inspect.overview import overview
    from journal.read.reader import Journal

    path = find_journal(episode, journal_root)
    one = overview(str(path), Observer(), whole=True)
    if not isinstance(one.source, Journal):
        fail(f"{path} is not a readable journal: {one.problem}", _hint(one.problem))
    if as_json:
        print_json(facts_of(one, one.source, batches))
    else:
        for line in _page(one, one.source, batches):
            click.echo(line)
    lost = one.condition in ("damaged", "failed")
    return DATA_LOST if lost else DONE


def _hint(problem: str) -> str:
    return "`journal recover --header-from` can bring them back" if "behind it" in problem else ""


def facts_of(one: Overview, journal: Journal, batches: bool) -> dict[str, Any]:
    """Return what --json prints."""
    header = journal.header
    facts = {
        "id": header.journal_id,
        "run": header.run_id,
        "path": str(journal.path),
        "state": str(one.condition),
        "end": one.end_reason,
        "end_message": journal.end_message,
        "closed_at": journal.closed_at,
        "terminal": str(journal.terminal) if journal.terminal else None,
        "writer": {**vars(header.writer), **_look(one.writer)},
        "size": journal.size_bytes,
        "format_version": header.format_version,
        "start_time": header.start_time,
        "last_step_time": journal.last_step_time,
        "last_market_time": journal.last_market_time,
        "steps": journal.step_count,
        "last_step": journal.last_step,
        "trades": journal.trade_count,
        "steps_lost": journal.steps_lost,
        "trades_lost": journal.trades_lost,
        "tail_lost": journal.tail_lost,
        "torn": journal.torn,
        "footer_intact": journal.footer_intact,
        "unknown_records": dict(journal.unknown_records),
        "findings": [{**vars(finding), "kind": str(finding.kind)} for finding in journal.findings],
        "env": header.about.env,
        "env_config": dict(header.about.env_config),
        "notes": dict(header.about.notes),
        "account": dict(header.about.account),
        "unknown": list(header.about.unknown),
        "trades_known": header.about.trades,
        "initial_portfolio_value": header.about.initial_portfolio_value,
        "periods_per_year": header.about.periods_per_year,
        "extra_columns": list(header.about.extra_columns),
        "checkpoint_every_steps": header.checkpoint_every_steps,
        "checkpoint": {"step": journal.checkpoint.step, "trades": journal.checkpoint.trades}
        if journal.checkpoint
        else None,
        "batch_count": len(journal.frames),
        "tail_steps": len(journal.tail_steps["step"]),
        "metrics_step": journal.metrics_step,
        "metrics": one.figures(),
    }
    return {**facts, "batches": _batches(journal)} if batches else facts


def _look(look: LivenessReport | None) -> dict[str, Any]:
    return {"liveness": str(look.liveness) if look else None, "liveness_reason": look.reason if look else None}


def _batches(journal: Journal) -> list[dict[str, Any]]:
    return [
        {
            "offset": frame.offset,
            "bytes": frame.length,
            "first_step": frame.seal.first_step,
            "last_step": frame.seal.last_step,
            "trades": frame.seal.trades,
            "checkpoint": frame.seal.checkpoint is not None,
            "end": frame.seal.end.reason if frame.seal.end else None,
        }
        for frame in journal.frames
    ]


def standing_of(one: Overview, journal: Journal) -> str:
    """Describe the journal's state in a sentence."""
    if journal.end is not None:
        message = f": {journal.end_message}" if journal.end_message else ""
        return f"{one.condition}, ended as {one.end_reason}{message}"
    look = one.writer
    assert look is not None
    writer = {"alive": "its writer is alive", "dead": "its writer is dead", "unsure": "its writer may be alive"}
    said = f", its last step is {journal.terminal}" if journal.terminal else ""
    return f"{one.condition}, {writer[str(look.liveness)]} ({look.reason}){said}"


def _page(one: Overview, journal: Journal, batches: bool) -> Iterator[str]:
    header = journal.header
    about, writer = header.about, header.writer
    yield from _section(
        "", [("journal", header.journal_id), ("run", header.run_id), ("path", shown(str(journal.path)))]
    )
    yield from _section("", [("state", standing_of(one, journal)), *_extent(one, journal)])
    facts = [("env", about.env), *((name, str(value)) for name, value in about.env_config.items())]
    facts += [(name, str(value)) for name, value in about.notes.items()]
    yield from _section("Episode", facts)
    if about.account:
        told = [(name, str(value)) for name, value in about.account.items()]
        yield from _section("Account", [*told, ("unknown", ", ".join(about.unknown) or "nothing")])
    start = f"host {writer.host}, pid {writer.pid}, boot {writer.boot_id}"
    yield from _section("Writer", [("process", start), *_format(journal)])
    yield from _figures(one, journal)
    if batches:
        yield from _batch_table(journal)
    yield from _findings(journal)


def _section(title: str, facts: list[tuple[str, str]]) -> Iterator[str]:

    if title:
        yield f"\n{title}"
    width = max(10, *(len(name) for name, _ in facts))
    for name, value in facts:
        yield from folded(plain(value), f"  {plain(name):<{width}}  ")


def _extent(one: Overview, journal: Journal) -> list[tuple[str, str]]:

    tail = len(journal.tail_steps["step"])
    batches = count_text(len(journal.frames), "batch")
    lost = [("lost", f"{count_text(journal.steps_lost, 'step')}, {count_text(journal.trades_lost, 'trade')}")]
    return [
        ("started", time_text(journal.header.start_time)),
        ("last step", _last(journal)),
        *([("closed", time_text(journal.closed_at))] if journal.closed_at else []),
        ("holds", f"{count_text(journal.step_count, 'step')}, {_trades_text(journal)}"),
        *(lost if journal.steps_lost or journal.trades_lost else []),
        (
            "size",
            f"{size_text(journal.size_bytes)}: {batches}" + (f", {count_text(tail, 'step')} in the tail" * bool(tail)),
        ),
    ]


def _trades_text(journal: Journal) -> str:
    return "trades unknown" if journal.header.about.trades == "unknown" else count_text(journal.trade_count, "trade")


def _last(journal: Journal) -> str:

    if journal.last_step_time is None:
        return "none"
    return f"{time_text(journal.last_step_time)}, market time {time_text(journal.last_market_time)}"


def _format(journal: Journal) -> list[tuple[str, str]]:
    extra = ", ".join(journal.header.about.extra_columns) or "none"
    point = journal.checkpoint
    footer = "intact" if journal.footer_intact else "damaged (harmless)" if journal.end else "none yet"
    return [
        ("format", f"version {journal.header.format_version}, extra columns: {extra}"),
        (
            "checkpoints",
            f"at least each {journal.header.checkpoint_every_steps:,} steps, "
            + (f"last at step {point.step:,}" if point else "none yet"),
        ),
        ("footer", footer),
    ]


def _figures(one: Overview, journal: Journal) -> Iterator[str]:

    figures = one.figures()
    if not figures:
        yield "\nMetrics: none, no installed package can read this journal's checkpoints"
        return
    upto = (
        "" if journal.metrics_step >= journal.last_step else f" (up to step {journal.metrics_step:,}, before the loss)"
    )
    yield f"\nMetrics{upto}{few_steps_mark(figures, 'sharpe_ratio')}"
    names = list(figures)
    half = (len(names) + 1) // 2
    for left, right in zip(names[:half], [*names[half:], ""], strict=False):
        cells = [f"{name:<23} {number_text(figures[name]):>12}" for name in (left, right) if name]
        yield "  " + "   ".join(cells)


def _batch_table(journal: Journal) -> Iterator[str]:
    yield f"\n  {'offset':>10} {'bytes':>8} {'first step':>10} {'last step':>10} {'trades':>7} checkpoint"
    for batch in _batches(journal):
        point = ("yes" if batch["checkpoint"] else "no") + (f", end: {batch['end']}" if batch["end"] else "")
        yield (
            f"  {batch['offset']:>10} {batch['bytes']:>8} {batch['first_step']:>10} {batch['last_step']:>10} "
            f"{batch['trades']:>7} {point}"
        )


def _findings(journal: Journal) -> Iterator[str]:

    if journal.tail_lost:
        yield f"\nLost: {TAIL_LOST}."
    elif journal.torn:
        yield "\nTorn: the last write was cut before env.step() returned; nothing is lost."
    if journal.unknown_records:
        yield f"\nUnknown: {unknown_text(journal.unknown_records)}."
    if not journal.findings:
        yield "\nFindings: none"
        return
    yield "\nFindings"
    for finding in journal.findings[:50]:
        yield f"  {finding_text(finding)}"
    if len(journal.findings) > 50:
        yield f"  and {len(journal.findings) - 50} more"
