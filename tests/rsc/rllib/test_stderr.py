"""Ray's misleading line about restarts stays out of stderr; each other line passes, also those of native code."""

from __future__ import annotations

import os

import pytest

from rsc.rllib.stderr import without_restart_warning


def test_without_restart_warning__only_that_line__is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    with without_restart_warning():
        os.write(
            2, b"before\n[E 1 1] core_worker.cc:2465: Actor with class name: 'R' and ID: '1' has constructor arguments"
        )
        os.write(2, b" in the object store and max_restarts > 0. See\nafter, without an end of line")
    os.write(2, b"\nlater\n")
    assert capfd.readouterr().err == "before\nafter, without an end of line\nlater\n"


def test_without_restart_warning__error_inside__restores_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), without_restart_warning():
        raise ValueError("inside")
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"
