"""The `rsc` program. Each verb's module is imported when the verb is called."""

from __future__ import annotations

import click

from journal.console import LazyGroup, run_main

_EXAMPLES = """
\b
Examples:
  rsc prices bars.csv
  rsc train --algo ppo --ticker MSFT --iterations 1 --num-env-runners 2
  rsc check 20261122-120000-1a2b3c
  rsc evaluate latest
  rsc runs
  rsc episodes latest --sort -pnl --limit 10
  rsc report latest -o run.html
  rsc ui
  rsc export latest --to mlflow
  rsc doctor
"""


@click.group(
    cls=LazyGroup,
    verbs={
        "prices": "rsc.cli.prices:command",
        "train": "rsc.cli.train:command",
        "evaluate": "rsc.cli.evaluate:command",
        "compare": "rsc.cli.compare:command",
        "check": "rsc.cli.check:command",
        "runs": "rsc.cli.runs:command",
        "episodes": "rsc.cli.episodes:command",
        "report": "rsc.cli.report:command",
        "ui": "rsc.cli.ui:command",
        "export": "rsc.cli.export:command",
        "relocate": "rsc.cli.relocate:command",
        "db": "rsc.cli.db:command",
        "doctor": "rsc.cli.doctor:command",
    },
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="reinforce-strategy-creator")
def command() -> None:
    """Train trading strategies with RLlib, and keep a complete record of every episode."""


def main() -> None:
    """Run the program."""
    run_main(command)
