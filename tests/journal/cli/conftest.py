"""Fixtures: a world of journals, made once, that tests only look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from journal import EndReason
from tests.journal.cli.world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("world") / "journals")
    yield made
    made.live.close(EndReason.CLOSED)
    made.marker.close()
