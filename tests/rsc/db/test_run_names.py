"""How a person names a run: by its id, by the beginning of exactly one id, or by `latest`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, insert

from reconciler.cli import command as reconcile
from rsc.cli import command as rsc
from rsc.db.errors import UnknownRunError
from rsc.db.models import training_runs
from rsc.db.runs import run_named
from rsc.db.session import reading

IDS = ("2026-a", "2026-ab", "2026-b", "100%_sure", "late")


@pytest.fixture
def five_runs(engine: Engine) -> Engine:
    """`2026-b` started last."""
    starts = {run_id: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=run_id == "2026-b") for run_id in IDS}
    with engine.begin() as connection:
        for run_id, start in starts.items():
            connection.execute(insert(training_runs).values(run_id=run_id, start_time=start, status="completed"))
    return engine


def named(engine: Engine, name: str) -> str:
    with reading(engine) as connection:
        return str(run_named(connection, name).run_id)


@pytest.mark.parametrize(
    ("name", "run_id"),
    [("2026-a", "2026-a"), ("2026-ab", "2026-ab"), ("2026-b", "2026-b"), ("100", "100%_sure"), ("latest", "2026-b")],
)
def test_run_named__id_beginning_or_latest(five_runs: Engine, name: str, run_id: str) -> None:
    assert named(five_runs, name) == run_id


@pytest.mark.parametrize("name", ["20", "", " ", "_", "%", "2027", "100_"])
def test_run_named__none_or_several__says_so(five_runs: Engine, name: str) -> None:
    with pytest.raises(UnknownRunError, match="is the beginning of" if name == "20" else "is not in the database"):
        named(five_runs, name)


def test_run_named__id_latest__is_that_run(five_runs: Engine) -> None:
    with five_runs.begin() as connection:
        old = datetime(2020, 1, 1, tzinfo=UTC)
        connection.execute(insert(training_runs).values(run_id="latest", start_time=old, status="completed"))
    assert named(five_runs, "latest") == "latest"


def test_run_named__no_runs__says_so(engine: Engine) -> None:
    with pytest.raises(UnknownRunError, match="the database has no run"):
        named(engine, "latest")


def test_commands__latest__is_the_newest_run(five_runs: Engine) -> None:
    url = five_runs.url.render_as_string(hide_password=False)
    check = CliRunner().invoke(rsc, ["check", "latest", "--database-url", url, "--json"], standalone_mode=False)
    assert '"run_id": "2026-b"' in check.stdout
    done = CliRunner().invoke(reconcile, ["--run-id", "latest", "--database-url", url], standalone_mode=False)
    assert (done.exception, "nothing to do: no episode is left to end" in done.stdout) == (None, True)
