"""Keep the help texts in docs/cli.md as the programs print them: rewrites them, or with --check fails where they differ."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import click

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
# The text between the two fences is the program's. A block ends before the next comment or heading.
BLOCK = re.compile(r"(<!-- help: (?P<command>[a-z ]+) -->\n```text\n)(?:(?!<!--|\n#).)*?(\n```\n)", re.DOTALL)
PROGRAMS = {"journal": "journal.cli:command", "rsc": "rsc.cli:command", "reconcile": "reconciler.cli:command"}
WIDTH = 90


def help_text(words: list[str]) -> str:
    """What `WORDS --help` prints in a terminal of this width."""
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
    """The page with each program's own words."""
    return BLOCK.sub(lambda block: block[1] + help_text(block["command"].split()) + block[3], page)


def documented(page: str) -> set[str]:
    """The commands that the page shows."""
    return {block["command"] for block in BLOCK.finditer(page)}


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return 0 if renewed(page) == page and len(documented(page)) == page.count("<!-- help: ") else 1
    PAGE.write_text(renewed(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
