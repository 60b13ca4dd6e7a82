"""Read text files: detect the encoding, and parse the rows with Arrow's CSV reader."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import csv

from rsc.trading.prices.errors import MarketError, first_line, quoted
from rsc.trading.prices.layout import BLANKS, Layout, fields_of, layout_of
from rsc.trading.prices.names import means_anything, normalised, rank_of
from rsc.trading.prices.numbers import NULLS
from rsc.trading.prices.sheet import Column, Sheet, is_text_type

# Imports inside functions load modules that are slow to import and not always needed.

_HEAD_BYTES = 1 << 18
_BLOCK_BYTES = 1 << 22
_MAX_FOOTERS = 20
_HEADLESS_TEXT = 4
"""In a file without names, dates and times are among the first columns, at most this many."""
_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
_ENCODINGS = ("gb18030", "shift_jis", "euc_kr", "big5", "cp1251", "cp1252", "cp1254", "latin-1")


def sheet_of_text(data: bytes, remarks: list[str]) -> Sheet:
    """Read a text file.

    Raises:
        MarketError: if it is empty, or not text, or not a table.
    """
    data = _as_utf8(data, remarks)
    if not data or data.isspace():
        raise MarketError("the file is empty; download it again")
    _refuse_markup(data)
    starts, lines = _first_lines(data)
    layout = layout_of(lines)
    if layout.skipped:
        count = len(layout.skipped)
        remarks.append(f"{count} line{'s' * (count > 1)} before the table left out: {quoted(layout.skipped[0])}")
    if not any(line.strip() for line in lines[layout.first_line :]):
        raise MarketError("there is a line of names and no row; download the file again")
    return _read(data, starts[layout.first_line], layout, remarks)


def _as_utf8(data: bytes, remarks: list[str]) -> bytes:
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), None)
    if encoding == "utf-8-sig":
        return _as_utf8(data[3:], remarks)
    if encoding is None and b"\0" in data[:1000]:
        head = data[:1000]
        encoding = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
        if max(head[::2].count(0), head[1::2].count(0)) * 3 < len(head):
            raise MarketError("the file is binary and of no kind that is read; write CSV, Parquet or Feather")
    if encoding is not None:
        try:
            return data.decode(encoding).encode()
        except UnicodeDecodeError as error:
            raise MarketError(f"the file starts as {encoding} and is damaged: {error.reason}") from error
    if b"\0" in data:
        raise MarketError("the file holds NUL bytes: its end was not written; download it again")
    if data.isascii() or _is_utf8(data):
        return data
    encoding = _legacy_encoding(data[:4096])
    remarks.append(f"the file is not UTF-8 and is read as {encoding}")
    return data.decode(encoding, "replace").encode()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _legacy_encoding(head: bytes) -> str:
    """Return the encoding with which most of the first words are names of columns."""
    scores = {}
    for encoding in _ENCODINGS:
        words = re.split(r'[,;\t|\r\n"]+', head.decode(encoding, "replace"))[:60]
        scores[encoding] = sum(means_anything(word) and not word.isascii() for word in words)
    best = max(_ENCODINGS, key=lambda each: scores[each])
    return best if scores[best] else "cp1252"


def _refuse_markup(data: bytes) -> None:
    """Refuse other content than a table, such as a web page or JSON."""
    head = data[:400].decode(errors="replace").lstrip()
    lowered = head.lower()
    if re.match(r"<(!doctype|\?xml|html|head|body|div|script|style|meta|table|span|p|br)\b", lowered):
        raise MarketError("the file is a web page, not prices: the download went wrong; open the address in a browser")
    if re.match(r'\{\s*"|\[\s*[\[{"\d]|\{\s*\}|\[\s*\]', head):
        raise MarketError(
            f"the file is JSON, which is not read ({quoted(head, 60)}); "
            "if it holds prices, pandas.read_json(FILE).to_csv(...) makes a file that is"
        )
    if head.startswith("version https://git-lfs"):
        raise MarketError("the file is a pointer of Git LFS, not the file itself; run: git lfs pull")


def _first_lines(data: bytes) -> tuple[list[int], list[str]]:
    """Return the first lines and where each starts."""
    head = data[:_HEAD_BYTES]
    if len(data) > _HEAD_BYTES:
        head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1] or head
    starts, lines = [], []
    for line in re.finditer(rb"[^\r\n]*(\r\n|\n|\r|$)", head):
        if line.start() == len(head):
            break
        starts.append(line.start())
        lines.append(line[0].decode(errors="replace").rstrip("\r\n"))
    return starts, lines


def _read(data: bytes, start: int, layout: Layout, remarks: list[str]) -> Sheet:
    body: Any = memoryview(data)[start:]
    separator = layout.separator
    if separator == BLANKS:
        body, separator = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", re.sub(rb"[ \t]+", b"\t", bytes(body))), "\t"
    names = layout.names
    text = (
        {i for i, name in enumerate(names) if _is_text(name)}
        if names
        else set(range(min(_HEADLESS_TEXT, layout.width)))
    )
    rows = _Rows(body, separator, layout.width)
    every = set(range(layout.width))
    text = every if _has_marks(body, separator) else text
    table = rows.table(text)
    used = {i for i, name in enumerate(names) if means_anything(name) or layout.assets} if names else every
    if any(is_text_type(table.column(i).type) for i in used - text):
        table = rows.table(every)
    _judge_strays(rows, data, start, remarks)
    titles = names or tuple(f"column {i + 1}" for i in range(layout.width))
    assets = layout.assets or (None,) * layout.width
    columns = tuple(Column(*each) for each in zip(titles, table.columns, assets, strict=True))
    sheet = Sheet(columns, headless=names is None)
    return _without_repeated_names(sheet, remarks) if names else sheet


def _is_text(name: str) -> bool:
    """Return True for columns whose digits are not numbers: dates, times and symbols."""
    return any(rank_of(name, field) is not None for field in ("date", "time", "symbol")) or not name.strip()


def _has_marks(body: Any, separator: str) -> bool:
    """Return True if the first numbers have commas or points between thousands, which Arrow would read wrongly."""
    head = bytes(body[:_HEAD_BYTES])
    if re.search(rb"[;\t|,\"]-?\d{1,3}(?:\.\d{3}){2,}[;\t|,\"\r\n]", head):
        return True
    return bool(re.search(rb"\"-?\d+,\d" if separator == "," else rb"\d,\d", head))


@dataclass
class _Rows:
    """Rows of a text file. ``strays`` are the lines with another number of fields."""

    body: Any
    separator: str
    width: int
    strays: tuple[str, ...] = ()

    def table(self, text: set[int]) -> Any:
        """Read the rows. Columns in ``text`` are read as text; Arrow infers the type of the others."""
        strays: list[str] = []

        def skip(row: Any) -> str:
            strays.append(row.text)
            return "skip"

        names = [str(i) for i in range(self.width)]
        try:
            table = csv.read_csv(
                pa.py_buffer(self.body),
                read_options=csv.ReadOptions(column_names=names, block_size=_BLOCK_BYTES),
                parse_options=csv.ParseOptions(delimiter=self.separator, invalid_row_handler=skip),
                convert_options=csv.ConvertOptions(
                    column_types={str(i): pa.string() for i in text},
                    null_values=NULLS,
                    strings_can_be_null=True,
                    true_values=[],
                    false_values=[],
                ),
            )
        except pa.ArrowException as error:
            raise MarketError(f"the file cannot be read as a table: {first_line(error)}") from error
        self.strays = tuple(strays)
        return table


def _judge_strays(rows: _Rows, data: bytes, start: int, remarks: list[str]) -> None:
    """Leave out comments and lines after the table. Refuse other lines with too few or too many fields."""
    strays = [line for line in rows.strays if line.strip() and not line.lstrip().startswith("#")]
    if len(strays) < len(rows.strays):
        remarks.append(f"{len(rows.strays) - len(strays)} lines of comments left out")
    if not strays:
        return
    last = [line.strip() for line in data[-_HEAD_BYTES:].decode(errors="replace").splitlines() if line.strip()]
    behind = 0
    while behind < len(last) and last[-1 - behind] in {line.strip() for line in strays}:
        behind += 1
    if behind < len(strays) or behind > _MAX_FOOTERS:
        line = strays[0]
        at = data.find(line.encode(), start)
        number = data.count(b"\n", 0, max(at, 0)) + 1
        width = len(fields_of(line, rows.separator))
        raise MarketError(
            f"line {number} has {width} fields, the others {rows.width}: {quoted(line)}; correct or delete it"
        )
    remarks.append(f"{behind} line{'s' * (behind > 1)} behind the table left out: {quoted(strays[0])}")


def _without_repeated_names(sheet: Sheet, remarks: list[str]) -> Sheet:
    """Leave out repeated lines of names inside the table, which appended files have."""
    import pyarrow.compute as pc

    column = next((each for each in sheet.columns if each.is_text and normalised(each.name)), None)
    if column is None:
        return sheet
    repeated = pc.fill_null(pc.equal(column.values, column.name), False)
    count = pc.sum(repeated).as_py() or 0
    if not count:
        return sheet
    remarks.append(f"{count} repeated line{'s' * (count > 1)} of names left out")
    return sheet.filter(pc.invert(repeated))
