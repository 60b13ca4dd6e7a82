"""Read dates and times of any type. A column has one format; if two fit, it is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsc.trading.prices.calendars import CURE, DateError, Moments
from rsc.trading.prices.date_numbers import moments_of_numbers
from rsc.trading.prices.date_parts import time_of_day
from rsc.trading.prices.date_text import clock_of, microseconds, moments_of_text, with_zones
from rsc.trading.prices.errors import first_line, quoted
from rsc.trading.prices.sheet import as_text, is_text_type


def moments_of(values: Any) -> Moments:
    """Read a column as dates.

    Raises:
        DateError: if it holds no dates, or dates that can be read in two ways.
    """
    kind = values.type
    if pa.types.is_timestamp(kind):
        return _of_timestamps(values)
    if pa.types.is_date(kind):
        return _of_timestamps(pc.cast(values, pa.timestamp("us")))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return moments_of_numbers(values)
    if is_text_type(kind):
        return moments_of_text(as_text(values))
    raise DateError(f"dates of the type {kind} are not read; {CURE}")


def _of_timestamps(values: Any) -> Moments:
    known = np.asarray(values.is_valid())
    wall, offset = values, None
    try:
        if values.type.tz is not None:
            wall = pc.local_timestamp(values)
            offset = microseconds(wall) - microseconds(values)
    except pa.ArrowInvalid as error:
        raise DateError(
            f"dates have the zone {values.type.tz}, which this system does not know ({first_line(error)}); "
            "convert them to UTC"
        ) from error
    return Moments(microseconds(wall), known, offset, None if offset is None else known)


def times_of_day(values: Any) -> Moments:
    """Read a column as times of day; ``wall`` is microseconds after midnight.

    Raises:
        DateError: if it holds no times of day.
    """
    kind = values.type
    if pa.types.is_time(kind):
        micro = pc.cast(pc.cast(values, pa.time64("us"), safe=False), pa.int64())
        return Moments(np.asarray(pc.fill_null(micro, 0)), np.asarray(values.is_valid()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = pc.cast(pc.cast(values, pa.int64(), safe=False), pa.string())
    if not is_text_type(values.type):
        raise DateError(f"times of the type {kind} are not read; write them as 09:30:00")
    text = as_text(values)
    if pc.all(pc.match_substring_regex(text, r"^\d{1,6}$")).as_py():  # 930, 0930 or 93000: leading zeros may be lost
        widest = int(pc.max(pc.binary_length(text)).as_py() or 0)
        text = pc.utf8_lpad(text, 6 if widest > 4 else 4, "0")
    parts = time_of_day(text)
    if parts is None:
        example = next((value for value in itertools.islice(text.to_pylist(), 1000) if value), "")
        raise DateError(f"times such as {quoted(example)} are not understood; write them as 09:30:00")
    return with_zones(Moments(clock_of(parts), parts.known), parts)
