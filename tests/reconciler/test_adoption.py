"""Rows that are made from journals know what their callback would have known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from journal import EndReason
from reconciler.rebuild import adopt_runs
from rsc.db.session import open_engine
from rsc.db.upgrade import upgrade
from tests.reconciler import world as worlds
from tests.reconciler.world import World


@pytest.mark.parametrize("in_evaluation", [True, False])
def test_row__adopted_or_rebuilt__knows_evaluation_and_worker(world, tmp_path, monkeypatch, in_evaluation):
    """The journal's header holds them."""
    made = worlds.About
    monkeypatch.setattr(
        worlds,
        "About",
        lambda *given, **more: replace(made(*given, **more), in_evaluation=in_evaluation, worker_index=3),
    )
    journal_id = world.ended(EndReason.TERMINATED, row=False)
    world.driver_dies()
    assert world.reconcile().adopted == 1
    adopted = world.row(journal_id)
    assert (adopted.in_evaluation, adopted.worker_index) == (in_evaluation, 3)
    engine = open_engine(f"sqlite:///{tmp_path / 'new.db'}")
    upgrade(engine)
    assert [done for done, _ in adopt_runs(engine, world.root, [world.run_id])] == [True]
    rebuilt = object.__new__(World)
    rebuilt.engine, rebuilt.run_id, rebuilt.observer = engine, world.run_id, world.observer
    assert rebuilt.reconcile().adopted == 1
    row = rebuilt.row(journal_id)
    assert (row.in_evaluation, row.worker_index, row.total_steps) == (in_evaluation, 3, adopted.total_steps)
    engine.dispose()
