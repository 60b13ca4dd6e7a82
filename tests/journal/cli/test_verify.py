"""`journal verify`: what is damage, what is odd, and what is neither."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from journal import EndReason
from tests.journal.cli.world import RUN, World, play, run, writer
from tests.journal.hostile import parts_of
from tests.journal.test_newer_writers import unknown_message
from tests.support.journals import abandon, write_journal

VERDICTS = {
    "cut": "damaged",
    "empty": "unreadable",
    "extra": "intact",
    "finished": "intact",
    "flipped": "damaged",
    "flipped_end": "damaged",
    "footer": "intact",
    "foreign": "unreadable",
    "headerless": "unreadable",
    "killed": "intact",
    "limit": "intact",
    "live": "intact",
    "nosteps": "intact",
    "superseded": "intact",
    "torn": "torn",
}


def test_verify__run__gives_each_kind_its_verdict_and_exits_3(world: World):
    result = world.run("verify", RUN, "--deep", "--json")
    assert result.code == 3
    assert {row["id"]: row["verdict"] for row in result.ndjson()} == VERDICTS
    assert not any(row.get("oddities") for row in result.ndjson())
    assert [row["id"] for row in result.ndjson() if row.get("tail_lost")] == ["cut"]


def test_verify__open_journal_whose_tail_is_gone__is_a_loss_that_nobody_can_count(world: World, tmp_path: Path):
    """Its rows since the last seal went with it. What `recover` makes of one says so itself, and needs no tail."""
    journal = play(writer(tmp_path, "one"), 200)
    path = journal.path
    abandon(journal)
    assert (run("verify", path).code, "tail" in run("verify", path).out) == (0, False)
    path.with_suffix(".tail").unlink()
    for verb in ("verify", "info", "cat", "ls", "plot"):
        told = run(verb, path)
        assert (told.code, "its tail is missing" in told.out + told.err) == (3, True), verb
    (tmp_path / "copies").mkdir()
    recovered = run("recover", path, "-o", tmp_path / "copies")
    assert (recovered.code, "tail    its tail is missing" in recovered.out) == (3, True)
    copy = run("verify", tmp_path / "copies" / "one.arrows")
    assert (copy.code, "recovered from a journal without its tail" in copy.out) == (0, True)


def test_verify__writer_that_dies_before_its_first_step__lost_nothing(tmp_path: Path):
    """The tail is made before the journal has its name, so that a name without a tail is a loss."""
    journal = writer(tmp_path, "one")
    path = journal.path
    abandon(journal)
    assert path.with_suffix(".tail").exists()
    assert (run("verify", path).code, "tail" in run("verify", path).out) == (0, False)


def test_verify__tail_gone_behind_the_last_step_of_the_episode__lost_nothing(tmp_path: Path):
    """The last seal holds the step that ended it, so nothing can have stood in the tail."""
    journal = play(writer(tmp_path, "one"), 30)
    journal.append(0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0, terminated=True, truncated=False)
    journal.checkpoint()
    path = journal.path
    abandon(journal)
    path.with_suffix(".tail").unlink()
    assert "its tail is missing" not in run("verify", path).out


@pytest.mark.parametrize(("kind", "verdict"), VERDICTS.items())
def test_verify__quiet__tells_by_exit_code_alone(world: World, kind: str, verdict: str):
    result = world.run("verify", kind, "-q")
    assert (result.out, result.err) == ("", "")
    assert result.code == (0 if verdict in ("intact", "torn") else 3)


def test_verify__deep__recomputes_every_checkpoint(world: World):
    row = world.run("verify", "finished", "--deep", "--json").ndjson()[0]
    batches = world.run("info", "finished", "--json").json()["batch_count"]
    assert row["checkpoints_recomputed"] == batches
    assert "6 checkpoints recomputed" in world.run("verify", "finished", "--deep").out


def test_verify__deep_behind_damage__goes_on_from_the_next_checkpoint(world: World):
    row = world.run("verify", "flipped", "--deep", "--json").ndjson()[0]
    assert (row["steps_lost"], row["checkpoints_recomputed"]) == (59, 4)


class ForgetfulFold:
    """A fold whose checkpoints do not tell the truth: bytes of another state."""

    def __init__(self) -> None:
        from rsc.metrics import RunningMetrics

        self._true = RunningMetrics(10_000.0, 252.0)
        self._lie = RunningMetrics(9_999.0, 252.0)

    def fold(self, steps, trades) -> None:
        self._true.fold(steps, trades)

    def to_bytes(self) -> bytes:
        return self._lie.to_bytes()


def test_verify__deep_on_a_false_checkpoint__is_a_finding_that_plain_verify_cannot_see(tmp_path: Path):
    from journal import JournalWriter
    from tests.journal.cli.world import about

    lying = JournalWriter(tmp_path, RUN, "lying", about=about(), fold=ForgetfulFold())
    path = play(lying, 30, end=EndReason.TERMINATED).path
    assert run("verify", path, "-q").code == 0
    result = run("verify", path, "--deep")
    assert result.code == 3
    assert "the checkpoint at step 30 differs from the one that its rows give" in result.out


def test_verify__checkpoints_of_another_program__are_left_alone(tmp_path: Path):
    class Other:
        def fold(self, steps, trades) -> None: ...

        def to_bytes(self) -> bytes:
            return b"another program's"

    from journal import JournalWriter
    from tests.journal.cli.world import about

    path = play(JournalWriter(tmp_path, RUN, "other", about=about(), fold=Other()), 30, end=EndReason.CLOSED).path
    result = run("verify", path, "--deep")
    assert result.code == 0
    assert "0 checkpoints recomputed; 1 checkpoint of another version" in result.out
    assert run("info", path).code == 0


ODD = [
    ("backwards", {"market_time": -5}, "market time runs backwards, first at step 12"),
    ("nan", {"price": float("nan")}, "price is not finite, first at step 12"),
    ("unbalanced", {"cash": 1.0}, "portfolio value is not cash + position x price, first at step 12"),
    ("early end", {"terminated": True}, "steps follow the one that ended the episode, first at step 13"),
]


def odd_journal(root: Path, name: str, change: dict[str, object]) -> Path:
    """Thirty flat steps; step 12 differs."""
    row = {
        "action": 0.0, "reward": 0.0, "portfolio_value": 10_000.0, "price": 5.0, "cash": 10_000.0, "position": 0.0,
        "fees": 0.0, "unrealized_pnl": 0.0, "market_time": 0, "terminated": False, "truncated": False,
    }  # fmt: skip
    journal = writer(root, name.replace(" ", "-"))
    for step in range(1, 31):
        values = {**row, "market_time": step * 1000, "truncated": step == 30, **(change if step == 12 else {})}
        journal.append(**values)
    journal.close(EndReason.TIME_LIMIT)
    return journal.path


@pytest.mark.parametrize(("name", "change", "says"), ODD, ids=[case[0] for case in ODD])
def test_verify__odd_rows__are_told_and_fail_only_with_strict(
    tmp_path: Path, name: str, change: dict[str, object], says: str
):
    path = odd_journal(tmp_path, name, change)
    result = run("verify", path)
    assert result.code == 0
    assert f"odd: {says}" in result.out
    assert run("verify", path, "--strict").code == 3


def test_verify__account_of_another_kind__is_not_measured_by_ours(tmp_path: Path):
    """Where cash + position x price never is the value, the env means something else by its columns."""
    journal = writer(tmp_path, "other-account")
    for step in range(1, 31):
        journal.append(0.0, 0.0, 10_000.0, 5.0, 1.0, 2.0, 0.0, 0.0, step, False, step == 30)
    journal.close(EndReason.TIME_LIMIT)
    assert "odd" not in run("verify", journal.path).out


def test_verify__trades_that_do_not_add_up__are_odd(tmp_path: Path):
    from journal import Trade

    journal = writer(tmp_path, "sums")
    for step in range(1, 31):
        trade = (Trade(1, 1.0, 40, 99_000, 5.0, 6.0, 777.0, 0.0),) if step == 20 else ()
        journal.append(0.0, 0.0, 10_000.0, 5.0, 10_000.0, 0.0, 0.0, 0.0, step, False, step == 30, trade)
    journal.close(EndReason.TIME_LIMIT)
    out = run("verify", journal.path).out
    assert "the account's pnl and that of its trades differ by 777" in out
    assert "a trade begins behind its end" in out


def test_verify_and_info__records_of_a_newer_writer__are_counted_by_type_and_no_damage(tmp_path: Path):
    parts = parts_of(write_journal(tmp_path, 30, seal_every=10))
    path = Path(parts.name)
    extra = unknown_message(parts, b"market")
    path.write_bytes(replace(parts, batches=(extra, extra, *parts.batches), footer=None).source().stream)
    for verb in ("verify", "info"):
        plain, as_json = run(verb, path), run(verb, path, "--json")
        assert (plain.code, as_json.code) == (0, 0)
        assert "skipped records that this version does not know: 2 of type 'market'" in plain.out
        assert {name.strip(): count for name, count in as_json.json()["unknown_records"].items()} == {"market": 2}
