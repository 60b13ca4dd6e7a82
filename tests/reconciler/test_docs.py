"""docs/operations.md against the code."""

from __future__ import annotations

import configparser
import re
from dataclasses import fields
from pathlib import Path

import pytest

from reconciler.cli import command
from reconciler.daemon.cron import parse_cron
from reconciler.daemon.metrics import Gauges
from reconciler.report import Item, PassReport
from reconciler.rules import CASES

HOME = Path(__file__).resolve().parents[2]
PAGE = (HOME / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("option", [name for param in command.params for name in param.opts])
def test_operations__every_option__is_described(option):
    assert f"`{option}`" in PAGE


def test_operations__table__has_every_case():
    described = set(re.findall(r"^\| ([A-Z]) \|", PAGE, re.MULTILINE))
    assert described == {case.letter for case in CASES} | {"J"}


@pytest.mark.parametrize("kind", [Item, PassReport])
def test_operations__json_contract__names_every_field(kind):
    hidden = {"stranded"}
    for field in fields(kind):
        assert f"`{field.name}`" in PAGE or field.name in hidden


def test_operations__metrics__are_all_described():
    for family in Gauges(1.0).registry.collect():
        assert family.name in PAGE


def test_deploy__unit_and_cron_line__call_what_there_is():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(HOME / "deploy" / "reconcile.service")
    words = unit["Service"]["ExecStart"].split()
    options = {name for param in command.params for name in param.opts}
    assert {word for word in words if word.startswith("--")} <= options
    line = (HOME / "deploy" / "reconcile.cron").read_text().splitlines()[-1]
    parse_cron(" ".join(line.split()[:5]))
    assert "reconcile --all" in line
