"""What people type: an option that is ignored, a word that is misspelt, a name that is not UTF-8."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.processes import environment, no_traceback, run, said
from tests.attacks.records import Records, time_text
from tests.attacks.scene import Scene, until


@pytest.fixture(scope="module")
def played(shared_scene: Scene) -> Scene:
    """Run ``r1`` with a closed episode and its ended row, number 1."""
    shared_scene.shared.do(f"m = marker({str(shared_scene.root)!r}); m.close()")
    shared_scene.shared.do(f"w = begin({str(shared_scene.root)!r}, 'r1', 'j1'); steps(w, 30, trades=1); finish(w)")
    shared_scene.records.add_run("r1", shared_scene.root)
    shared_scene.records.add_episode("r1", "j1")
    shared_scene.reconcile("--grace", "0s")
    return shared_scene


def env_of(scene: Scene) -> dict[str, str | None]:
    return {"RSC_DATABASE_URL": scene.records.url}


def test_journal_info__number_and_root__looks_below_that_root(played: Scene) -> None:
    """The database knows where the journal was; the person says where it is now."""
    copy = played.folder / "moved"
    shutil.copytree(played.root, copy)
    done = run("journal", "info", "1", "--json", "--journal-root", copy, env=env_of(played))
    assert done.returncode == 0, said(done)
    assert json.loads(done.stdout)["path"].startswith(str(copy)), said(done)


def test_journal_info__number_and_a_root_without_it__fails(played: Scene) -> None:
    empty = played.folder / "empty"
    empty.mkdir()
    done = run("journal", "info", "1", "--json", "--journal-root", empty, env=env_of(played))
    assert done.returncode in (1, 2), said(done)


READS = {
    "json": None,
    "ndjson": b"{",
    "feather": b"ARROW1",
    "csv.gz": b"\x1f\x8b",
    "pq": b"PAR1",
    "parquet": b"PAR1",
    "xlsx": b"PK",
    "xls": b"\xd0\xcf",
    "npy": b"\x93NUMPY",
    "arrow": b"",
    "csv": b"step",
    "txt": b"",
    "CSV": b"step",
    "tar": None,
    "": None,
}


@pytest.mark.parametrize("suffix", READS)
def test_journal_cat__output_by_suffix__is_that_format_or_refused_by_name(played: Scene, suffix: str) -> None:
    """A file never holds another format than its name says, and never a table that was cut to 80 columns."""
    file = played.folder / f"out.{suffix}" if suffix else played.folder / "out"
    done = run("journal", "cat", "j1", "--journal-root", played.root, "-o", file)
    no_traceback(done)
    if done.returncode != 0:
        assert done.returncode == 2, said(done)
        assert not file.exists()
        assert "--format" in done.stderr or suffix in done.stderr, said(done)
        return
    data = file.read_bytes()
    assert len(data) > 100
    if suffix == "json":
        assert data.lstrip()[:1] == b"[", data[:60]
        assert len(json.loads(data)) == 31
    elif suffix not in ("txt", ""):
        expected = READS[suffix]
        assert expected is not None
        assert data.startswith(expected), data[:60]
        assert "EPISODE" not in data[:60].decode(errors="replace")
    if suffix in ("csv", "CSV"):
        assert data.decode().splitlines()[0].count(",") >= 12, "every column"


@pytest.mark.parametrize(
    "condition",
    ["state=runnin", "end=terminatd", "writer=aliv", "state>closed", "stat=open", "steps=many", "steps >", "state="],
)
def test_journal_ls__condition_that_can_never_hold__is_refused_by_name(played: Scene, condition: str) -> None:
    done = run("journal", "ls", "r1", "-w", condition, "--journal-root", played.root)
    assert done.returncode == 2, said(done)
    no_traceback(done)


@pytest.mark.parametrize("condition", ["state=closed", "state != open", "end=terminated", "steps > 3"])
def test_journal_ls__condition_that_holds__finds(played: Scene, condition: str) -> None:
    done = run("journal", "ls", "r1", "-q", "-w", condition, "--journal-root", played.root)
    assert (done.returncode, done.stdout.split()) == (0, ["j1"]), said(done)


@pytest.mark.parametrize("verb", ["verify", "ls", "stats", "du", "export", "prune", "plot"])
@pytest.mark.parametrize("folder", ["", "empty-folder", "r1/writers"])
def test_journal__folder_without_journals__is_no_success(played: Scene, verb: str, folder: str) -> None:
    """`journal verify -q DIR && echo intact` with a mistyped DIR. A run that has only begun is no mistake."""
    (played.root / "empty-folder").mkdir(exist_ok=True)
    more = {"export": ["-o", str(played.folder / "exported")], "prune": ["--older-than", "1d"]}.get(verb, [])
    done = run("journal", verb, played.root / folder, *more, "--journal-root", played.root)
    assert done.returncode == 1, said(done)
    assert ("the folder of all runs" if not folder else "has no journals") in done.stderr, said(done)
    no_traceback(done)


def test_journal_export__into_the_folder_of_all_runs__is_refused(played: Scene) -> None:
    """It would be listed as a run."""
    done = run("journal", "export", "r1", "-o", played.root / "exp", "--journal-root", played.root)
    assert done.returncode == 2, said(done)
    assert not (played.root / "exp").exists()


HUGE = "9" * 23
COUNTS = {
    "cat": ("journal", "cat", "j1", "-n", HUGE),
    "head": ("journal", "head", "j1", "-n", HUGE),
    "tail": ("journal", "tail", "j1", "-n", HUGE),
    "ls": ("journal", "ls", "r1", "-n", HUGE),
    "plot": ("journal", "plot", "r1", "--limit", HUGE),
    "status": ("reconciler", "status", "--passes", HUGE),
    "processes": ("reconciler", "--all", "--processes", HUGE),
    "seed": ("rsc", "train", "--seed", HUGE),
}


@pytest.mark.parametrize("name", COUNTS)
def test_count__beyond_64_bits__is_refused(played: Scene, name: str) -> None:
    module, *words = COUNTS[name]
    more = ["--journal-root", str(played.root)] if module == "journal" else []
    done = run(module, *words, *more, env=env_of(played))
    no_traceback(done)
    assert done.returncode == 2, said(done)


@pytest.mark.parametrize("path", ["/dev/zero", "/proc", "/"])
def test_rsc_prices__what_is_no_file_of_prices__is_refused_in_one_line(path: str) -> None:
    done = run("rsc", "prices", path)
    no_traceback(done)
    assert done.returncode == 1, said(done)
    assert len(done.stderr.splitlines()) == 1


IGNORED = {
    "metrics port": ["--all", "--metrics-port", "9999"],
    "metrics address": ["--all", "--metrics-address", "0.0.0.0"],
    "deadline": ["--all", "--deadline", "1s"],
    "every and cron": ["--all", "--every", "1s", "--cron", "* * * * *"],
    "every and json": ["--all", "--every", "1s", "--json"],
    "every and dry run": ["--all", "--every", "1s", "--dry-run"],
    "every and wait": ["--all", "--every", "1s", "--wait", "5s"],
    "every and processes": ["--all", "--every", "1s", "--processes", "2"],
    "every and rebuild": ["--all", "--every", "1s", "--rebuild"],
    "audit and rebuild": ["--all", "--audit", "--rebuild"],
    "audit and every": ["--all", "--audit", "--every", "1s"],
    "audit and assume dead": ["--all", "--audit", "--assume-dead"],
    "audit and wait": ["--all", "--audit", "--wait", "5s"],
    "run id and all": ["--all", "--run-id", "r1"],
    "neither": [],
    "status and pass": ["--all", "status"],
    "status and wait": ["--wait", "3s", "status"],
}


@pytest.mark.parametrize("kind", IGNORED)
def test_reconcile__options_that_do_not_go_together__are_refused(played: Scene, kind: str) -> None:
    """An option that would be ignored is a misunderstanding: exit 2, one line, and nothing done."""
    before = played.records.passes()
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "--database-url", played.records.url, *IGNORED[kind]],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        until(lambda: process.poll() is not None or played.records.passes() != before, what="an exit or a pass")
        assert played.records.passes() == before
    finally:
        process.kill()
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2, stderr
    assert "Traceback" not in stderr


def test_reconcile__dry_run_and_rebuild__writes_nothing(played: Scene) -> None:
    new = played.folder / "dry.db"
    url = f"sqlite:///{new}"
    no_traceback(
        run("reconciler", "--all", "--dry-run", "--rebuild", "--journal-root", played.root, "--database-url", url)
    )
    if new.exists() and Records(url).sql("SELECT name FROM sqlite_master WHERE name = 'training_runs'"):
        assert Records(url).sql("SELECT * FROM training_runs") == []


@pytest.mark.parametrize("module", ["rsc", "journal", "reconciler"])
def test_version__every_command_line_tells_it(module: str) -> None:
    done = run(module, "--version")
    assert done.returncode == 0, said(done)
    assert any(letter.isdigit() for letter in done.stdout), said(done)


def test_root__names_that_are_not_utf8__are_told_and_stop_nothing(played: Scene) -> None:
    """Folders and files that other programs left; they can be no runs and no journals."""
    root = played.folder / "odd-root"
    shutil.copytree(played.root, root)
    strange = os.fsencode(root)
    os.mkdir(strange + b"/caf\xe9")
    Path(os.fsdecode(strange + b"/caf\xe9/j.arrows")).write_bytes(b"x")
    Path(os.fsdecode(strange + b"/r1/\xff\xfe.arrows")).write_bytes(b"x")
    Path(os.fsdecode(strange + b"/r1/\xff.tail")).write_bytes(b"x")
    Path(os.fsdecode(strange + b"/\xff")).write_bytes(b"x")
    for words in (
        ["ls"],
        ["ls", "r1"],
        ["du"],
        ["verify", "r1"],
        ["stats", "r1"],
        ["info", "latest"],
        ["ls", "--json"],
    ):
        done = run("journal", *words, "--journal-root", root, env={"PYTHONIOENCODING": "utf-8"})
        no_traceback(done)
        assert done.returncode in (0, 3), said(done)
    done = played.reconcile("--journal-root", root)
    assert done.returncode in (0, 1, 3), said(done)
    rebuilt = run(
        "reconciler", "--all", "--rebuild", "--journal-root", root,
        "--database-url", f"sqlite:///{played.folder}/rebuilt.db", "--grace", "0s",
    )  # fmt: skip
    no_traceback(rebuilt)
    assert len(Records(f"sqlite:///{played.folder}/rebuilt.db").episodes()) == 1


def test_root__its_own_name_is_not_utf8__works_or_is_refused_in_one_line(played: Scene) -> None:
    root = Path(os.fsdecode(os.fsencode(played.folder) + b"/r\xe9pertoire"))
    shutil.copytree(played.root, root)
    listed = run("journal", "ls", "r1", "--journal-root", root)
    no_traceback(listed)
    assert listed.returncode == 0, said(listed)
    done = played.reconcile("--journal-root", root)
    no_traceback(done)
    new = played.folder / "odd.db"
    rebuilt = run("reconciler", "--all", "--rebuild", "--journal-root", root, "--database-url", f"sqlite:///{new}")
    no_traceback(rebuilt)


def test_database__its_path_has_spaces_percent_and_umlauts__works(played: Scene) -> None:
    file = played.folder / "my däta 100%" / "rsc.db"
    file.parent.mkdir()
    done = run("rsc", "db", "upgrade", "--database-url", f"sqlite:///{file}")
    assert done.returncode == 0, said(done)
    assert file.exists(), said(done)
    assert run("rsc", "runs", "--database-url", f"sqlite:///{file}").returncode == 0


def test_rebuild__episode_numbers_change__is_documented(played: Scene) -> None:
    """Numbers are the database's own: where a rebuilt one gives others, the page on rebuilding says so."""
    records = played.records
    writer = played.shared
    for name in ("z-first", "a-second"):
        writer.do(f"w = begin({str(played.root)!r}, 'r1', {name!r}); steps(w, 3); finish(w)")
        records.add_episode("r1", name)
    before = {row["journal_id"]: row["episode_id"] for row in records.episodes()}
    new = played.folder / "renumbered.db"
    run(
        "reconciler",
        "--all",
        "--rebuild",
        "--journal-root",
        played.root,
        "--database-url",
        f"sqlite:///{new}",
        "--grace",
        "0s",
    )
    after = {row["journal_id"]: row["episode_id"] for row in Records(f"sqlite:///{new}").episodes()}
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    section = page.read_text(encoding="utf-8").split("## Losing the database")[1].split("\n## ")[0]
    assert before == after or "episode number" in section or "`episode_id`" in section


def test_check__nothing_to_prove__is_no_success(shared_scene: Scene, folder: Path, template: Path) -> None:
    """A run without any episode, while closed journals lie in its folder: the record is not complete."""
    records = Records.copy_of(template, folder / "rsc.db")
    root = folder / "journal"
    shared_scene.shared.do(f"w = begin({str(root)!r}, 'r1', 'j1'); steps(w, 3); finish(w)")
    records.add_run("r1", root, status="completed", end_time=time_text())
    done = run("rsc", "check", "r1", "--database-url", records.url)
    assert done.returncode == 1, said(done)
    assert "reconcile" in said(done), said(done)
    done = run("reconciler", "--run-id", "r1", "--database-url", records.url, "--grace", "0s")
    assert done.returncode == 0, said(done)
    done = run("rsc", "check", "r1", "--database-url", records.url)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize("status", ["running", "interrupted", "error", "completed"])
def test_check__run_without_episodes_and_without_journals__exits_1(folder: Path, template: Path, status: str) -> None:
    """A training that crashed before its first episode is not complete."""
    records = Records.copy_of(template, folder / "rsc.db")
    records.add_run("r1", folder / "journal", status=status)
    done = run("rsc", "check", "r1", "--database-url", records.url)
    assert done.returncode == 1, said(done)


def test_check__one_journal_of_many_has_no_row__exits_1_and_counts_it(
    shared_scene: Scene, folder: Path, template: Path
) -> None:
    records = Records.copy_of(template, folder / "rsc.db")
    root = folder / "journal"
    for name in ("j1", "j2"):
        shared_scene.shared.do(f"w = begin({str(root)!r}, 'r1', {name!r}); steps(w, 3, trades=1); finish(w)")
    records.add_run("r1", root, status="completed", end_time=time_text())
    records.add_episode("r1", "j1")
    run("reconciler", "--run-id", "r1", "--database-url", records.url, "--grace", "0s")
    records.sql(
        "DELETE FROM completed_trades WHERE episode_id = (SELECT episode_id FROM episodes WHERE journal_id = 'j2')"
    )
    records.sql("DELETE FROM episodes WHERE journal_id = 'j2'")
    done = run("rsc", "check", "r1", "--database-url", records.url)
    assert done.returncode == 1, said(done)
