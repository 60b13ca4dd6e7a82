"""`journal du`, `schema` and `diff`; completion; and what all verbs have in common."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from journal import EndReason
from journal.cli import VERBS
from journal.cli.schema import STEPS, TRADES
from journal.format.schema import STEP_COLUMNS, TRADE_COLUMNS
from tests.journal.cli.world import RUN, World, play, run, writer

PROGRAM = [sys.executable, "-c", "from journal.cli import main; main()"]


def test_du__run__adds_up_what_the_disk_gives(world: World):
    usage = world.run("du", RUN, "--json").ndjson()[0]
    blocks = sum(file.lstat().st_blocks * 512 for file in (world.root / RUN).rglob("*") if file.is_file())
    assert usage["on_disk"] == blocks
    assert usage["episodes"] == 15
    assert usage["tails"] > 0
    assert world.run("du").lines[1].split()[0] == RUN


def test_schema__every_column_of_the_format__is_explained(world: World):
    assert STEPS.keys() == STEP_COLUMNS.keys()
    assert TRADES.keys() == TRADE_COLUMNS.keys()
    assert max(len(line) for line in run("schema").lines) <= 80
    columns = world.run("schema", "extra", "--json").json()["steps"]
    assert [column["name"] for column in columns][-3:] == ["spread", "rsi", "trades"]


def test_diff__equal_episodes__are_the_same(world: World):
    result = world.run("diff", "finished", "footer")
    assert (result.code, result.lines[-1]) == (0, "the same in 300 steps")
    assert world.run("diff", "finished", "footer", "--wall-time").code == 1


def test_diff__first_differing_step__and_its_values(tmp_path: Path):
    def episode(name: str, price: float) -> None:
        journal = writer(tmp_path, name)
        for step in range(1, 101):
            journal.append(0.0, 0.0, 1e4, price if step >= 70 else 5.0, 1e4, 0.0, 0.0, float("nan"), step, False, False)
        journal.close(EndReason.CLOSED)

    episode("left", 5.0)
    episode("right", 5.5)
    found = run("diff", "left", "right", "--json", "--journal-root", tmp_path).json()
    assert (found["first_step"], found["first"], found["counts"]) == (70, {"price": [5.0, 5.5]}, {"price": 31})
    assert run("diff", "left", "right", "--tolerance", "0.6", "--journal-root", tmp_path).code == 0


def test_diff__times__are_told_as_times(tmp_path: Path):
    for name, first in (("a", 1_500_000_000_000_000), ("b", 1_500_000_000_000_001)):
        journal = writer(tmp_path, name)
        journal.append(0.0, 0.0, 1e4, 5.0, 1e4, 0.0, 0.0, float("nan"), first, False, False)
        journal.close(EndReason.CLOSED)
    told = run("diff", "a", "b", "--journal-root", tmp_path).out
    assert "2017-07-14 02:40:00 2017-07-14 02:40:00.000001" in " ".join(told.split())


def test_diff__lengths_holes_and_columns__are_told(world: World):
    found = world.run("diff", "finished", "killed", "--json").json()
    assert (found["only_left"], found["only_right"], found["first_step"]) == (90, 0, 202)
    found = world.run("diff", "finished", "flipped", "--json").json()
    assert (found["only_left"], found["steps_compared"], found["trades_differ"]) == (59, 241, 5)
    assert found["first_step"] is None
    assert world.run("diff", "finished", "extra", "--json").json()["columns_right"] == ["spread", "rsi"]
    assert world.run("diff", "flipped", "flipped").code == 3


def complete(world: World, *words: str) -> list[str]:
    given = {
        **os.environ,
        "_JOURNAL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("journal", *words)),
        "COMP_CWORD": str(len(words)),
        "RSC_JOURNAL_ROOT": str(world.root),
    }
    program = ["import sys; sys.argv[0] = 'journal'; from journal.cli import main; main()"]
    done = subprocess.run(
        [sys.executable, "-c", *program], env=given, capture_output=True, text=True, timeout=60, check=False
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_completion__names__are_verbs_runs_and_episodes(world: World):
    assert complete(world, "re") == ["recover"]
    assert complete(world, "ls", "run") == [RUN]
    assert complete(world, "info", "flip") == ["flipped_end", "flipped"]
    assert complete(world, "info", "late") == ["latest"]
    assert complete(world, "cat", "--format", "par") == ["parquet"]
    assert complete(world, "info", "run-1/flip") == ["run-1/flipped_end", "run-1/flipped"]
    assert complete(world, "info", "nix/flip") == ["nix/flip"]  # of type file: the shell goes on


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion__each_shell__has_its_script(shell: str):
    program = "import sys; sys.argv[0] = 'journal'; from journal.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "_JOURNAL_COMPLETE": f"{shell}_source"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert f"{shell}_complete" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_verbs__help__has_an_example_and_is_in_the_list(verb: str):
    result = run(verb, "--help")
    assert result.code == 0
    assert "Example" in result.out
    assert f"\n  {verb} " in run("--help").out
    assert max(len(line) for line in run("--help").lines) <= 100


@pytest.mark.parametrize("verb", VERBS)
def test_verbs__start__import_nothing_heavy(verb: str):
    """Half a second is the most that a start may cost; what a verb needs it imports when it runs."""
    heavy = ("pyarrow", "matplotlib", "rich.console", "sqlalchemy", "pandas", "click.testing")
    code = f"import sys, journal.cli.{verb}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", RUN), ("info", "finished"), ("cat", "finished"), ("tail", "finished"), ("verify", RUN), ("plot", RUN),
        ("stats", RUN), ("du", RUN),
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_verbs__on_a_terminal__no_color_is_obeyed(world: World, arguments: tuple[str, ...]):
    """A pseudo terminal, 80 columns wide: no escape sequence, no line beyond."""
    import pty

    given = {**os.environ, "NO_COLOR": "1", "COLUMNS": "80", "TERM": "xterm-256color"}
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [*PROGRAM, *arguments, "--journal-root", str(world.root)], stdout=slave, stderr=subprocess.DEVNULL, env=given
    )
    os.close(slave)
    data = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side has gone
            break
        if not piece:
            break
        data += piece
    os.close(master)
    child.wait(timeout=60)
    text = data.decode()
    assert text
    assert "\x1b" not in text
    long = [line for line in text.splitlines() if len(line) > 80 and str(world.root) not in line]
    assert long == []


@pytest.mark.parametrize("verb", ["info", "cat", "head", "tail", "verify", "plot", "schema"])
def test_verbs__file_that_may_not_be_read__one_clear_line(verb: str, tmp_path: Path):
    (tmp_path / RUN).mkdir()
    (tmp_path / RUN / "folder.arrows").mkdir()
    (tmp_path / RUN / "link.arrows").symlink_to(tmp_path / "elsewhere")
    result = run(verb, tmp_path / RUN / "link.arrows")
    assert (result.code, result.out == "" or verb == "verify") == (3 if verb == "verify" else 1, True)
    assert "Traceback" not in result.err


def test_verbs__journal_of_a_newer_format__says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import journal.write.writer

    monkeypatch.setattr(journal.write.writer, "FORMAT_VERSION", 99)
    path = play(writer(tmp_path, "newer"), 20, end=EndReason.CLOSED).path
    monkeypatch.undo()
    for verb in ("info", "cat", "tail", "plot"):
        result = run(verb, path)
        assert result.code == 1
        assert "format version 99" in result.err


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A journal whose disk filled up at step 101."""
    journal = play(writer(tmp_path, "failed"), 100)

    def full(data: bytes) -> int:
        raise OSError(28, "No space left on device")

    journal._put = full
    play(journal, 5)
    assert journal.failure is not None
    path = journal.path
    del journal
    gc.collect()
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ls"], "failed"),
        (["info"], "failed"),
        (["cat"], "a write failed after step 100"),
        (["tail"], "later steps are lost, number unknown"),
        (["tail", "-f"], "a write of it failed after step 100; no more rows will come"),
        (["verify"], "failed     failed: 100 steps"),
        (["plot"], "failed"),
        (["stats"], "failed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_verbs__failed_journal__say_so_and_read_what_is_there(failed: Path, arguments: list[str], says: str):
    result = run(arguments[0], failed, *arguments[1:])
    assert says in result.out + result.err
    assert result.code == 3


def test_recover__failed_journal__keeps_its_rows_and_notes_the_failure(failed: Path, tmp_path: Path):
    from journal import read_journal

    result = run("recover", failed, "-o", tmp_path)
    assert result.code == 3
    assert "failed  a write failed; later steps are lost" in result.out
    made = read_journal(tmp_path / "failed.arrows")
    assert made.step_count == 100
    assert made.header.about.notes["recovered"]["write_failed"] is True
    assert "of which a write failed: later steps are unknown" in run("verify", made.path).out
