"""`journal du`: show the disk space of runs by kind of file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import click

from journal.cli import mirrored, options
from journal.cli.lines import Lines, json_line, size_text
from journal.format.schema import FAILED_SUFFIX, STREAM_SUFFIX, TAIL_SUFFIX
from journal.host.paths import list_runs
from journal.inspect.find import find_target
from journal.inspect.find import journal_root as root_of

_BLOCK = 512  # st_blocks counts units of 512 bytes on every file system


@dataclass
class Usage:
    """A folder's bytes on disk by kind of file, and their apparent size. ``other``: leases, marker, unfinished files."""

    run: str
    episodes: int = 0
    streams: int = 0
    tails: int = 0
    failed: int = 0
    other: int = 0
    apparent: int = 0

    @property
    def on_disk(self) -> int:
        return self.streams + self.tails + self.failed + self.other

    def add(self, other: Usage) -> None:
        """Add another usage."""
        for field in fields(self)[1:]:
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@click.command("du", short_help="Show the disk space of runs.")
@click.argument("targets", nargs=-1, metavar="[RUN]...", type=options.JournalName("target", runs=True))
@options.as_json
@options.root
def command(targets: tuple[str, ...], as_json: bool, journal_root: Path | None) -> int:
    """Show the disk space of runs: streams, tails (kept while an episode runs, or after its writer died), other files.

    Sizes are bytes allocated on disk; a tail allocates more than it holds. For single episodes use
    `journal ls RUN --sort size`.

    \b
    Example: journal du
    """

    mirrored.refuse_mirror(journal_root, "du", "`journal ls` shows the sizes", targets)
    root = root_of(journal_root)
    folders = [find_target(name, journal_root).folder for name in targets] or [
        root / run for run in sorted(list_runs(root))
    ]
    lines, total = Lines(), Usage("total")
    width = max([len(folder.name) for folder in folders] + [5])
    if not as_json:
        lines.write(f"{'RUN':<{width}} {'EPISODES':>8} {'STREAMS':>8} {'TAILS':>8} {'OTHER':>8} {'ON DISK':>8}")
    for usage in map(usage_of, folders):
        total.add(usage)
        lines.write(json_line({**vars(usage), "on_disk": usage.on_disk}) if as_json else _line(usage, width))
    if not as_json and len(folders) > 1:
        lines.write(_line(total, width))
    return 0


def _line(usage: Usage, width: int) -> str:

    sizes = (usage.streams, usage.tails + usage.failed, usage.other, usage.on_disk)
    return f"{usage.run:<{width}} {usage.episodes:>8} " + " ".join(f"{size_text(size):>8}" for size in sizes)


def usage_of(folder: Path) -> Usage:
    """Add up a run's files. Files that vanish meanwhile are skipped."""
    usage = Usage(folder.name)
    for entry in _files(folder):
        try:
            state = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        size = state.st_blocks * _BLOCK
        usage.apparent += state.st_size
        suffix = "" if entry.name.startswith(".") else os.path.splitext(entry.name)[1]
        if suffix == STREAM_SUFFIX:
            usage.episodes += 1
            usage.streams += size
        elif suffix == TAIL_SUFFIX:
            usage.tails += size
        elif suffix == FAILED_SUFFIX:
            usage.failed += size
        else:
            usage.other += size
    return usage


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry
