"""A server that is stopped in the middle costs its clients their timeout once, and no more."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from rsc.db.hints import unusable
from rsc.db.session import open_engine, reading

pytestmark = pytest.mark.postgres


@pytest.fixture
def stopped(postgres_server):
    """Call to stop every process of the server where it stands; it goes on at the test's end."""
    processes: list[psutil.Process] = []

    def stop() -> None:
        parent = psutil.Process(postgres_server.pid)
        processes.extend([parent, *parent.children(recursive=True)])
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # a worker that ended by itself
                process.suspend()

    yield stop
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def test_server_stops_answering__costs_the_statements_timeout_and_the_connection(postgres_server, stopped):
    engine = open_engine(postgres_server.url(), timeout_s=2.0, statement_s=1.0)
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
        stopped()
        began = time.monotonic()
        with pytest.raises(OperationalError, match="did not answer within 1 s"):
            connection.execute(text("SELECT 1"))
        assert 0.9 < time.monotonic() - began < 3
    engine.dispose()


def test_server_that_is_stopped__connecting__costs_its_timeout(postgres_server, stopped):
    engine = open_engine(postgres_server.url(), timeout_s=2.0)
    stopped()
    began = time.monotonic()
    with pytest.raises(OperationalError) as raised:
        engine.connect()
    assert time.monotonic() - began < 5
    assert "start the server" in str(unusable(engine, raised.value))
    engine.dispose()


def test_statement_that_takes_too_long__is_ended_by_the_server(postgres_server):
    engine = open_engine(postgres_server.url(), timeout_s=2.0, statement_s=0.5)
    with reading(engine) as connection, pytest.raises(OperationalError):
        connection.execute(text("SELECT pg_sleep(30)"))
    with reading(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()
