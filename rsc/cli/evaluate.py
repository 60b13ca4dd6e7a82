"""`rsc evaluate`: play a trained policy over unseen bars."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journal.console import DATA_LOST, DONE, Count, print_json, remark, work_without_output
from rsc.cli import options

if TYPE_CHECKING:
    from rsc.policies.evaluating import Evaluation
    from rsc.policies.playing import Result

# Imports inside functions load Ray's modules and torch, which `--help` does not need.

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("evaluate")
@click.argument("run", type=options.PolicyRun())
@click.option("--from", "first", type=_DAY, metavar="DATE", help="First day to play.  [default: the first unseen one]")
@click.option(
    "--to",
    "last",
    type=_DAY,
    metavar="DATE",
    help="Last day to play.  [default: end_date of the env config if bars before it are unseen, or the last of the prices]",
)
@click.option("--ticker", type=options.Ticker(), help="Play the prices of another ticker.")
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="Play the prices of another file.")
@click.option("--symbol", help="The asset to read, if the file holds several.")
@click.option(
    "--episodes",
    type=Count(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Divide the bars into N consecutive episodes, each with fresh capital.",
)
@click.option(
    "--deterministic/--stochastic",
    default=True,
    show_default=True,
    help="Take the likeliest action, or draw one.",
)
@click.option("--seed", type=Count(), default=0, show_default=True, help="Seed for --stochastic.")
@click.option(
    "--checkpoint",
    type=click.Choice(["best", "last"]),
    help="The saved policy to play.  [default: best if the training had validation bars, else last]",
)
@click.option("--run-id", help="Id of the evaluation's run.  [default: made from the time]")
@options.journal_root
@options.policy_root
@options.database_url
@options.as_json
def command(first: datetime | None, last: datetime | None, data: Path | None, as_json: bool, **arguments: Any) -> int:
    """Play a trained policy once over bars that it has not seen.

    RUN is the run that trained it: an id, the unique beginning of one, or `latest`. By default, the policy plays all bars
    after the last one that training or selection saw. If it plays bars that were seen, a line says IN SAMPLE.

    The evaluation is recorded as a run of its own. Its result is printed beside buy-and-hold, 100 accounts that act at
    random, and one that never trades, all at the same costs.

    Exit: 0 done, 1 there is no such policy or no bars for it, 2 wrong usage,
    3 journals are incomplete, 130 interrupted.

    \b
    Examples:
      rsc evaluate latest
      rsc evaluate ppo-1 --from 2011-06-02 --episodes 4 --json
      rsc evaluate ppo-1 --ticker IBM
    """
    work_without_output()
    if arguments["ticker"] and data:
        raise click.UsageError("give either --ticker or --data")
    if arguments["symbol"] and not data:
        raise click.UsageError("--symbol chooses an asset of the file that --data names")
    if first and last and last < first:
        raise click.UsageError(f"--to {last:%Y-%m-%d} is before --from {first:%Y-%m-%d}")
    options.require_training("evaluation")
    remark("loading the policy")
    from rsc.policies.evaluating import EvaluationPlan, evaluate

    found = evaluate(
        EvaluationPlan(
            first_day=f"{first:%Y-%m-%d}" if first else None,
            last_day=f"{last:%Y-%m-%d}" if last else None,
            data=str(data.absolute()) if data else None,
            **arguments,
        )
    )
    print_json(_document(found, arguments["deterministic"])) if as_json else _print(found, arguments["deterministic"])
    for line in found.lost:
        remark(line)
    return DATA_LOST if found.lost else DONE


def _print(found: Evaluation, deterministic: bool) -> None:
    facts, stage = found.facts, found.stage
    market, game = stage.game.market, stage.game
    from rsc.policies.split import iso

    click.echo(f"run {found.run_id}")
    how = "its likeliest actions" if deterministic else "drawn actions"
    click.echo(f"policy of run {facts.run_id}, iteration {facts.iteration}, by {how}")
    click.echo(
        f"{market.name}, {iso(market, game.first)[:10]} to {iso(market, game.last)[:10]}: {stage.bars:,} bars,"
        f" {found.result.steps:,} steps, episodes: {len(found.periods)}"
    )
    click.echo(_sample_in_words(found))
    line = "{:<22} {:>10} {:>8} {:>9} {:>7}".format
    click.echo("\n" + line("", "RETURN", "SHARPE", "DRAWDOWN", "TRADES"))
    for name, one in _rows(found):
        click.echo(line(name, *_cells(one)))
    better, count = _better(found), len(found.others.random)
    click.echo(f"\nthe policy earned more than {better} of {count} random accounts")


def _sample_in_words(found: Evaluation) -> str:
    stage = found.stage
    if stage.in_sample:
        return f"IN SAMPLE: {stage.seen:,} of the {stage.bars:,} bars were seen by training or selection"
    if stage.seen:
        return f"other prices than in training; {stage.seen:,} of the bars are from the time that training saw"
    return "out of sample: neither training nor selection saw these bars"


def _rows(found: Evaluation) -> list[tuple[str, Result]]:
    others = found.others
    parts = [(f"  episode {number}", one) for number, one in enumerate(found.periods, 1)]
    return [
        ("policy", found.result),
        *(parts if len(parts) > 1 else []),
        ("buy and hold", others.buy_and_hold),
        ("random, median", others.random_median),
        ("flat", others.flat),
    ]


def _cells(one: Result) -> tuple[str, str, str, str]:
    sharpe = "-" if math.isnan(one.sharpe_ratio) else f"{one.sharpe_ratio:.2f}"
    return f"{one.total_return:+.1%}", sharpe, f"{one.max_drawdown:.1%}", str(one.trades)


def _better(found: Evaluation) -> int:
    return sum(found.result.total_return > one.total_return for one in found.others.random)


def _document(found: Evaluation, deterministic: bool) -> dict[str, Any]:
    return {
        "run_id": found.run_id,
        "parent_run_id": found.facts.run_id,
        "checkpoint": str(found.path),
        "iteration": found.facts.iteration,
        "deterministic": deterministic,
        **found.stage.facts(),
        "policy": vars(found.result),
        "episodes": [vars(one) for one in found.periods],
        "buy_and_hold": vars(found.others.buy_and_hold),
        "flat": vars(found.others.flat),
        "random": [vars(one) for one in found.others.random],
        "better_than_random": _better(found),
        "problems": found.lost,
    }
