"""`journal recover`: each kind of damage in each mode; what it makes verifies, and says what it gave up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from journal import RunMarker, read_journal
from rsc.metrics import figures
from tests.journal.cli.world import RUN, World, flip, play, run, writer

# kind -> steps kept, exit code, for strict (None: refused), prefix and salvage
KEPT = {
    "finished": ((300, 0), (300, 0), (300, 0)),
    "footer": ((300, 0), (300, 0), (300, 0)),
    "nosteps": ((0, 0), (0, 0), (0, 0)),
    "extra": ((100, 0), (100, 0), (100, 0)),
    "killed": ((210, 0), (210, 0), (210, 0)),
    "torn": ((209, 0), (209, 0), (209, 0)),
    "cut": ((176, 0), (176, 0), (176, 0)),
    "live": ((100, 0), (100, 0), (100, 0)),
    "flipped": (None, (59, 3), (241, 3)),
    "flipped_end": (None, (294, 3), (294, 3)),
}
CASES = [
    (kind, mode, kept)
    for kind, by_mode in KEPT.items()
    for mode, kept in zip(("strict", "prefix", "salvage"), by_mode, strict=True)
]


@pytest.mark.parametrize(("kind", "mode", "kept"), CASES)
def test_recover__any_kind_in_any_mode__makes_what_verifies(
    world: World, tmp_path: Path, kind: str, mode: str, kept: tuple[int, int] | None
):
    result = world.run("recover", kind, "--mode", mode, "-o", tmp_path)
    if kept is None:
        assert result.code == 1
        assert "use --mode prefix or --mode salvage" in result.err
        assert list(tmp_path.iterdir()) == []
        return
    code = 3 if kind == "cut" else kept[1]  # its tail is missing, and nobody knows what stood there
    assert (result.code, [file.name for file in tmp_path.iterdir()]) == (code, [f"{kind}.arrows"])
    assert ("lost    at least" in result.out) == (kind == "cut")
    made = read_journal(tmp_path / f"{kind}.arrows")
    assert made.step_count == kept[0]
    assert run("verify", made.path, "--deep").code == 0
    source = read_journal(world.path(kind)).steps()
    assert made.steps().equals(source.slice(0, made.step_count) if mode == "prefix" else source)


@pytest.mark.parametrize("kind", ["finished", "killed", "torn", "flipped", "flipped_end", "live"])
def test_recover__salvage__keeps_the_metrics_bit_for_bit(world: World, tmp_path: Path, kind: str):
    world.run("recover", kind, "-o", tmp_path)
    assert figures(read_journal(tmp_path / f"{kind}.arrows")) == figures(read_journal(world.path(kind)))


def test_recover__undamaged__keeps_the_end_and_an_end_that_was_cut_off_is_not_invented(world: World, tmp_path: Path):
    for kind, end in (("finished", "terminated"), ("flipped_end", "terminated"), ("killed", None)):
        world.run("recover", kind, "-o", tmp_path)
        assert read_journal(tmp_path / f"{kind}.arrows").end_reason == end
    world.run("recover", "flipped", "--mode", "prefix", "-o", tmp_path)
    assert read_journal(tmp_path / "flipped.arrows").end_reason is None


def test_recover__with_holes__verify_knows_the_old_loss_and_still_sees_a_new_one(world: World, tmp_path: Path):
    world.run("recover", "flipped", "-o", tmp_path)
    made = tmp_path / "flipped.arrows"
    row = run("verify", made, "--json").ndjson()[0]
    assert (row["verdict"], row["steps_lost"], row["steps_lost_before_recovery"]) == ("intact", 0, 59)
    frame = read_journal(made).frames[2]
    flip(made, frame.offset + frame.length - 30)
    row = run("verify", made, "--json").ndjson()[0]
    assert (row["verdict"], row["steps_lost"]) == ("damaged", frame.seal.steps)


def test_recover__damaged_slot_in_the_tail__keeps_the_rows_on_both_sides(world: World, tmp_path: Path):
    folder = tmp_path / RUN
    folder.mkdir()
    for suffix in (".arrows", ".tail"):
        shutil.copy(world.path("killed").with_suffix(suffix), folder)
    flip(folder / "killed.tail", 10 * 96 + 20)
    source = read_journal(folder / "killed.arrows")
    assert source.findings
    result = run("recover", folder / "killed.arrows", "-o", tmp_path / "killed.arrows", "--json")
    assert (result.code, result.json()["steps"]) == (3, source.step_count)
    assert read_journal(tmp_path / "killed.arrows").steps().equals(source.steps())
    assert run("verify", tmp_path / "killed.arrows").code == 0


def test_recover__headerless__takes_the_header_of_a_sibling(world: World, tmp_path: Path):
    refused = world.run("recover", "headerless", "-o", tmp_path)
    assert (refused.code, list(tmp_path.iterdir())) == (1, [])
    assert "--header-from" in refused.err
    result = world.run("recover", "headerless", "--header-from", "finished", "-o", tmp_path, "--json")
    assert (result.code, result.json()["steps"]) == (0, 300)
    made = read_journal(tmp_path / "headerless.arrows")
    assert made.header.journal_id == "headerless"
    assert (
        made.steps()
        .drop_columns(["wall_time"])
        .equals(read_journal(world.path("finished")).steps().drop_columns(["wall_time"]))
    )
    assert run("verify", made.path, "--deep").code == 0


def test_recover__header_of_another_env__does_not_fit(world: World, tmp_path: Path):
    result = world.run("recover", "headerless", "--header-from", "extra", "-o", tmp_path)
    assert result.code == 1
    assert "does not fit" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["empty", "foreign"])
def test_recover__nothing_to_recover__fails_with_the_reason(world: World, tmp_path: Path, kind: str):
    result = world.run("recover", kind, "-o", tmp_path)
    assert (result.code, list(tmp_path.iterdir()), result.err.count("\n")) == (1, [], 1)


def test_recover__output_exists__is_never_overwritten(world: World, tmp_path: Path):
    (tmp_path / "finished.arrows").write_text("mine")
    result = world.run("recover", "finished", "-o", tmp_path / "finished.arrows")
    assert (result.code, (tmp_path / "finished.arrows").read_text()) == (1, "mine")


def test_recover__a_name_that_would_not_be_readable__is_refused(tmp_path: Path):
    source = play(writer(tmp_path, "one"), 20).path
    result = run("recover", source, "-o", source.with_name("two.arrows"))
    assert result.code == 1
    assert "under another name" in result.err
    assert run("recover", source, "-o", tmp_path / "one.csv").code == 1


def test_recover__into_a_folder__that_is_made_if_its_name_ends_in_a_slash(world: World, tmp_path: Path):
    assert world.run("recover", "finished", "-o", f"{tmp_path}/new/").code == 0
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["finished.arrows"]
    result = world.run("recover", "finished", "-o", tmp_path / "nowhere" / "one.arrows")
    assert (result.code, result.err) == (1, f"error: {tmp_path}/nowhere: there is no such folder\n")


def test_recover__into_the_folder_of_another_run__is_refused(world: World, tmp_path: Path):
    """The copy would be listed, and rebuilt, as an episode of that run."""
    RunMarker(tmp_path, "other", {}).close()
    result = world.run("recover", "finished", "-o", tmp_path / "other")
    assert (result.code, list((tmp_path / "other").glob("*.arrows"))) == (1, [])
    assert "is the folder of another run" in result.err


def test_recover__live_writer__is_a_snapshot(world: World, tmp_path: Path):
    result = world.run("recover", "live", "-o", tmp_path)
    assert "its writer is alive" in result.err
