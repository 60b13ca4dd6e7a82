"""Write the programs' help texts into docs/cli.md, or with --check fail if the page differs."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
from pages import renew

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
# The program prints the text between the two fences. A block ends before the next comment or heading.
BLOCK = re.compile(r"(<!-- help: (?P<command>[a-z ]+) -->\n```text\n)(?:(?!<!--|\n#).)*?(\n```\n)", re.DOTALL)
PROGRAMS = {"journal": "journal.cli:command", "rsc": "rsc.cli:command", "reconcile": "reconciler.cli:command"}
WIDTH = 90


def help_text(words: list[str]) -> str:
    """Return the output of a command's `--help` in a terminal of width `WIDTH`."""
    module, _, attribute = PROGRAMS[words[0]].partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, info_name=words[0], **settings)
    for word in words[1:]:
        assert isinstance(command, click.Group), f"{words} is no command"
        found = command.get_command(context, word)
        assert found is not None, f"{words} is no command"
        command, context = found, click.Context(found, context, info_name=word, terminal_width=WIDTH)
    lines = (line.rstrip() for line in command.get_help(context).splitlines())
    return "\n".join(lines)


def renewed(page: str) -> str:
    """Return the page with the current help texts.

    Raises:
        ValueError: A block of help is not closed, or occurs twice.
    """
    if len(documented(page)) != page.count("<!-- help: "):
        raise ValueError("a block of help is not closed, or is there twice")
    return BLOCK.sub(lambda block: block[1] + help_text(block["command"].split()) + block[3], page)


def documented(page: str) -> set[str]:
    """Return the commands whose help the page shows."""
    return {block["command"] for block in BLOCK.finditer(page)}


if __name__ == "__main__":
    raise SystemExit(renew(PAGE, renewed))
