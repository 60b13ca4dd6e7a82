"""Kinds of files, by their content."""

from __future__ import annotations

import bz2
import gzip
import lzma
from datetime import timedelta

import pyarrow as pa

from tests.rsc.trading.prices.series import NAMES, NEW_YORK, TOKYO
from tests.rsc.trading.prices.shapes import (
    DAYS,
    HALF_HOURS,
    Read,
    arrow,
    as_feather,
    as_parquet,
    as_zip,
    plain,
    text,
    unix,
)

FILES: dict[str, Read] = {
    "gzip": Read(lambda: gzip.compress(text(NAMES, plain))),
    "bzip2": Read(lambda: bz2.compress(text(NAMES, plain))),
    "xz": Read(lambda: lzma.compress(text(NAMES, plain))),
    "zstandard": Read(lambda: pa.Codec("zstd").compress(text(NAMES, plain), asbytes=True)),
    "lz4": Read(lambda: pa.Codec("lz4").compress(text(NAMES, plain), asbytes=True)),
    "zip": Read(lambda: as_zip(prices__csv=text(NAMES, plain))),
    "zip with a Mac's shadow": Read(lambda: as_zip(**{"prices__csv": text(NAMES, plain), "__MACOSX/._prices": b"x"})),
    "gzip of utf-16": Read(lambda: gzip.compress(text(NAMES, plain, encoding="utf-16"))),
    "parquet": Read(lambda: as_parquet(arrow())),
    "parquet: zone": Read(
        lambda: as_parquet(
            arrow(date=pa.array([b.time.replace(tzinfo=TOKYO) for b in DAYS], pa.timestamp("us", "Asia/Tokyo")))
        )
    ),
    "parquet: intraday with a zone": Read(
        lambda: as_parquet(
            arrow(
                HALF_HOURS,
                date=pa.array(
                    [b.time.replace(tzinfo=NEW_YORK) for b in HALF_HOURS], pa.timestamp("ns", "America/New_York")
                ),
            )
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
        shift=timedelta(hours=5),
    ),
    "parquet: date32": Read(lambda: as_parquet(arrow(date=pa.array([b.time.date() for b in DAYS], pa.date32())))),
    "parquet: milliseconds as integers": Read(lambda: as_parquet(arrow(date=pa.array([unix(b, 1000) for b in DAYS])))),
    "parquet: yyyymmdd as integers": Read(
        lambda: as_parquet(arrow(date=pa.array([int(f"{b.time:%Y%m%d}") for b in DAYS])))
    ),
    "parquet: prices as text": Read(lambda: as_parquet(arrow(close=pa.array([f"{b.close:,.2f}" for b in DAYS])))),
    "parquet: dictionary of symbols": Read(
        lambda: as_parquet(arrow(symbol=pa.array(["AAPL"] * len(DAYS)).dictionary_encode()))
    ),
    "parquet: lists beside": Read(lambda: as_parquet(arrow(news=pa.array([[1, 2]] * len(DAYS))))),
    "parquet: large strings": Read(
        lambda: as_parquet(arrow(date=pa.array([f"{b.time:%Y-%m-%d}" for b in DAYS], pa.large_string())))
    ),
    "parquet: symbol in an index": Read(lambda: as_parquet(arrow(__index_level_0__=pa.array(["AAPL"] * len(DAYS))))),
    "feather": Read(lambda: as_feather(arrow())),
    "feather: zstandard": Read(lambda: as_feather(arrow(), "zstd")),
}
