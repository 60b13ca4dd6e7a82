"""Show the folder in which a mirror's copies are as the mirror's URL."""

from __future__ import annotations

shown_as: dict[str, str] = {}
"""What is printed in place of a path: the URL of a mirror for the folder of its copies."""


def shown(text: str) -> str:
    """Return text with each path of `shown_as` as a user knows it."""
    for place, name in shown_as.items():
        text = text.replace(place, name)
    return text
