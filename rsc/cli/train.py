"""`rsc train`: parse the options, and call `rsc.rllib.train`, which trains."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from journal.console import Count, fail, work_without_output
from rsc import defaults
from rsc.cli import options

# Imports inside functions load SQLAlchemy or Ray, which `--help` does not need.


@click.command("train")
@click.option("--algo", type=click.Choice(["ppo", "dqn"]), default="ppo", show_default=True, help="RLlib's algorithm.")
@click.option("--ticker", help="A bundled symbol (AAPL, GOOG, IBM, MSFT), or one to fetch.  [default: MSFT]")
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="A file of prices, instead of --ticker. `rsc prices` shows what is read from it.",
)
@click.option("--symbol", help="The asset to read, if the file holds several.")
@click.option("--periods-per-year", type=float, help="Bars in a year.  [default: estimated from the times of the bars]")
@click.option("--iterations", type=Count(1), default=1, show_default=True, help="Rounds of training.")
@click.option(
    "--num-env-runners",
    type=Count(),
    default=2,
    show_default=True,
    help="Processes that sample. With 0, the main process samples.",
)
@click.option(
    "--num-envs-per-env-runner",
    type=Count(1),
    default=4,
    show_default=True,
    help="Envs in each env runner.",
)
@click.option(
    "--vectorised", is_flag=True, help="Compute all envs of an env runner with arrays: faster, with equal results."
)
@click.option("--train-batch-size", type=Count(32), default=3000, show_default=True, help="Steps per iteration.")
@click.option("--evaluation-interval", type=Count(1), help="Evaluate once in this many iterations.")
@click.option(
    "--batch-mode",
    type=click.Choice(["truncate_episodes", "complete_episodes"]),
    default="truncate_episodes",
    show_default=True,
    help="Sample by steps, or by whole episodes.",
)
@click.option(
    "--env-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON object with the keys of TradingConfig.",
)
@click.option(
    "--durability",
    type=click.Choice(["process", "checkpoint", "step"]),
    default=defaults.DURABILITY,
    show_default=True,
    help="What survives a power cut: nothing promised, steps up to the last checkpoint, or every step.",
)
@click.option("--save-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep the trained policy here.")
@click.option("--seed", type=Count(), help="The same seed gives the same run.")
@click.option("--run-id", help="Default: made from the time.")
@click.option(
    "--journal-root",
    type=click.Path(path_type=Path),
    help=f"Default: ${defaults.JOURNAL_VARIABLE}, else rsc-data/journal here.",
)
@options.database_url
@click.option("--reconcile", is_flag=True, help="At the end, run `reconcile` on this run.")
def command(**arguments: Any) -> int:
    """Train a strategy with RLlib, on bundled prices or your own.

    When training ends, RLlib drops the episodes that still run. The command then prints how many they are, and the
    `reconcile` command that ends them.

    \b
    Examples:
      rsc train --algo ppo --ticker MSFT --iterations 1 --num-env-runners 2
      rsc train --algo dqn --data bars.parquet --reconcile
    """
    work_without_output()
    if arguments["ticker"] and arguments["data"]:
        raise click.UsageError("give either --ticker or --data")
    if arguments["symbol"] and not arguments["data"]:
        raise click.UsageError("--symbol chooses an asset of the file that --data names")
    missing = [name for name in ("ray", "torch", "gymnasium", "talib") if find_spec(name) is None]
    if missing:
        fail(f"training needs {', '.join(missing)}", "pip install 'reinforce-strategy-creator[train]'")
    from rsc.rllib.train import TrainingPlan, train

    env_config = _env_config(arguments.pop("env_config"))
    data = arguments.pop("data")
    env_config.update({key: value for key, value in _market(arguments, data).items() if value is not None})
    return train(TrainingPlan(env_config=env_config, **arguments))


def _market(arguments: dict[str, Any], data: Path | None) -> dict[str, Any]:
    return {
        "ticker": arguments.pop("ticker"),
        "data": str(data.absolute()) if data else None,  # the run's row and its journals say which file it was
        "symbol": arguments.pop("symbol"),
        "periods_per_year": arguments.pop("periods_per_year"),
    }


def _env_config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{path} is not valid JSON: {error}")
    if not isinstance(settings, dict):
        fail(f"{path} does not contain a JSON object", 'expected for example {"fee": 0.001}')
    return settings
