"""Headers: whatever an env says, a reader accepts what was written, or the writer refuses it and names it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import journal.read.headers
from journal import About, FormatVersionError, JournalWriter, read_header, read_journal
from journal.errors import JournalValueError
from journal.format.header import FileId, Header, WriterIdentity
from journal.format.values import plain
from tests.support.journals import ABOUT


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def cyclic() -> dict[str, Any]:
    config: dict[str, Any] = {"kept": 1}
    config["self"] = config
    config["twice"] = [config, config]
    return config


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


ODD: dict[str, dict[Any, Any]] = {
    "inf": {"x": math.inf, "y": -math.inf, "z": [math.nan]},
    "decimal": {"x": Decimal("0.1"), "y": Fraction(1, 3)},
    "numpy": {"x": np.float32(1.5), "y": np.arange(3), "z": np.zeros(100_000), "d": np.datetime64("2020-01-01")},
    "cyclic": cyclic(),
    "deep": {"x": deep()},
    "huge text": {"x": "y" * 9_000_000},
    "huge list": {"x": list(range(1_000_000))},
    "many keys": {str(key): key for key in range(100_000)},
    "odd keys": {1: "a", (1, 2): "b", None: "c", "\ud800": "d"},
    "surrogate": {"x": "\ud800 half a pair"},
    "control": {"x": "\x00\x01header={}"},
    "integers": {"x": 2**100, "y": -(2**63), "z": True},
    "hostile": {"x": Hostile(), "y": object(), "z": b"bytes", "f": len},
}


@pytest.mark.parametrize("name", ODD)
def test_env_config__odd_values__a_reader_accepts_the_header(tmp_path: Path, name: str) -> None:
    writer = JournalWriter(tmp_path, "run", "j", about=replace(ABOUT, env_config=ODD[name], notes=ODD[name]))
    writer.close("closed")
    assert len(read_journal(writer.path).header.about.env_config) > 0


def test_env_config__infinite_and_cyclic__is_said_in_text() -> None:
    (converted,) = plain({"x": math.inf, "self": ODD["cyclic"], "n": np.float32(1.5), "many": list(range(5000))})
    assert converted["x"] == "inf"
    assert converted["self"] == {"kept": 1, "self": "... (cut)", "twice": ["... (cut)", "... (cut)"]}
    assert converted["n"] == 1.5
    assert converted["many"][-1] == "... (cut): 5000 items"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,  # a hundred, which is usual, takes half a minute
)


@given(st.dictionaries(st.text(), json_like))
def test_plain__any_mapping__is_json_that_stays_as_it_is(mapping: dict[str, Any]) -> None:
    (converted,) = plain(mapping)
    assert msgspec.json.decode(msgspec.json.encode(converted)) == converted
    assert plain(converted) == [converted]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("initial_portfolio_value", "10000"),
        ("initial_portfolio_value", math.nan),
        ("initial_portfolio_value", None),
        ("periods_per_year", math.inf),
        ("start_price", "12.5"),
        ("start_market_time_us", 1.5),
        ("start_market_time_us", math.inf),
        ("start_market_time_us", 2**63),
        ("start_market_time_us", datetime(2020, 1, 1)),  # noqa: DTZ001 - the case
        ("seed", 2**70),
        ("worker_index", 1.0),
        ("in_evaluation", "yes"),
        ("extra_columns", "rsi"),
    ],
)
def test_about__value_that_no_reader_accepts__is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(JournalValueError) as error:
        About(**{"env": "Env", "initial_portfolio_value": 1.0, "periods_per_year": 252.0, field: value})
    assert error.value.name == field
    assert field in str(error.value)


def test_about__numbers_and_times_of_other_classes__are_converted(tmp_path: Path) -> None:
    about = About(
        env="Env",
        initial_portfolio_value=Decimal("100.5"),  # type: ignore[arg-type]
        periods_per_year=np.int64(252),
        start_market_time_us=datetime(2020, 1, 2, tzinfo=UTC),  # type: ignore[arg-type]
        extra_columns=["spread", "rsi"],  # type: ignore[arg-type]
        seed=np.int64(7),
        in_evaluation=np.True_,
        worker_index=np.int32(2),
        market="MSFT",
        start_price=np.float32(2.5),
        account={"value": "info.nav"},
    )
    path = JournalWriter(tmp_path, "run", "j", about=about).path
    read = read_header(path).about
    assert read == about
    assert (read.initial_portfolio_value, read.seed, read.in_evaluation) == (100.5, 7, True)
    assert read.start_market_time_us == 1_577_923_200_000_000
    assert read.extra_columns == ("spread", "rsi")


def test_about__changed__is_what_replace_returns() -> None:
    about = About("Env", 1000, 252, {"a": 1}, start_price=Decimal("2.5"), market="M")
    values = {"notes": {"node": "n"}, "seed": np.int64(7), "worker_index": 2, "in_evaluation": np.True_, "market": None}
    assert about.changed(**values) == replace(about, **values)
    assert type(about.changed(**values).seed) is int
    with pytest.raises(JournalValueError, match="seed"):
        about.changed(seed="x")
    with pytest.raises(TypeError, match="sead"):
        about.changed(sead=1)
    assert (about.seed, about.market) == (None, "M")


def test_header__tells_its_file_and_whether_its_tail_is_mapped(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "run", "j", about=ABOUT)
    info = writer.path.stat()
    assert read_header(writer.path).stream == FileId(info.st_dev, info.st_ino)
    assert read_header(writer.path).tail_mapped is writer.header.tail_mapped


def header() -> Header:
    identity = WriterIdentity("host", "machine", "boot", 1, 2)
    return Header(2, "run", "j", 0, 64, identity, ABOUT)


def test_header__with_keys_of_a_newer_writer__is_read_without_them() -> None:
    raw = msgspec.json.decode(header().to_json())
    raw["novel"] = {"a": [1]}
    raw["about"]["novel"] = raw["writer"]["novel"] = 2
    assert Header.from_json(msgspec.json.encode(raw)) == header()


@pytest.mark.parametrize("name", ["env_index", "seed", "extra_columns", "unknown", "start_market_time_us", "account"])
def test_header__without_an_optional_key__has_its_default(name: str) -> None:
    header = Header(2, "run", "journal", 0, 1024, WriterIdentity("h", "m", "b", 1, 2), ABOUT)
    raw = msgspec.json.decode(header.to_json())
    del raw["about"][name]
    default = vars(About("Env", 1.0, None))[name]
    assert getattr(Header.from_json(msgspec.json.encode(raw)).about, name) == default


@pytest.mark.parametrize("version", [1, 3])
def test_header__of_another_version__is_refused_by_name(version: int) -> None:
    raw = {"format_version": version, "all else": "may differ"}
    with pytest.raises(FormatVersionError, match=f"format version {version}, this package reads version 2"):
        journal.read.headers.parse_header("j.arrows", msgspec.json.encode(raw))
