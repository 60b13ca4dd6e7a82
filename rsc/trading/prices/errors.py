"""The exception of this package, and functions that show text from a file in a message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_LONGEST = 40


class MarketError(ValueError):
    """Prices that cannot be used. The message is one printable line with the cause and the cure."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Return the text with each run of blanks and unprintable characters replaced by one space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def quoted(value: Any, most: int = 40) -> str:
    """Return a value of a file in quotes, cut to ``most`` characters."""
    return f"'{_cut(one_line(str(value)), most)}'"


def _cut(text: str, most: int) -> str:
    return f"{text[: most - 3]}..." if len(text) > most else text


def listed(values: Iterable[Any], most: int = 8) -> str:
    """Return the first ``most`` values, separated by commas."""
    texts = [_cut(one_line(str(value)), _LONGEST) or "''" for value in values]
    return ", ".join(texts[:most]) + (f", ... ({len(texts)} in all)" if len(texts) > most else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return _cut((str(error).splitlines() or [type(error).__name__])[0], 160)
