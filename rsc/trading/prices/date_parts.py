"""Parse years, months, days, hours and zones from text, a whole column at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_SAMPLE = 200
_LONGEST = 100
_FEW_DISTINCT = 0.5
_MAX_UNIFORM_WIDTH = 64
# Syntax that both Python's regular expressions and RE2 accept. Letters: no digit, no blank, no punctuation of dates.
_LETTERS = r"[^\d\s.,/()+:-]+"
_WEEKDAY = rf"(?:{_LETTERS}\.?,? +)?"
_CLOCK = (
    r"(?P<H>\d{1,2})(?:[:h.]?(?P<M>\d{2})(?:[:.]?(?P<S>\d{2})(?:[.,:](?P<F>\d{1,9}))?)?)?"
    r"(?:[ -]?(?P<P>[AaPp])\.? ?[Mm]\.?)?"
)
_ZONE = (
    r"(?: *(?P<ZN>[A-Za-z]{1,5}|[A-Z][A-Za-z_]+/[A-Za-z_/]+)?"
    r"(?: ?(?P<ZS>[+-])(?P<ZH>\d{2}):?(?P<ZM>\d{2})?(?: UTC)?)?(?: *\([^)]*\))?)"
)
_TIME = rf"(?:(?:T| *[ ,_;] *){_CLOCK})?{_ZONE}"
_TIGHT_TIME = rf"(?:(?:T|[ ,_;-]*){_CLOCK})?{_ZONE}"
_LAYOUTS = {
    "ymd": rf"^{_WEEKDAY}(?P<y>\d{{4}}) ?[-/.年] ?(?P<m>\d{{1,2}}) ?[-/.月] ?(?P<d>\d{{1,2}})\.?日?{_TIME}$",
    "compact": rf"^(?P<y>\d{{4}})(?P<m>\d{{2}})(?P<d>\d{{2}}){_TIGHT_TIME}$",
    "slash": rf"^{_WEEKDAY}(?P<a>\d{{1,2}}) ?[-/ ] ?(?P<b>\d{{1,2}}) ?[-/ ] ?(?P<c>\d{{4}}|\d{{2}}){_TIME}$",
    "dot": rf"^{_WEEKDAY}(?P<a>\d{{1,2}})\. ?(?P<b>\d{{1,2}})\. ?(?P<c>\d{{4}}|\d{{2}})\.?{_TIME}$",
    "day_month": (
        rf"^{_WEEKDAY}(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.)?[ /-]*(?:de |of )?(?P<mon>{_LETTERS})\.?,?[ /-]*(?:de |of )?"
        rf"(?P<y>\d{{4}}|\d{{2}})(?::{_CLOCK.replace('P<', 'P<x')})?{_TIME}$"
    ),
    "month_day": (
        rf"^{_WEEKDAY}(?P<mon>{_LETTERS})\.?[ /-]+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?[ /-]+(?P<y>\d{{4}}|\d{{2}}){_TIME}$"
    ),
    "year_month_day": rf"^(?P<y>\d{{4}})[ /-]*(?P<mon>{_LETTERS})\.?[ /-]*(?P<d>\d{{1,2}}){_TIME}$",
    "year_month": r"^(?P<y>\d{4})[-/. ](?P<m>\d{1,2})$",
    "month_year": rf"^(?P<mon>{_LETTERS})\.?[ /-]+(?P<y>\d{{4}})$",
}
_TIME_OF_DAY = rf"^{_CLOCK}{_ZONE}$"


@dataclass(frozen=True)
class Parts:
    """The parts of a column's values, arrays of shape (n,). ``known`` is False where a value has another layout.

    ``numbers`` has keys y m d a b c H M S (integers, 0 where missing), F (microseconds), Z (microseconds east of UTC),
    P (1 for PM). ``has`` is True where a value has the group. ``words`` are the names of months (mon) and of zones (ZN):
    for each value the index of its name in a list.
    """

    layout: str
    known: Bools
    numbers: Mapping[str, Ints]
    has: Mapping[str, Bools]
    words: Mapping[str, tuple[Ints, list[str]]]
    example: str
    two_digit_year: bool


def parts_of(text: Any, layouts: Mapping[str, str] = _LAYOUTS) -> Parts | None:
    """Split a column of text by the layout that most of it has; None if no layout fits."""
    sample = [value for value in text[:: max(1, len(text) // _SAMPLE)].to_pylist() if value]
    short = [value for value in sample if len(value) <= _LONGEST]
    counts = {name: sum(bool(re.match(layout, value)) for value in short) for name, layout in layouts.items()}
    name = max(counts, key=lambda each: counts[each])
    if not sample or counts[name] * 2 <= len(sample):
        return None
    example = next(value for value in short if re.match(layouts[name], value))
    uniform = _uniform(text, example)
    if uniform is not None:
        return _from_letters(name, layouts[name], uniform, example)
    codes = pc.dictionary_encode(text)
    if len(codes.dictionary) < _FEW_DISTINCT * len(text):
        parts = _by_regex(name, layouts[name], codes.dictionary, example)
        return _taken(parts, codes.indices)
    return _by_regex(name, layouts[name], text, example)


def time_of_day(text: Any) -> Parts | None:
    """Split a column of times of day, such as '09:30', '093000' or '9:30 PM'."""
    return parts_of(text, {"time": _TIME_OF_DAY})


def _uniform(text: Any, example: str) -> NDArray[np.uint8] | None:
    """Return the letters of values that differ only in digits and in AM or PM, shape (width, n); else None."""
    width = len(example)
    if text.null_count or not example.isascii() or width > _MAX_UNIFORM_WIDTH:
        return None
    offsets = np.frombuffer(text.buffers()[1], np.int32, len(text) + 1, text.offset * 4)
    if offsets[-1] - offsets[0] != width * len(text) or (np.diff(offsets) != width).any():
        return None
    data = np.frombuffer(text.buffers()[2], np.uint8, width * len(text), int(offsets[0])).reshape(-1, width)
    if any(not _alike(data[:: max(1, len(data) // _SAMPLE), at], letter) for at, letter in enumerate(example.encode())):
        return None
    columns = np.ascontiguousarray(data.T)
    return columns if all(map(_alike, columns, example.encode())) else None


def _alike(letters: NDArray[np.uint8], letter: int) -> bool:
    """Return True if all letters are of the kind of this one: a digit, A or P, or the same letter."""
    if 48 <= letter <= 57:
        return bool((letters - np.uint8(48)).max(initial=0) <= 9)
    if letter in b"AaPp":
        return bool(np.isin(letters, (letter, letter ^ ord("A") ^ ord("P"))).all())
    return bool((letters == letter).all())


def _from_letters(name: str, layout: str, letters: NDArray[np.uint8], example: str) -> Parts:
    """Read the groups at their places in the example."""
    found = re.match(layout, example)
    assert found is not None
    size = letters.shape[1]
    spans = {key.lstrip("x"): found.span(key) for key, value in found.groupdict().items() if value is not None}
    has = {key: np.ones(size, bool) for key in spans}
    words = {
        str(key): (np.zeros(size, np.int64), [example[slice(*spans[key])]]) for key in ("mon", "ZN") if key in spans
    }
    numbers = {
        key: _digits(letters[start:end]) for key, (start, end) in spans.items() if key not in ("mon", "P", "ZN", "ZS")
    }
    if "P" in spans:
        numbers["P"] = (letters[spans["P"][0]] | 0x20 == ord("p")).astype(np.int64)
    if "F" in numbers:
        numbers["F"] = numbers["F"] * 10**9 // 10 ** (spans["F"][1] - spans["F"][0]) // 1000
    sign = np.full(size, -1 if "ZS" in spans and example[spans["ZS"][0]] == "-" else 1)
    short = ("c" in spans and spans["c"][1] - spans["c"][0] == 2) or (
        "y" in spans and spans["y"][1] - spans["y"][0] == 2
    )
    return Parts(name, np.ones(size, bool), _with_zone(numbers, sign), has, words, example, short)


def _digits(letters: NDArray[np.uint8]) -> Ints:
    number = np.zeros(letters.shape[1], np.int32)
    for digits in letters:
        number *= 10
        number += digits - np.uint8(48)
    return number.astype(np.int64)


def _with_zone(numbers: dict[str, Ints], sign: Ints) -> dict[str, Ints]:
    if "ZH" in numbers:
        hours, minutes = numbers.pop("ZH"), numbers.pop("ZM", np.int64(0))
        numbers["Z"] = sign * (hours * 60 + minutes) * 60_000_000
    return numbers


def _by_regex(name: str, layout: str, text: Any, example: str) -> Parts:
    """Read the groups of each value by the regular expression."""
    fields = pc.extract_regex(text, layout)
    known = np.asarray(fields.is_valid())
    columns = {key.name: pc.struct_field(fields, key.name) for key in fields.type}
    for key in [key for key in columns if key.startswith("x")]:
        other = columns.pop(key)
        own = columns[key[1:]]
        columns[key[1:]] = pc.if_else(pc.equal(pc.binary_length(own), 0), other, own)
    has = {
        key: known & np.asarray(pc.fill_null(pc.greater(pc.binary_length(each), 0), False))
        for key, each in columns.items()
    }
    columns = {key: each for key, each in columns.items() if has[key].any()}
    if "F" in columns:
        columns["F"] = pc.utf8_slice_codeunits(pc.utf8_rpad(columns["F"], 6, "0"), 0, 6)
    words = {key: _words(columns.pop(key)) for key in ("mon", "ZN") if key in columns}
    sign = np.where(_equals(columns.pop("ZS"), "-"), -1, 1) if "ZS" in columns else np.ones(len(text), np.int64)
    afternoon = _equals(pc.utf8_lower(columns.pop("P")), "p").astype(np.int64) if "P" in columns else None
    years = [columns[key] for key in ("y", "c") if key in columns]
    short = any(bool(pc.any(pc.equal(pc.binary_length(each), 2)).as_py()) for each in years)
    numbers = {key: _ints(each) for key, each in columns.items()}
    if afternoon is not None:
        numbers["P"] = afternoon
    return Parts(name, known, _with_zone(numbers, sign), has, words, example, short)


def _equals(text: Any, value: str) -> Bools:
    return np.asarray(pc.fill_null(pc.equal(text, value), False))


def _words(text: Any) -> tuple[Ints, list[str]]:
    codes = pc.dictionary_encode(pc.fill_null(text, ""))
    return np.asarray(codes.indices).astype(np.int64), [str(name) for name in codes.dictionary.to_pylist()]


def _ints(text: Any) -> Ints:
    filled = pc.if_else(pc.equal(pc.binary_length(text), 0), "0", text)
    return np.asarray(pc.fill_null(pc.cast(filled, pa.int64()), 0))


def _taken(parts: Parts, indices: Any) -> Parts:
    """Spread the parts of distinct values over the rows that have them."""
    at = np.asarray(pc.fill_null(indices, 0))
    given = np.asarray(indices.is_valid())

    return replace(
        parts,
        known=parts.known[at] & given,
        numbers={key: each[at] for key, each in parts.numbers.items()},
        has={key: each[at] & given for key, each in parts.has.items()},
        words={key: (codes[at], names) for key, (codes, names) in parts.words.items()},
    )
