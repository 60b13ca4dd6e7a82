"""The `journal` program. Each verb's module is imported when the verb is called."""

from __future__ import annotations

import os

import click

from journal.console import LazyGroup, run_main

_EXAMPLES = """
\b
Examples:
  journal ls                                   the runs
  journal ls 20261122-120000                   the episodes of a run, by the beginning of its id
  journal info latest                          one episode: identity, metrics so far, findings
  journal cat 42 --where 'reward < -0.05'      rows, by the database's episode number
  journal tail -f latest                       follow a live episode
  journal plot latest -o episode.png           equity, drawdown, position, reward

\b
Completion, for bash (zsh and fish likewise):
  eval "$(_JOURNAL_COMPLETE=bash_source journal)"
"""

VERBS = (
    "ls",
    "info",
    "cat",
    "head",
    "tail",
    "verify",
    "recover",
    "plot",
    "export",
    "stats",
    "du",
    "schema",
    "diff",
    "prune",
    "mirror",
)


@click.group(
    cls=LazyGroup,
    verbs={verb: f"journal.cli.{verb}:command" for verb in VERBS},
    epilog=_EXAMPLES,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "color": False if os.environ.get("NO_COLOR") else None,
    },
)
@click.version_option(package_name="reinforce-strategy-creator")
def command() -> None:
    """Inspect the journals of episodes: finished, running, torn or damaged.

    Name an episode by the path of its journal, its id or the start of it, `latest`, its number in the database, or its
    URL in a mirror (s3://BUCKET/PREFIX/RUN/EPISODE).
    Results go to stdout, messages to stderr.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 data was lost or unreadable, 130 interrupted.
    """


def main() -> None:
    """Run the program."""
    run_main(command)
