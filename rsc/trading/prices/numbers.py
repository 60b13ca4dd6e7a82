"""Numbers from text: decimal marks, thousands, currencies, and letters such as K, M and B."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rsc.trading.prices.errors import MarketError, quoted
from rsc.trading.prices.sheet import as_text, is_text_type

Floats = NDArray[np.float64]

NULLS = (
    *("", "null", "NULL", "Null", "NaN", "nan", "NAN", "None", "none", "N/A", "n/a", "NA", "na", "<NA>", "NaT", "nil"),
    *("#N/A", "#N/A N/A", "#VALUE!", "#DIV/0!", "-", "--", "\u2014", "\u2013", ".", "..", "?", "*", "-nan", "1.#QNAN"),
)
# Blanks and apostrophes between thousands, currency signs, and codes of currencies at either end.
_DECORATION = r"[\s\x{00a0}\x{202f}\x{2009}'\x{2019}_]|\p{Sc}|^[A-Z]{3}|[A-Z]{3}$|^R\$|^Rs\.?"
_SCALES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
# Values that only one decimal mark can explain, as a regular expression each.
_ONLY_COMMA = (r"\.\d{3}.*,", r"\.\d+\.\d{3}", r"^[+-]?\d{4,},", r",\d{1,2}\D*$", r",\d{4,}\D*$", r"^[+-]?0\d*,")
_ONLY_POINT = (r",\d{2,3}.*\.", r",\d+,\d{3}", r"^[+-]?\d{4,}\.", r"\.\d{1,2}\D*$", r"\.\d{4,}\D*$", r"^[+-]?0\d*\.")


def floats_of(columns: Mapping[str, Any]) -> tuple[dict[str, Floats], dict[str, str]]:
    """Return the columns as float64, null as NaN, and of those that are no numbers their first such value.

    Text is read with one decimal mark for all columns.

    Raises:
        MarketError: if the decimal mark cannot be told.
    """
    texts = {key: _undecorated(values) for key, values in columns.items() if is_text_type(values.type)}
    numbers = {key: _plain(values) for key, values in columns.items() if key not in texts}
    comma = _decimal_comma(texts)
    refused: dict[str, str] = {}
    for key, text in texts.items():
        read = _of_text(text, comma)
        if isinstance(read, int):
            refused[key] = str(columns[key][read])
        else:
            numbers[key] = read
    return {key: numbers[key] for key in columns if key in numbers}, refused


def _plain(values: Any) -> Floats:
    if pa.types.is_null(values.type) or not _is_numeric(values.type):
        return np.full(len(values), np.nan)
    return np.ascontiguousarray(pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _is_numeric(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind))


def is_number_like(kind: Any) -> bool:
    """Return True for Arrow's types that can hold prices: numbers, text, and nothing at all."""
    return _is_numeric(kind) or is_text_type(kind) or bool(pa.types.is_null(kind))


def _undecorated(values: Any) -> Any:
    """Return text that may be numbers, without what only decorates them."""
    text = as_text(values)
    nulls = pc.is_in(text, pa.array(NULLS))
    if pc.any(nulls).as_py():
        text = pc.if_else(nulls, None, text)
    if _casts(text) is not None:
        return text
    text = pc.replace_substring(text, "\u2212", "-")
    return pc.replace_substring_regex(text, _DECORATION, "")


def _casts(text: Any) -> Floats | None:
    try:
        return np.ascontiguousarray(pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowInvalid:
        return None


def _decimal_comma(texts: Mapping[str, Any]) -> bool:
    """Return True if the decimal mark of a file is the comma, False if it is the point."""
    with_commas = {key: text for key, text in texts.items() if pc.any(pc.match_substring(text, ",")).as_py()}
    with_points = {key: text for key, text in texts.items() if pc.any(pc.match_substring(text, ".")).as_py()}
    numeric = r"^[+-]?[\d.,]+(?:[eE][+-]?\d+)?[KMBTkmbt%]?$"
    texts = {
        key: text
        for key, text in {**with_commas, **with_points}.items()
        if pc.all(pc.match_substring_regex(text, numeric)).as_py()
    }
    comma, point = (_example(texts, patterns) for patterns in (_ONLY_COMMA, _ONLY_POINT))
    if comma and point:
        raise MarketError(
            f"numbers such as {quoted(comma)} and {quoted(point)} have different decimal marks; "
            "write all with a decimal point"
        )
    if not comma and not point and (unclear := _example({k: t for k, t in texts.items() if k in with_commas}, (",",))):
        raise MarketError(
            f"numbers such as {quoted(unclear)} can have a decimal comma or thousands; write them with a decimal point"
        )
    return bool(comma)


def _example(texts: Mapping[str, Any], patterns: tuple[str, ...]) -> str | None:
    """Return the first value that one of the patterns is found in."""
    for text in texts.values():
        for pattern in patterns:
            found = pc.match_substring_regex(text, pattern)
            at = pc.index(found, True).as_py()
            if at >= 0:
                return str(text[at])
    return None


def _of_text(text: Any, comma: bool) -> Floats | int:
    """Return the numbers, or the row of the first value that is none."""
    if not comma and (numbers := _casts(text)) is not None:
        return numbers
    percent = pc.ends_with(text, "%")
    last = pc.utf8_upper(pc.utf8_slice_codeunits(text, -1))
    scaled = pc.is_in(last, pa.array(list(_SCALES)))
    body = pc.if_else(pc.or_(percent, scaled), pc.utf8_slice_codeunits(text, 0, -1), text)
    body = pc.replace_substring(body, "." if comma else ",", "")
    body = pc.replace_substring(body, ",", ".") if comma else body
    numbers = _casts(body)
    if numbers is None:
        shape = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(nan|NaN|inf|Inf|Infinity|infinity)$"
        return max(int(pc.index(pc.match_substring_regex(body, shape), False).as_py()), 0)
    scales = pc.fill_null(last, "").to_numpy(zero_copy_only=False)
    for letter, scale in _SCALES.items():
        numbers = np.where(scales == letter, numbers * scale, numbers)
    return np.where(pc.fill_null(percent, False).to_numpy(zero_copy_only=False), numbers / 100, numbers)
