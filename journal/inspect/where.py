"""Parse and apply conditions such as `pnl < 0`, `state=damaged`, `market_time >= 2020-03-01`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# Imports inside functions load modules that are slow to import and not always needed.

_FORM = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*", re.DOTALL)
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Clause:
    """Condition ``name op text``. The text is converted to the type of the value."""

    name: str
    op: str
    text: str

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return True if the condition holds. It never holds for None."""
        value = values[self.name]
        return value is not None and bool(OPERATORS[self.op](value, self.value_as(type(value))))

    def value_as(self, kind: type) -> Any:
        """Return the text as a bool, number, time or text. Raises ValueError."""
        if kind is bool:
            return _bool_of(self.text)
        if kind in (int, float):
            return _number_of(self.text)
        return time_of(self.text) if kind is datetime else self.text

    def mask(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Return a boolean per row of an Arrow batch. A list counts as its length."""
        import numpy as np
        import pyarrow as pa

        from journal.format.decoding import numpy_of

        column, value = batch.column(self.name), self._value_like(batch.schema.field(self.name).type)
        if pa.types.is_list(column.type):
            column = column.value_lengths()
        return np.asarray(OPERATORS[self.op](numpy_of(column), value))

    def _value_like(self, kind: pa.DataType) -> Any:
        import pyarrow as pa

        from journal.format.header import microseconds

        if pa.types.is_timestamp(kind):
            return microseconds(time_of(self.text))
        return _bool_of(self.text) if pa.types.is_boolean(kind) else _number_of(self.text)


def parse(text: str, known: Collection[str]) -> tuple[Clause, ...]:
    """Parse conditions joined by `and`. The ValueError for a wrong one names what is expected."""
    found = []
    for part in re.split(r"\s+and\s+", text, flags=re.IGNORECASE):
        match = _FORM.fullmatch(part)
        if match is None or not match[3]:
            raise ValueError(f"{part!r} is not a condition, use for example 'pnl < 0'")
        name, op, value = match.groups()
        if name not in known:
            raise ValueError(f"there is no {name!r}, there are: {', '.join(known)}")
        found.append(Clause(name, "=" if op == "==" else op, value.strip("'\"")))
    return tuple(found)


def time_of(text: str) -> datetime:
    """Parse an ISO date or time, UTC without a zone. Raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time, use for example 2020-03-01 or 2020-03-01T15:30") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _number_of(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _bool_of(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")
