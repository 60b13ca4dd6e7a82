"""Convert a user's values to those that a journal can store: numbers, times, texts and plain JSON, and back."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec

from journal.errors import JournalValueError
from journal.format.schema import MAX_NUMBER, UNKNOWN_TIME

# Far from the ends of int64, so that sums of a few of them stay within it.
Whole = Annotated[int, msgspec.Meta(gt=-MAX_NUMBER, lt=MAX_NUMBER)]
"""A whole number in JSON."""
Moment = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""Microseconds since 1970 as an env gives them: any int64."""
Natural = Annotated[int, msgspec.Meta(ge=0)]

NAN = float("nan")
EPOCH = datetime.fromtimestamp(0, UTC)

_MAX_DEPTH = 20
_MAX_TEXT = 4096
_MAX_ITEMS = 1024
_MAX_LETTERS = 1 << 20
_CUT = "... (cut)"

T = TypeVar("T")


def decoder_of(kind: type[T]) -> Callable[[bytes], T]:
    """Return a function that decodes JSON of one type, skips keys that the type lacks, and raises ValueError only."""
    decode = msgspec.json.Decoder(kind).decode

    def checked(data: bytes) -> T:
        try:
            return decode(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(str(error)) from error

    return checked


def real(name: str, value: Any) -> float:
    """Return ``value`` as a float: an int, Decimal, Fraction or numpy scalar, but no text. None becomes NaN.

    Raises JournalValueError with the name and the value.
    """
    if value is None:
        return NAN
    if isinstance(value, str | bytes | bytearray):
        raise JournalValueError(name, value, "a number")
    try:
        return float(value)
    except Exception as error:  # any class may fail here in its own way
        raise JournalValueError(name, value, "a number") from error


def number(name: str, value: Any) -> float:
    """Return ``value`` as `real` does, if it is finite; raise JournalValueError with the name and the value."""
    converted = value if type(value) is float else real(name, value)
    if not math.isfinite(converted):
        raise JournalValueError(name, value, "a finite number")
    return converted


def whole(name: str, value: Any) -> int:
    """Return an int of any class as an int that int64 holds; raise JournalValueError with the name and the value."""
    try:
        converted = operator.index(value)
    except Exception as error:  # any class may fail here in its own way
        raise JournalValueError(name, value, "a whole number") from error
    if not -MAX_NUMBER < converted < MAX_NUMBER:
        raise JournalValueError(name, value, "a whole number of at most 62 bits")
    return converted


def truth(name: str, value: Any) -> bool:
    """Return a bool of Python or numpy as a bool; raise JournalValueError with the name and the value."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise JournalValueError(name, value, "True or False")
    return bool(value)


def time_us(name: str, value: Any) -> int:
    """Return a time as microseconds since 1970, UTC.

    Args:
        name: What the time is, for the error.
        value: A datetime with a time zone, a numpy.datetime64, a whole number of microseconds, or None (UNKNOWN_TIME).

    Raises:
        JournalValueError: With the name and the value.
    """
    if value is None:
        return UNKNOWN_TIME
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return value
    expected = "a datetime with a time zone, or whole microseconds since 1970"
    try:
        if isinstance(value, datetime):
            return microseconds(value)
        if hasattr(value, "dtype") and value.dtype.kind == "M":
            return int(value.astype("datetime64[us]").astype("int64"))
        converted = int(value) if not isinstance(value, str | bytes | bool) else None
    except Exception as error:  # any class may fail here in its own way
        raise JournalValueError(name, value, expected) from error
    if converted is None or converted != value or not -(1 << 63) <= converted < 1 << 63:
        raise JournalValueError(name, value, expected)
    return converted


def text(value: Any, most: int = _MAX_TEXT) -> str:
    """Return any value as text that UTF-8 can hold, of at most ``most`` characters; never raises."""
    try:
        full = value if isinstance(value, str) else str(value)
    except Exception:  # a user's __str__ may fail in any way
        full = f"<{type(value).__name__}>"
    full = full[:most]
    return full if full.isascii() else full.encode("utf-8", "replace").decode()


def plain(*mappings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return mappings of any content as plain JSON objects; never raises.

    NaN and infinities, and objects that JSON does not know, become text. What contains itself, is nested deeper than 20
    levels, has more than 1 024 items, or exceeds 1 Mi characters in all is cut, and a text says so.
    """
    conversion = _Conversion()
    return [conversion.mapping(mapping) for mapping in mappings]


def within_limits(data: bytes) -> bool:
    """Return True if `plain` surely cuts nothing of what this JSON holds."""
    few = data.count(b",") < _MAX_ITEMS and data.count(b"{") + data.count(b"[") <= _MAX_DEPTH
    return few and len(data) < _MAX_LETTERS // 16


class _Conversion:
    """The state of one conversion: how many characters are left, and the containers around the current value."""

    def __init__(self) -> None:
        self._left = _MAX_LETTERS
        self._around: list[int] = []

    def mapping(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        self._around.append(id(value))
        try:
            for key, item in value.items():
                if self._left <= 0 or len(converted) == _MAX_ITEMS:
                    converted[_CUT] = f"{len(value)} items"
                    break
                name = self._text(key)
                converted[name] = self._value(item)
        except Exception as error:  # a user's mapping may fail in any way
            converted[_CUT] = text(error)
        self._around.pop()
        return converted

    def _list(self, values: Collection[Any]) -> list[Any]:
        converted: list[Any] = []
        self._around.append(id(values))
        for item in values:
            if self._left <= 0 or len(converted) == _MAX_ITEMS:
                converted.append(f"{_CUT}: {len(values)} items")
                break
            converted.append(self._value(item))
        self._around.pop()
        return converted

    def _text(self, value: Any) -> str:
        short = type(value) is str and len(value) <= self._left and value.isascii()
        converted = value if short else text(value, self._left + 1)
        self._left -= len(converted) + 2
        return converted

    def _value(self, value: Any) -> Any:
        self._left -= 16
        kind = type(value)
        if kind is float:
            return value if math.isfinite(value) else str(value)
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 63 else hex(value)[:_MAX_TEXT]
        if kind is str:
            return self._text(value)
        depth = len(self._around)
        try:
            return self._compound(value)
        except Exception:  # a user's object may fail in any way
            del self._around[depth:]
            return f"<{kind.__name__}>"

    def _compound(self, value: Any) -> Any:
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            if len(self._around) >= _MAX_DEPTH or id(value) in self._around:
                return _CUT
            return self.mapping(value) if isinstance(value, Mapping) else self._list(value)
        if hasattr(value, "tolist") and hasattr(value, "size"):  # a scalar or array of numpy, a pandas Series
            if value.size > _MAX_ITEMS:
                return self._text(f"{type(value).__name__} of shape {value.shape}, {value.dtype}")
            converted = value.tolist()
            if isinstance(converted, list | bool | int | float | str):
                return self._value(converted)
        return self._text(text(value))


def microseconds(time: datetime) -> int:
    """Return the microseconds since 1970 of an aware time, exactly."""
    since = time - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_microseconds(time_us: int) -> datetime:
    """Return the aware UTC time; raise ValueError outside of datetime's range."""
    try:
        return EPOCH + timedelta(microseconds=time_us)
    except OverflowError as error:
        raise ValueError(f"{time_us} us is not a time") from error
