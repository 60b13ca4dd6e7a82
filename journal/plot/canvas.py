"""Draw curves with braille characters (2 x 4 dots each), or with ASCII if the terminal has no braille."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from journal.plot.series import Floats

_BRAILLE = 0x2800
# The bit of each dot of a braille character, by row and column.
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = " .:-=+*#@"


class Canvas:
    """A grid of ``columns`` x ``rows`` characters. Curves are drawn as dots, and marks as characters over the curves."""

    def __init__(self, columns: int, rows: int, *, braille: bool = True) -> None:
        self.columns, self.rows = columns, rows
        self._fine = (2, 4) if braille else (1, 1)
        self._dots = np.zeros((rows * self._fine[1], columns * self._fine[0]), bool)
        self._owner = np.full((rows, columns), -1)
        self._marks: dict[tuple[int, int], tuple[str, int]] = {}

    def curve(self, x: Floats, y: Floats, owner: int = 0, *, filled_from: float | None = None) -> None:
        """Draw a curve of points in [0, 1] x [0, 1], with y upwards. Skip points that are not finite.

        Args:
            x: Horizontal places, ascending, shape (n,).
            y: Vertical places, shape (n,).
            owner: The number that selects the curve's colour.
            filled_from: Fill the area between the curve and this y. If None, draw only the curve.
        """
        finite = np.isfinite(x) & np.isfinite(y)
        if not finite.any():
            return
        height, width = self._dots.shape
        x, y = _without_gaps(x[finite] * (width - 1), y[finite] * (height - 1))
        columns = np.clip(np.rint(x).astype(int), 0, width - 1)
        rows = height - 1 - np.clip(np.rint(y).astype(int), 0, height - 1)
        base = None if filled_from is None else height - 1 - round(filled_from * (height - 1))
        before = int(rows[0])
        for column, row in zip(columns.tolist(), rows.tolist(), strict=True):
            self._stroke(column, row, before if base is None else base, owner)
            before = row

    def _stroke(self, column: int, start: int, end: int, owner: int) -> None:
        low, high = max(min(start, end), 0), min(max(start, end), len(self._dots) - 1)
        self._dots[low : high + 1, column] = True
        self._owner[low // self._fine[1] : high // self._fine[1] + 1, column // self._fine[0]] = owner

    def mark(self, x: float, y: float, letter: str, owner: int) -> None:
        """Put a character at a point of [0, 1] x [0, 1]. It replaces an earlier mark at this place."""
        column = min(max(round(x * (self.columns - 1)), 0), self.columns - 1)
        row = self.rows - 1 - min(max(round(y * (self.rows - 1)), 0), self.rows - 1)
        self._marks[row, column] = (letter, owner)

    def lines(self) -> list[list[tuple[str, int]]]:
        """Return rows of characters with their owners, -1 for an empty cell."""
        letters = self._letters()
        out = []
        for row in range(self.rows):
            cells = list(zip(letters[row], self._owner[row].tolist(), strict=True))
            for column in range(self.columns):
                if (row, column) in self._marks:
                    cells[column] = self._marks[row, column]
            out.append(cells)
        return out

    def _letters(self) -> list[list[str]]:
        if self._fine == (1, 1):
            return [["*" if dot else " " for dot in row] for row in self._dots.tolist()]
        cells = self._dots.reshape(self.rows, 4, self.columns, 2).astype(int)
        codes = np.einsum("ricj,ij->rc", cells, _BITS)
        return [[chr(_BRAILLE + code) if code else " " for code in row] for row in codes.tolist()]


def _without_gaps(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the curve with a point in each column that it crosses."""
    between = np.arange(np.ceil(x[0]), np.floor(x[-1]) + 1)
    every = np.concatenate((x, between))
    order = np.argsort(every, kind="stable")
    return every[order], np.concatenate((y, np.interp(between, x, y)))[order]


def scaled(values: NDArray[np.generic], low: float, high: float) -> Floats:
    """Scale values to fractions of the range from low to high."""
    span = high - low
    numbers = values.astype(float)
    return (numbers - low) / span if span > 0 else np.full(len(numbers), 0.5)


def sparkline(values: Floats, width: int, low: float, high: float, *, unicode: bool = True) -> str:
    """Return a curve as one line of ``width`` characters. A missing value is a blank."""
    blocks = _BLOCKS if unicode else _ASCII_BLOCKS
    if not len(values):
        return " " * width
    at = np.linspace(0, len(values) - 1, width).round().astype(int)
    fractions = np.clip(scaled(values[at], low, high), 0.0, 1.0)
    return "".join(" " if not np.isfinite(part) else blocks[1 + round(part * (len(blocks) - 2))] for part in fractions)
