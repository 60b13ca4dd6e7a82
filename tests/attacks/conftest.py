"""Fixtures of the attacks."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.needs import need_mounts
from tests.attacks.places import Place, place
from tests.attacks.processes import AttackError, preloaded, run
from tests.attacks.records import Records
from tests.attacks.scene import Scene, spare
from tests.attacks.stage import Stage
from tests.attacks.trainings import Trainings
from tests.attacks.watch import Watch
from tests.postgres import PostgresServer


@pytest.fixture(scope="session", autouse=True)
def _server_of_commands() -> Iterator[None]:
    yield
    preloaded.close()
    spare.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for slow things comes behind all other attacks."""
    here = Path(__file__).parent
    mine = [item for item in items if item.path.is_relative_to(here)]
    places = [index for index, item in enumerate(items) if item.path.is_relative_to(here)]
    mine.sort(key=_waits)
    for index, item in zip(places, mine, strict=True):
        items[index] = item


SLOW = ("watch_or_reason", "trainings")
"""Fixtures that begin with the first attack of the group "background" and are judged by its last ones."""


def _waits(item: pytest.Item) -> bool:
    return bool(set(SLOW) & set(getattr(item, "fixturenames", ())))


@pytest.fixture(autouse=True)
def _slow_ones_begin(request: pytest.FixtureRequest) -> None:
    """Only in the process that judges them: pytest-xdist collects every test in every process."""
    if request.node.get_closest_marker("xdist_group").args[0] == "background":
        request.getfixturevalue("_slow_ones")


@pytest.fixture(scope="session")
def _slow_ones(request: pytest.FixtureRequest) -> None:
    """Begin what any of the attacks waits for that are run."""
    for name in SLOW:
        if any(name in getattr(item, "fixturenames", ()) for item in request.session.items):
            request.getfixturevalue(name)


@pytest.fixture(scope="session")
def trainings(template: Path, postgres_server: PostgresServer) -> Iterator[Trainings]:
    """Real trainings in the background, one after the other."""
    path = Path(tempfile.mkdtemp(prefix="rsc-attack-"))
    trainings = Trainings(path, postgres_server)
    yield trainings
    trainings.close()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def watch_or_reason(template: Path) -> Iterator[Watch | BaseException]:
    """The watch, or why there is none: a machine that lacks something must not stop the other attacks."""
    path = Path(tempfile.mkdtemp(prefix="rsc-attack-"))
    path.chmod(0o755)
    try:
        watch = Watch(path, template)
    except (pytest.skip.Exception, pytest.fail.Exception, AssertionError, AttackError) as error:
        yield error
    else:
        yield watch
        watch.close()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def watch(watch_or_reason: Watch | BaseException) -> Watch:
    if isinstance(watch_or_reason, BaseException):
        raise watch_or_reason
    return watch_or_reason


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can enter, which pytest's own cannot be."""
    path = Path(tempfile.mkdtemp(prefix="rsc-attack-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the project's tables, to be copied."""
    file = tmp_path_factory.mktemp("attacks") / "rsc.db"
    done = run("rsc", "db", "upgrade", "--database-url", f"sqlite:///{file}")
    assert done.returncode == 0, done.stderr
    return file


@pytest.fixture
def records(folder: Path, template: Path) -> Records:
    return Records.copy_of(template, folder / "rsc.db")


@pytest.fixture
def make_place() -> Iterator[Callable[..., Place]]:
    """Makes places that are closed when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(place(**settings))


@pytest.fixture
def scene(folder: Path, records: Records, make_place: Callable[..., Place]) -> Iterator[Scene]:
    """A run under attack; its processes end before the places that they are in."""
    scene = Scene(folder, records)
    yield scene
    scene.close()


@pytest.fixture(scope="session")
def stage(template: Path) -> Iterator[Stage]:
    """One training process for all attacks on it: it takes seconds to start."""
    need_mounts()
    path = Path(tempfile.mkdtemp(prefix="rsc-attack-"))
    scene = Scene(path, Records.copy_of(template, path / "rsc.db"))
    with place() as inside:
        yield Stage(scene, inside)
        scene.close()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_scene(template: Path) -> Iterator[Scene]:
    """A scene for attacks that share one writer process, ``scene.shared``, since each needs only a journal of its own."""
    path = Path(tempfile.mkdtemp(prefix="rsc-attack-"))
    scene = Scene(path, Records.copy_of(template, path / "rsc.db"))
    scene.shared = scene.writer()
    yield scene
    scene.close()
    shutil.rmtree(path, ignore_errors=True)
