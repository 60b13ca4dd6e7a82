"""Colours of the page and of pictures can be told apart by colour-blind readers, and from their background."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from colorspacious import cspace_convert, deltaE

from journal.plot.pictures import PALETTE

CSS = (Path(__file__).parents[2] / "journal" / "plot" / "web" / "page.css").read_text(encoding="utf-8")
THEMES = {"light": CSS.split("@media")[0], "dark": CSS.split(':root[data-theme="dark"] {')[1].split("}")[0]}
KINDS = ("none", "protanomaly", "deuteranomaly", "tritanomaly")


def colours_of(theme: str) -> dict[str, str]:
    return dict(re.findall(r"--(c[1-8]|gain|loss|bg): (#[0-9a-f]{6})", THEMES[theme]))


def seen(colour: str, kind: str) -> np.ndarray:
    """A colour as a reader without one kind of cones sees it (Machado, Oliveira and Fernandes, 2009; severity 100 %)."""
    plain = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    if kind == "none":
        return plain
    return np.clip(cspace_convert(plain, {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}, "sRGB1"), 0.0, 1.0)


def distance(one: str, other: str, kind: str) -> float:
    """Distance in CAM02-UCS, in which 1 is just noticeable."""
    return float(deltaE(seen(one, kind), seen(other, kind), input_space="sRGB1"))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""
    light = []
    for colour in (one, other):
        parts = seen(colour, "none")
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ np.array([0.2126, 0.7152, 0.0722])) + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("palette", "least"), [("light", 14.0), ("dark", 14.0), ("pictures", 10.9)])
def test_palette__any_two_colours__differ(palette: str, least: float, kind: str) -> None:
    colours = PALETTE if palette == "pictures" else [colours_of(palette)[f"c{number}"] for number in range(1, 9)]
    assert min(distance(one, other, kind) for one, other in combinations(colours, 2)) > least


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theme", THEMES)
def test_palette__gain_and_loss__differ_most(theme: str, kind: str) -> None:
    colours = colours_of(theme)
    assert distance(colours["gain"], colours["loss"], kind) > 45


@pytest.mark.parametrize("theme", THEMES)
def test_palette__each_colour__stands_out_from_the_background(theme: str) -> None:
    colours = colours_of(theme)
    assert min(contrast(colours[f"c{number}"], colours["bg"]) for number in range(1, 9)) >= 3


def test_themes__chosen_and_of_the_system__are_the_same() -> None:
    of_the_system = CSS.split("prefers-color-scheme: dark) {")[1].split("{")[1].split("}")[0]
    assert of_the_system.split() == THEMES["dark"].split()
