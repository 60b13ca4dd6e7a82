"""Columns that an env adds come back as they were written, from the stream and from the tail, and so do the flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal import About, EndReason, JournalWriter, read_journal


@pytest.mark.parametrize("close", [True, False])
def test_extra_columns__written__read_back_in_their_own_columns(tmp_path: Path, close: bool):
    about = About("Env", 10.0, 252.0, extra_columns=("spread", "rsi"))
    writer = JournalWriter(tmp_path, "run", "extra", about=about)
    for step in range(1, 71):
        writer.append(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, step, step == 70, False, (), (step + 0.25, -step - 0.5))
    if close:
        writer.close(EndReason.TERMINATED)
    steps = read_journal(writer.path).steps()
    assert steps["spread"].to_pylist() == [step + 0.25 for step in range(1, 71)]
    assert steps["rsi"].to_pylist() == [-step - 0.5 for step in range(1, 71)]
    assert steps["terminated"].to_pylist() == [False] * 69 + [True]
    assert not any(steps["truncated"].to_pylist())
