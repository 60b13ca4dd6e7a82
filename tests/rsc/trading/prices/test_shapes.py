"""Each shape of file is read as its bars, with its remarks, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rsc.trading.prices import MarketError, read_file, rhythm_of
from tests.rsc.trading.prices.read_crypto import CRYPTO
from tests.rsc.trading.prices.read_dates import DATES
from tests.rsc.trading.prices.read_files import FILES
from tests.rsc.trading.prices.read_platforms import PLATFORMS
from tests.rsc.trading.prices.read_stocks import STOCKS
from tests.rsc.trading.prices.read_text import TEXT
from tests.rsc.trading.prices.read_yahoo import YAHOO
from tests.rsc.trading.prices.refusals import REFUSED

READ = {**YAHOO, **STOCKS, **CRYPTO, **PLATFORMS, **TEXT, **DATES, **FILES}


@pytest.mark.parametrize("case", READ)
def test_read_file__shape_of_a_vendor__gives_its_bars(case: str, tmp_path: Path) -> None:
    shape = READ[case]
    path = tmp_path / "prices.csv"
    path.write_bytes(shape.make())
    bars = read_file(path, shape.symbol)
    times = np.array([bar.time + shape.shift for bar in shape.bars], "datetime64[us]").astype(np.int64)
    assert np.array_equal(bars.times_us, times)
    for name in ("open", "high", "low", "close"):
        wanted = np.array([getattr(bar, name) for bar in shape.bars]) * shape.scale
        tolerance = 0.02 if any("widened" in remark for remark in shape.remarks) else 1e-9
        assert np.allclose(getattr(bars, name), wanted, rtol=0, atol=tolerance * wanted.max()), name
    if shape.volume:
        assert np.allclose(bars.volume, [bar.volume for bar in shape.bars], rtol=1e-6)
    for remark in shape.remarks:
        assert any(remark in each for each in bars.remarks), bars.remarks
    assert all(each.isprintable() for each in bars.remarks)
    if shape.periods is not None:
        assert rhythm_of(bars.times_us).periods == pytest.approx(shape.periods, rel=0.02)


@pytest.mark.parametrize("case", REFUSED)
def test_read_file__no_single_sound_reading__one_line_with_cause_and_cure(case: str, tmp_path: Path) -> None:
    shape = REFUSED[case]
    path = tmp_path / "prices.csv"
    path.write_bytes(shape.make())
    with pytest.raises(MarketError, match=shape.message) as caught:
        read_file(path, shape.symbol)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
