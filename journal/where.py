"""Conditions on values, as a person types them: `pnl < 0`, `state=damaged`, `market_time >= 2020-03-01`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_FORM = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*", re.DOTALL)
_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_ARROW = {"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal", "=": "equal", "!=": "not_equal"}
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Clause:
    """``name op text``; the text is read as whatever kind the value has."""

    name: str
    op: str
    text: str

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Is it true of these values? Never of one that is None."""
        value = values[self.name]
        return value is not None and bool(_PYTHON[self.op](value, self._like(value)))

    def mask(self, batch: pa.RecordBatch) -> pa.Array:
        """A boolean for each row of an Arrow batch."""
        import pyarrow as pa
        from pyarrow import compute

        column = batch.column(self.name)
        if pa.types.is_timestamp(column.type):
            value: Any = pa.scalar(time_of(self.text), column.type)
        elif pa.types.is_boolean(column.type):
            value = pa.scalar(_bool_of(self.text))
        elif pa.types.is_list(column.type):
            column, value = compute.list_value_length(column), pa.scalar(_number_of(self.text))
        else:
            value = pa.scalar(_number_of(self.text))
        return compute.call_function(_ARROW[self.op], [column, value])

    def _like(self, value: Any) -> Any:
        if isinstance(value, bool):
            return _bool_of(self.text)
        if isinstance(value, int | float):
            return _number_of(self.text)
        return time_of(self.text) if isinstance(value, datetime) else self.text


def parse(text: str, known: Collection[str]) -> tuple[Clause, ...]:
    """Conditions joined by `and`; raises ValueError, saying what is expected."""
    found = []
    for part in re.split(r"\s+and\s+", text, flags=re.IGNORECASE):
        match = _FORM.fullmatch(part)
        if match is None or not match[3]:
            raise ValueError(f"{part!r} is no condition, use for example 'pnl < 0'")
        name, op, value = match.groups()
        if name not in known:
            raise ValueError(f"there is no {name!r}, there are: {', '.join(known)}")
        found.append(Clause(name, "=" if op == "==" else op, value.strip("'\"")))
    return tuple(found)


def time_of(text: str) -> datetime:
    """An ISO date or time, UTC if it names no zone; raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time, use for example 2020-03-01 or 2020-03-01T15:30") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _number_of(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def _bool_of(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")
