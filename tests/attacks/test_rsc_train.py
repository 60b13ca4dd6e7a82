"""`rsc train` trains, records and exits right, whatever becomes of its output, its disk and its secrets."""

from __future__ import annotations

import pytest

from tests.attacks.processes import run, said
from tests.attacks.records import Records
from tests.attacks.trainings import ITERATIONS, SECRET, Trainings

pytestmark = [pytest.mark.rllib, pytest.mark.postgres]


def test_rsc_train__its_output_is_read_by_head__trains_all_iterations_and_exits_0(trainings: Trainings) -> None:
    """`rsc train ... 2>&1 | head -2`: the pipe closes after two lines."""
    trainings.wait()
    assert len(trainings.headed.stdout.splitlines()) == 2
    assert trainings.headed.code == 0
    records = Records(trainings.url)
    assert records.run("r1")["status"] == "completed"
    steps = sum(row["total_steps"] or 0 for row in records.episodes("r1"))
    assert steps >= ITERATIONS * 200, f"{steps} steps"
    checked = run("rsc", "check", "r1", "--database-url", trainings.url)
    assert checked.returncode == 0, said(checked)[-500:]


def test_rsc_train__password_in_the_url__is_in_no_output_command_line_or_checkpoint(trainings: Trainings) -> None:
    """The reconciling child gets it by its environment."""
    trainings.wait()
    headed = trainings.headed
    assert headed.command_lines
    assert not [line for line in headed.command_lines if SECRET in line]
    assert SECRET not in headed.stdout
    files = [path for path in headed.folder.rglob("*") if path.is_file()]
    assert [path for path in files if "policies" in path.parts], "a policy was kept"
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    records = Records(trainings.url)
    assert SECRET not in str(records.run("r1")) + str(records.episodes("r1"))


def test_rsc_train__its_disk_and_its_output_are_full__exits_3(trainings: Trainings) -> None:
    """Journals are incomplete: that is data lost, as for `reconcile`."""
    trainings.wait()
    assert trainings.full.code == 3
    records = Records(f"sqlite:///{trainings.full.folder}/rsc-data/rsc.db")
    assert records.run("r1")["status"] == "completed", "it trained to its end"
