"""The reconciler's fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.reconciler.world import World


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> Iterator[World]:
    """A run with its driver alive, on each kind of database."""
    world = World(engine, tmp_path / "journal")
    yield world
    world.driver_dies()
