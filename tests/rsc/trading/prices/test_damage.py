"""Damaged files: bars that are in order and sound, or one line; never another exception."""

from __future__ import annotations

import os
import random
import time
import warnings
from pathlib import Path

import pytest

from rsc.trading.prices import MarketError, gaps_of, read_file, rhythm_of
from tests.rsc.trading.prices.test_shapes import READ, REFUSED

CONTENTS = {name: shape.make() for name, shape in {**READ, **REFUSED}.items()}
LINES = (b"", b",,,,,", b"null,null", b'"', b"# x", b"-1", b";;;;;", b"Total,,,", b"\xff\xfe", b"Ticker,,,,,")
CELLS = (b"", b"nan", b"1e400", b"-5", b"x", b"0", b"9" * 30, b"2021-02-31", b"1/1/1", b"00:00", b"inf", b"1,234.5")
NAMES = (
    b"Date",
    b"Time",
    b"Open",
    b"close",
    b"Adj Close",
    b"split",
    b"symbol",
    b"volume",
    b"",
    b"AAPL_close",
    b"price",
)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with one kind of damage."""
    data, kind = bytearray(content), chance.randrange(8)
    if not data:
        return content
    at = chance.randrange(len(data))
    lines = content.split(b"\n")
    if kind == 0:
        data[at] = chance.randrange(256)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + chance.randint(1, 200)]
    elif kind == 3:
        other = chance.choice(list(CONTENTS.values()))
        data[at:] = other[len(other) // 2 :]
    elif kind == 4:
        lines.insert(chance.randrange(len(lines)), chance.choice([*LINES, *lines]))
        return b"\n".join(lines)
    elif kind == 5:
        lines[0] = b",".join(chance.choices(NAMES, k=chance.randint(1, 9)))
        return b"\n".join(lines)
    else:
        separator = chance.choice([b",", b";", b"\t"])
        rows = [line.split(separator) for line in lines]
        column = chance.randrange(len(rows[0]))
        for row in chance.sample(rows, len(rows) if kind == 6 else 1):
            if column < len(row):
                row[column] = chance.choice([*CELLS, *row])
        return b"\n".join(separator.join(row) for row in rows)
    return bytes(data)


def look(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            bars = read_file(path)
        except MarketError:
            return
    assert (bars.times_us[1:] > bars.times_us[:-1]).all()
    assert (bars.low > 0).all()
    assert (bars.low <= bars.high).all()
    assert (bars.volume >= 0).all()
    rhythm_of(bars.times_us)
    gaps_of(bars.times_us)


@pytest.mark.parametrize("case", CONTENTS)
def test_read_file__damaged__bars_or_one_line(case: str, tmp_path: Path) -> None:
    chance = random.Random(case)
    for _ in range(8):
        look(tmp_path / "bars", damaged(CONTENTS[case], chance))


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_read_file__damaged_for_minutes__bars_or_one_line(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**9)
    chance, end = random.Random(seed), time.monotonic() + 60 * float(os.environ.get("RSC_FUZZ_MINUTES", "2"))
    while time.monotonic() < end:
        content = chance.choice(list(CONTENTS.values()))
        for _ in range(chance.randint(1, 3)):
            content = damaged(content, chance)
        try:
            look(tmp_path / "bars", content)
        except Exception as error:
            kept = tmp_path / "kept"
            kept.write_bytes(content)
            raise AssertionError(f"seed {seed}, {kept}") from error
