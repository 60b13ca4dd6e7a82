"""Format tables and pictures as HTML for notebooks."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(facts: Iterable[tuple[str, Any]]) -> str:
    """Return names and values as a table of two columns."""
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(_text(value))}</td></tr>" for name, value in facts)
    return f"<table>{''.join(rows)}</table>"


def picture(figure: Figure) -> str:
    """Return a picture as SVG."""
    from journal.plot import pictures

    sink = io.BytesIO()
    pictures.save(figure, sink, "svg")
    text = sink.getvalue().decode()
    return f'<div style="max-width: 60em">{text[text.index("<svg") :]}</div>'


def paragraph(text: str) -> str:
    """Return a text as a paragraph."""
    return f"<p>{escape(text)}</p>"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else str(value)
