"""docs/environment.md says of the settings what the code does."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from rsc.trading.config import DEFAULT_FEATURES, TradingConfig
from rsc.trading.forerunner import FORERUNNER_KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "environment.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> dict[str, str]:
    """Second cell by the first, of the table in this section."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))


@pytest.mark.parametrize("setting", dataclasses.fields(TradingConfig), ids=lambda setting: setting.name)
def test_settings_table__default__is_the_code_s(setting: dataclasses.Field[object]) -> None:
    said = rows_of("Settings")[setting.name]
    if setting.name == "features":
        assert setting.default == DEFAULT_FEATURES
    else:
        assert ast.literal_eval(said.strip("`")) == setting.default


def test_settings_table__rows__are_settings() -> None:
    assert list(rows_of("Settings")) == [setting.name for setting in dataclasses.fields(TradingConfig)]


def test_observation__every_feature__is_described() -> None:
    section = PAGE.split("## Observation\n")[1]
    assert all(f"`{name}`" in section for name in DEFAULT_FEATURES)


def test_forerunner_table__is_the_code_s() -> None:
    said = {old: new.strip("`-") for old, new in rows_of("Keys of the earlier env").items()}
    assert said == {old: key.name for old, key in FORERUNNER_KEYS.items()}
