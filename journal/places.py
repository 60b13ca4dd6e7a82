"""Replace the path of a mirror's temporary folder by the mirror's URL in printed text."""

from __future__ import annotations

shown_as: dict[str, str] = {}
"""Maps the temporary folder of a mirror's copies to the mirror's URL, which is printed instead."""


def shown(text: str) -> str:
    """Return text with each path of `shown_as` replaced by its URL."""
    for place, name in shown_as.items():
        text = text.replace(place, name)
    return text
