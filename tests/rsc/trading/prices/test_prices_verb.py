"""`rsc prices`, and what `rsc train` says and records of its prices."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from journal.console import run_main
from rsc.cli import command
from rsc.rllib import train
from rsc.rllib.configs import TrainingPlan
from tests.rsc.trading.prices.series import NAMES
from tests.rsc.trading.prices.shapes import COIN_MINUTES, DAYS, dated, plain, text

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def newest_first(tmp_path: Path) -> Path:
    path = tmp_path / "bars.csv"
    path.write_bytes(text(NAMES + ",rsi", lambda bar: [*plain(bar), 50], newest_first=True))
    return path


def exit_of(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["rsc", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run_main(command)
    return ended.value.code


def test_prices__file__shows_bars_remarks_and_a_plot(
    newest_first: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert exit_of(monkeypatch, "prices", newest_first) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "bars      150, 2021-01-04 to 2021-07-30"
    assert "year      260 bars: daily bars on the days of an exchange" in lines
    assert "features  own_rsi" in lines
    assert "gaps      none" in lines
    assert "remark    the newest bar comes first: turned round" in lines
    assert sum("┤" in line or "|" in line for line in lines) == 12
    assert max(map(len, lines)) <= 80


def test_prices__json__has_the_same_facts(
    newest_first: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert exit_of(monkeypatch, "prices", newest_first, "--json", "--periods-per-year", "1000") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["bars"], facts["first"], facts["periods_per_year"]) == (150, "2021-01-04T00:00:00", 1000.0)
    assert facts["first_close"] == DAYS[0].close
    assert facts["columns"]["close"] == "close"
    assert any("1000 is given, but" in remark for remark in facts["remarks"])


def test_prices__gap__is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(text(NAMES, plain, [*DAYS[:50], *DAYS[60:]]))
    assert exit_of(monkeypatch, "prices", path) == 0
    assert f"gaps      1: {DAYS[49].time:%Y-%m-%d} to {DAYS[60].time:%Y-%m-%d}" in capsys.readouterr().out.splitlines()


def test_prices__periods_that_the_bars_do_not_tell__are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(text(NAMES, dated("%Y-%m-%d %H:%M:%S"), COIN_MINUTES))
    assert exit_of(monkeypatch, "prices", path) == 0
    assert "year      unknown bars: bars 1 min apart" in capsys.readouterr().out
    assert exit_of(monkeypatch, "train", "--data", path) == 1
    assert "less than a whole week of them: give --periods-per-year" in capsys.readouterr().err.splitlines()[-1]


def test_prices__several_assets__error_and_symbol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(text(NAMES + ",tic", lambda b: [*plain(b), "A"]) + text(None, lambda b: [*plain(b), "B"]))
    assert exit_of(monkeypatch, "prices", path) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert exit_of(monkeypatch, "prices", path, "--symbol", "B") == 0


def test_train__symbol_without_data__is_a_wrong_use(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert exit_of(monkeypatch, "train", "--symbol", "A") == 2
    assert "--symbol chooses an asset of the file that --data names" in capsys.readouterr().err


def test_train__remarks__on_stderr_and_in_the_parameters(
    newest_first: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run's row gets them: `attach` is the only one that writes it."""
    given: dict[str, Any] = {}

    class EarlyError(Exception):
        pass

    def attach(config: Any, **arguments: Any) -> Any:
        given.update(arguments)
        raise EarlyError

    monkeypatch.setattr("rsc.rllib.attach.attach", attach)
    with caplog.at_level(logging.WARNING, logger="rsc.trading.market"), pytest.raises(EarlyError):
        train.train(TrainingPlan(env_config={"data": str(newest_first), "episode_length": 20}))
    prices = given["parameters"]["prices"]
    assert prices["bars"] == 150
    assert "the newest bar comes first: turned round" in prices["remarks"]
    assert "bars.csv: the newest bar comes first: turned round" in caplog.messages
    json.dumps(prices)
