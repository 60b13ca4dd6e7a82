"""Parse numbers from text: decimal marks, thousands, currencies, and letters such as K, M and B."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rsc.trading.prices.errors import MarketError, quoted
from rsc.trading.prices.sheet import as_text, cast_or_none, is_text_type

Floats = NDArray[np.float64]

NULLS = (
    *("", "null", "NULL", "Null", "NaN", "nan", "NAN", "None", "none", "N/A", "n/a", "NA", "na", "<NA>", "NaT", "nil"),
    *("#N/A", "#N/A N/A", "#VALUE!", "#DIV/0!", "-", "--", "\u2014", "\u2013", ".", "..", "?", "*", "-nan", "1.#QNAN"),
)
# Currency signs and codes at either end.
_CURRENCY = r"^(?:[A-Z]{3}|R\$|Rs\.?|\p{Sc})\s*|\s*(?:[A-Z]{3}|kr|\p{Sc})$"
# A blank or an apostrophe between thousands. At other places it may mark a fraction: 101'16 is 101 and 16/32.
_THOUSANDS = r"[\s\x{00a0}\x{202f}\x{2009}'\x{2019}_](\d{3})\b"
_THIRTY_SECONDS = r"^\d{2,3}'\d{2}[0257]$"
_SCALES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
# A regular expression for values that are possible with only one decimal mark.
_ONLY_COMMA = "|".join(
    (r"\.\d{3}.*,", r"\.\d+\.\d{3}", r"^[+-]?\d{4,},", r",\d{1,2}\D*$", r",\d{4,}\D*$", r"^[+-]?0\d*,")
)
_ONLY_POINT = "|".join(
    (r",\d{2,3}.*\.", r",\d+,\d{3}", r"^[+-]?\d{4,}\.", r"\.\d{1,2}\D*$", r"\.\d{4,}\D*$", r"^[+-]?0\d*\.")
)
_NUMERIC = r"^[+-]?[\d.,]+(?:[eE][+-]?\d+)?[KMBTkmbt%]?$"
_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(nan|NaN|inf|Inf|Infinity|infinity)$"
_SAMPLE = 1000


def floats_of(columns: Mapping[str, Any], others: Collection[str] = ()) -> tuple[dict[str, Floats], dict[str, str]]:
    """Read columns as numbers. Text has one decimal mark in all columns.

    Args:
        columns: Arrow arrays.
        others: The columns that decide the decimal mark only if the rest does not. One with another mark is read with its
            own.

    Returns:
        The columns as float64, with NaN for null; and the first invalid value of each column that is not numeric.

    Raises:
        MarketError: if the decimal mark is ambiguous.
    """
    texts = {key: _without_nulls(values) for key, values in columns.items() if is_text_type(values.type)}
    numbers = {key: _casts(texts[key]) if key in texts else _plain(values) for key, values in columns.items()}
    odd = [key for key, read in numbers.items() if read is None]
    if not odd:
        return {key: read for key, read in numbers.items() if read is not None}, {}
    texts.update({key: _undecorated(texts[key]) for key in odd if _is_decorated(texts[key])})
    comma = _decimal_comma(texts, others)
    refused: dict[str, str] = {}
    for key in texts if comma else odd:
        contrary = key in others and _example({key: texts[key]}, _ONLY_POINT if comma else _ONLY_COMMA) is not None
        read = _of_text(texts[key], comma is not contrary)
        if isinstance(read, int):
            refused[key] = str(columns[key][read])
            numbers[key] = None
        else:
            numbers[key] = read
    return {key: read for key, read in numbers.items() if read is not None}, refused


def _plain(values: Any) -> Floats:
    if pa.types.is_null(values.type) or not _is_numeric(values.type):
        return np.full(len(values), np.nan)
    return np.ascontiguousarray(pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _is_numeric(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind))


def is_number_like(kind: Any) -> bool:
    """Return True for Arrow's types that can hold prices: numbers, text, and null."""
    return _is_numeric(kind) or is_text_type(kind) or bool(pa.types.is_null(kind))


def _without_nulls(values: Any) -> Any:
    text = as_text(values)
    nulls = pc.is_in(text, pa.array(NULLS))
    return pc.if_else(nulls, None, text) if pc.any(nulls).as_py() else text


def _undecorated(text: Any) -> Any:
    """Return text without decoration of numbers, such as currency signs."""
    if pc.all(pc.match_substring_regex(_sample(text), _THIRTY_SECONDS)).as_py():
        return text
    plain = pc.replace_substring_regex(pc.replace_substring(text, "\u2212", "-"), _CURRENCY, "")
    return pc.replace_substring_regex(plain, _THOUSANDS, r"\1")


def _is_decorated(text: Any) -> bool:
    return bool(pc.any(pc.match_substring_regex(_sample(text), f"{_CURRENCY}|{_THOUSANDS}|\u2212")).as_py())


def _sample(text: Any) -> Any:
    return text[:: max(1, len(text) // _SAMPLE)]


def _casts(text: Any) -> Floats | None:
    numbers = cast_or_none(text, pa.float64())
    return None if numbers is None else np.ascontiguousarray(numbers.to_numpy(zero_copy_only=False), np.float64)


def _decimal_comma(texts: Mapping[str, Any], others: Collection[str]) -> bool:
    """Return True if the decimal mark of a file is the comma, False if it is the point.

    Raises:
        MarketError: if values have different decimal marks, or all values are ambiguous.
    """
    numeric = {key: text for key, text in texts.items() if _is_numeric_text(text)}
    first = {key: text for key, text in numeric.items() if key not in others}
    rest = {key: text for key, text in numeric.items() if key in others}
    comma, point = (_example(first, pattern) for pattern in (_ONLY_COMMA, _ONLY_POINT))
    if comma and point:
        raise MarketError(
            f"numbers such as {quoted(comma)} and {quoted(point)} have different decimal marks; "
            "write all with a decimal point"
        )
    if comma or point:
        return bool(comma)
    comma, point = (_example(rest, pattern) for pattern in (_ONLY_COMMA, _ONLY_POINT))
    if (unclear := _example(first, ",")) and bool(comma) is bool(point):
        raise MarketError(
            f"numbers such as {quoted(unclear)} can have a decimal comma or thousands; write them with a decimal point"
        )
    return bool(comma) and not point


def _is_numeric_text(text: Any) -> bool:
    return bool(pc.all(pc.match_substring_regex(_sample(text), _NUMERIC)).as_py())


def _example(texts: Mapping[str, Any], pattern: str) -> str | None:
    """Return a value that matches the pattern: from a sample, or else the first one."""
    for text in (*map(_sample, texts.values()), *texts.values()):
        at = pc.index(pc.match_substring_regex(text, pattern), True).as_py()
        if at >= 0:
            return str(text[at])
    return None


def _of_text(text: Any, comma: bool) -> Floats | int:
    """Return the numbers, or the row of the first value that is not a number."""
    if (numbers := _casts(_with_point(text, comma))) is not None:
        return numbers
    text = _undecorated(text)
    last = pc.utf8_upper(pc.utf8_slice_codeunits(text, -1))
    body = pc.if_else(pc.is_in(last, pa.array([*_SCALES, "%"])), pc.utf8_slice_codeunits(text, 0, -1), text)
    body = _with_point(body, comma)
    numbers = _casts(body)
    if numbers is None:
        return max(int(pc.index(pc.match_substring_regex(body, _PLAIN), False).as_py()), 0)
    for letter, scale in {**_SCALES, "%": 0.01}.items():
        with_letter = np.asarray(pc.fill_null(pc.equal(last, letter), False))
        numbers = np.where(with_letter, numbers * scale, numbers)
    return numbers


def _with_point(text: Any, comma: bool) -> Any:
    """Return numbers with a decimal point and nothing between thousands."""
    text = pc.replace_substring(text, "." if comma else ",", "")
    return pc.replace_substring(text, ",", ".") if comma else text
