"""JSON from a file that anybody may have written: each value is of the type that it must have, or a ValueError."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

# Far from the ends of int64, so that sums of a few of them stay within it.
_MOST = 1 << 62


def json_object(data: bytes) -> dict[str, Any]:
    """Decode an object; raise ValueError for anything else, however deep or long."""
    try:
        raw = json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deep") from error
    return mapping(raw)


def mapping(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("expected an object")
    return value


def whole(value: Any) -> int:
    """An integer that int64 holds with room to spare."""
    if type(value) is not int or not -_MOST < value < _MOST:
        raise ValueError("expected a whole number")
    return value


def moment(value: Any) -> int:
    """A time that an env told: any int64, since that is what the writer takes."""
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise ValueError("expected a time")
    return value


def column(name: str, value: Any) -> int:
    """What a seal or footer says in whole numbers: a market's time is the env's own, all else is ours."""
    return moment(value) if name == "market_time_us" else whole(value)


def real(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError("expected a number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("expected a number of usual size") from error


def text(value: Any) -> str:
    """A string that can be written anywhere: JSON may hold half a surrogate pair, UTF-8 may not."""
    if type(value) is not str:
        raise ValueError("expected a string")
    return value.encode("utf-8", "replace").decode()


def blob(value: Any) -> bytes | None:
    """Bytes in base64, or null."""
    return None if value is None else b64decode(text(value), validate=True)
