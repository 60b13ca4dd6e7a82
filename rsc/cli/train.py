"""`rsc train`: parse the options, and call `rsc.rllib.train`, which trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from journal.console import DURATION, Count, fail, log_format, remark, work_without_output
from rsc import defaults
from rsc.cli import options

# Imports inside functions load SQLAlchemy or Ray, which `--help` does not need.


@click.command("train")
@click.option("--algo", type=click.Choice(["ppo", "dqn"]), default="ppo", show_default=True, help="RLlib's algorithm.")
@click.option(
    "--ticker",
    type=options.Ticker(),
    help="A bundled symbol (AAPL, GOOG, IBM, MSFT), or one to download.  [default: MSFT]",
)
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="A file of prices, instead of --ticker. `rsc prices` shows how it is read.",
)
@click.option("--symbol", help="The asset to read, if the file holds several.")
@click.option("--periods-per-year", type=float, help="Bars in a year.  [default: estimated from the times of the bars]")
@click.option("--iterations", type=Count(1), default=1, show_default=True, help="Training iterations.")
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
    help="What survives a power cut: no promise, steps up to the last checkpoint, or every step.",
)
@click.option(
    "--train-until",
    metavar="DATE",
    help="The last day of the training bars.  [default: end_date of the env config, or the last of the prices]",
)
@click.option(
    "--validate-until", metavar="DATE", help="Select the best policy on the bars after --train-until up to this day."
)
@click.option("--no-save", "save", flag_value=False, default=True, type=bool, help="Do not save the policy.")
@click.option(
    "--save-every",
    type=Count(1),
    default=defaults.SAVE_EVERY_ITERATIONS,
    show_default=True,
    metavar="N",
    help="Save the policy every N iterations, at the end, and on Ctrl-C.",
)
@click.option(
    "--resume",
    metavar="RUN",
    type=options.PolicyRun(),
    help="Continue from the last saved policy of this run, as a new run.",
)
@click.option("--seed", type=Count(), help="The same seed gives the same run.")
@click.option("--run-id", help="Default: made from the time.")
@options.journal_root
@options.policy_root
@options.database_url
@click.option(
    "--mirror",
    metavar="URL",
    help=f"Copy the journals to an object store or a folder while they are written.  [default: ${defaults.MIRROR_VARIABLE}]",
)
@click.option(
    "--mirror-every",
    type=DURATION,
    default=f"{defaults.MIRROR_EVERY_S:g}s",
    show_default=True,
    metavar="DURATION",
    help="Time between two copies to the mirror.",
)
@click.option(
    "--ray",
    metavar="auto|ADDRESS",
    help="Train on this Ray cluster instead of starting a Ray on this machine.",
)
@click.option("--reconcile", is_flag=True, help="At the end, run `reconcile` on this run.")
@log_format
def command(**arguments: Any) -> int:
    """Train a strategy with RLlib, on bundled prices or your own.

    When training ends, RLlib drops the episodes that are still running. The command then prints their number, and the
    `reconcile` command that ends them.

    The policy is saved under rsc-data/policies; `rsc evaluate RUN` plays it. --resume keeps algorithm, prices,
    dates, env and batch size of the resumed run. Other options can be given with it.

    \b
    Examples:
      rsc train --algo ppo --ticker MSFT --iterations 1 --num-env-runners 2
      rsc train --train-until 2010-01-01 --validate-until 2011-06-01
      rsc train --resume latest --iterations 20
      rsc train --algo dqn --data bars.parquet --reconcile
    """
    work_without_output()
    _require_resumable(arguments)
    if arguments["ticker"] and arguments["data"]:
        raise click.UsageError("give either --ticker or --data")
    if arguments["symbol"] and not arguments["data"]:
        raise click.UsageError("--symbol chooses an asset of the file that --data names")
    options.require_training("training")
    env_config = _env_config(arguments.pop("env_config"))
    data = arguments.pop("data")
    env_config.update({key: value for key, value in _market(arguments, data).items() if value is not None})
    _require_valid(env_config, arguments)
    remark("reading prices" if not arguments["resume"] else "reading policy and prices")
    from rsc.rllib.configs import TrainingPlan
    from rsc.rllib.train import train

    return train(TrainingPlan(env_config=env_config, changes=_changes(arguments), **arguments))


_WITH_RESUME = (
    "num_env_runners", "num_envs_per_env_runner", "vectorised", "evaluation_interval", "batch_mode", "durability",
    "save", "save_every", "seed",
)  # fmt: skip
_ANEW = ("resume", "iterations", *defaults.OF_EACH_TRAINING)


def _given() -> set[str]:
    """Return the options that the user gave."""
    context = click.get_current_context()
    source = context.get_parameter_source
    return {name for name in context.params if source(name) is click.core.ParameterSource.COMMANDLINE}


def _require_resumable(arguments: dict[str, Any]) -> None:
    """Refuse options that a resumed training takes from its parent. Without --iterations it does the remaining ones."""
    if arguments["resume"] is None:
        return
    other = sorted(_given() - {*_WITH_RESUME, *_ANEW})
    if other:
        raise click.UsageError(
            f"--resume continues with the options of its run, so --{other[0].replace('_', '-')} cannot be given; train a new"
            " run to change it"
        )
    if "iterations" not in _given():
        arguments["iterations"] = 0


def _changes(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the options that replace those of the run to resume."""
    return {name: arguments[name] for name in _given().intersection(_WITH_RESUME)} if arguments["resume"] else {}


def _require_valid(env_config: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Check settings and dates before anything slow is imported."""
    import warnings

    from rsc.policies.dates import Split
    from rsc.trading.config import TradingConfig

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings are printed when the prices are read
        TradingConfig.of(env_config)
    split = Split(arguments["train_until"], arguments["validate_until"])
    problem = split.problem()
    if problem:
        raise click.UsageError(problem)
    if split.validate_until and not arguments["save"]:
        raise click.UsageError(
            "--validate-until selects a policy to save, and --no-save saves none; leave one of them out"
        )
    for name, limit in (("--train-until", split.train_until), ("--validate-until", split.validate_until)):
        if limit and env_config.get("end_date") and str(env_config["end_date"])[:10] < limit:
            raise click.UsageError(
                f"{name} {limit} is later than the end_date of --env-config, {env_config['end_date']}"
            )


def _market(arguments: dict[str, Any], data: Path | None) -> dict[str, Any]:
    return {
        "ticker": arguments.pop("ticker"),
        "data": str(data.absolute()) if data else None,  # the run's row and its journals record the file
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
