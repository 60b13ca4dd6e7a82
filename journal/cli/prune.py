"""`journal prune`: remove journals whose rows in the database are final."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from journal.cli import mirrored, options
from journal.cli.lines import Lines, count_text, json_line, size_text
from journal.cli.opening import paths_of
from journal.console import DURATION, remark, work_without_output

# Imports inside functions load numpy or pyarrow, which `--help` does not need.


@click.command("prune", short_help="Remove journals of ended episodes.")
@options.targets
@click.option(
    "--older-than",
    required=True,
    type=DURATION,
    metavar="AGE",
    help="Only journals without a write for this long, for example 30d.",
)
@click.option("--yes", is_flag=True, help="Remove the files. Without it, only list them.")
@options.as_json
@options.root
def command(targets: tuple[str, ...], older_than: float, yes: bool, as_json: bool, journal_root: Path | None) -> int:
    """Remove journals whose rows in the database are final. Without --yes, only list them. Rows are never removed.

    The command keeps an open journal whose writer may be alive, a journal whose row is missing or not final (run
    `reconcile` first), and an unreadable file. It reports each reason. It also removes hidden files that killed programs
    left. A row cannot be checked after its journal is removed; `journal export` keeps the data.

    \b
    Examples:
      journal prune 20261122-120000 --older-than 30d
      journal prune 20261122-120000 --older-than 30d --yes
    """
    from journal.ops.prune import judge, litter, remove

    mirrored.refuse_mirror(journal_root, "prune", "remove whole runs in the store", targets)
    work_without_output()
    lines, kept, folders = Lines(), Counter[str](), set[Path]()
    gone, size = 0, 0
    for verdict in judge(paths_of(targets, journal_root), older_than):
        folders.add(verdict.path.parent)
        removed = not verdict.why and yes and remove(verdict)
        if as_json:
            facts = {"path": str(verdict.path), "may_go": not verdict.why, "why_not": verdict.why or None}
            lines.write(json_line({**facts, "size": verdict.size_bytes, "removed": bool(removed)}))
        if verdict.why:
            kept[verdict.why] += 1
            continue
        gone, size = gone + 1, size + verdict.size_bytes
        if not as_json:
            lines.write(f"{'removed' if removed else 'would remove'} {verdict.path}")
    for why, count in kept.most_common(10):
        remark(f"{count_text(count, 'journal')} kept: {why}")
    litters = [found for folder in sorted(folders) for found in litter(folder, older_than)]
    for path, _ in litters if yes else ():
        path.unlink(missing_ok=True)
    would = "" if yes else " would be removed; --yes removes them"
    remark(f"{count_text(gone, 'journal')}, {size_text(size)}{would}")
    if litters:
        files, taken = count_text(len(litters), "hidden file"), size_text(sum(size for _, size in litters))
        remark(f"{files} left by killed programs, {taken}{would}")
    return 0
