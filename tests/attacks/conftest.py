"""Fixtures of the attacks."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.places import Place, place
from tests.attacks.processes import preloaded, run
from tests.attacks.records import Records
from tests.attacks.scene import Scene


@pytest.fixture(scope="session", autouse=True)
def _server_of_commands() -> Iterator[None]:
    yield
    preloaded.close()


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


@pytest.fixture(scope="module")
def shared_scene(template: Path) -> Iterator[Scene]:
    """A scene for attacks that share one writer process, ``scene.shared``, since each needs only a journal of its own."""
    path = Path(tempfile.mkdtemp(prefix="rsc-attack-"))
    scene = Scene(path, Records.copy_of(template, path / "rsc.db"))
    scene.shared = scene.writer()
    yield scene
    scene.close()
    shutil.rmtree(path, ignore_errors=True)
