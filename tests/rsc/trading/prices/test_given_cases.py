"""Files with expected results that lie beside the project, if they are there."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[5] / "shared" / "cases" / "check_prices.py"


@pytest.mark.skipif(not CASES.exists(), reason="no files with expected results beside the project")
def test_load_market__given_files__as_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(CASES)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(CASES), run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().out
