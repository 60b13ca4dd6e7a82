"""Fixtures that all packages' tests share."""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rsc.db.session import open_engine
from rsc.db.upgrade import upgrade
from tests.postgres import Pgbouncer, PostgresServer, find_programs

# Ray makes its workers so nice that on a machine with other work they hardly train, and take minutes to die.
os.environ.setdefault("RAY_worker_niceness", "0")

# Tests run side by side. A learner with one thread for each core would wait actively for cores that other tests use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Scripts that tests start import `journals` from here. The folder holds nothing that hides an installed package.
_SUPPORT = str(Path(__file__).with_name("support"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_SUPPORT, os.environ.get("PYTHONPATH"))))

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


LONGEST = (
    "attacks", "crash", "docs", "rsc/rllib", "reconciler/test_cut_links", "reconciler/test_machines",
    "reconciler/test_swarm", "reconciler/test_outage", "versions",
)  # fmt: skip
"""Folders and files whose tests take minutes, because they train or wait.

Also those that start Ray in the test process with its own way to authenticate: a process keeps the first way, so they come
before `reconciler/test_cluster.py`, whose cluster checks no tokens.
"""
BACKGROUND = ("watch", "trainings")
"""Fixtures of attacks that begin what takes minutes. Their tests run in one process, which meanwhile runs `BESIDE`."""
BESIDE = ("attacks/test_commands.py", "attacks/test_urls.py", "attacks/test_headers.py", "attacks/test_rows.py")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long versions unless they are asked for, and name what must not run side by side.

    What takes minutes comes first, so that two processes end at about the same time.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: not str(_file(item)).startswith(LONGEST))
    if os.environ.get("RSC_TORTURE") == "1" or "torture" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("torture")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("torture")]


def _group(item: pytest.Item) -> str:
    """Return the name of the group whose tests run one after the other in one process."""
    file = str(_file(item))
    waits = set(BACKGROUND) & set(getattr(item, "fixturenames", ()))
    return "background" if waits or file in BESIDE else file


def _file(item: pytest.Item) -> Path:
    return item.path.relative_to(Path(__file__).parent)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server for the session; without its programs CI fails, and elsewhere the tests are skipped loudly."""
    programs = find_programs()
    if programs is None:
        missing = "no PostgreSQL server program (initdb, postgres) was found"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"{missing}, and CI must test on one")
        warnings.warn(f"{missing}: tests on PostgreSQL are skipped", stacklevel=1)
        pytest.skip(missing)
    server = PostgresServer(programs)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[Pgbouncer]:
    """A pooler in transaction mode with one session; without its program CI fails, elsewhere the tests are skipped."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail("no pgbouncer was found, and CI must test with one")
        warnings.warn("no pgbouncer was found: tests with one are skipped", stacklevel=1)
        pytest.skip("no pgbouncer was found")
    pooler = Pgbouncer(program, postgres_server, "hush-hush")
    try:
        yield pooler
    finally:
        pooler.remove()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'rsc.db'}"


@pytest.fixture(params=BOTH)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, of each kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database(f"test_{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def made_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with its tables, to be copied: migrating each time would take longer than the tests."""
    file = tmp_path_factory.mktemp("template") / "rsc.db"
    _upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def made_postgres(postgres_server: PostgresServer) -> str:
    """The name of a PostgreSQL database with its tables, to be copied."""
    _upgrade(postgres_server.create_database("made"))
    return "made"


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with its tables, of each kind."""
    if request.param == "sqlite":
        url = str(request.getfixturevalue("sqlite_url"))
        shutil.copy(request.getfixturevalue("made_sqlite"), url.removeprefix("sqlite:///"))
        return url
    made, server = request.getfixturevalue("made_postgres"), request.getfixturevalue("postgres_server")
    return str(server.create_database(f"test_{uuid.uuid4().hex}", made))


def _upgrade(url: str) -> None:
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database with its tables, of each kind."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()
