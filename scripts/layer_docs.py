"""Write the layers of pyproject.toml into docs/architecture.md, or with --check fail if the page differs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pages import renew

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
# The contracts give the text between these two lines.
BLOCK = re.compile(r"(<!-- layers -->\n```text\n).*?(\n```)", re.DOTALL)
PACKAGES = ("reconciler", "rsc", "journal")
COLUMN = 14


def _lines() -> Iterator[str]:
    """Yield each package's layers, from the highest to the lowest."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    layers = {tuple(one["containers"]): one["layers"] for one in contracts if "containers" in one}
    for package in PACKAGES:
        for place, layer in enumerate(layers[package,]):
            modules = ", ".join(re.findall(r"\w+", layer))
            yield f"{'' if place else package:{COLUMN}}{modules}"
        yield ""


def renewed(page: str) -> str:
    """Return the page with the layers of the contracts."""
    return BLOCK.sub(lambda block: block[1] + "\n".join(_lines()).rstrip() + block[2], page)


if __name__ == "__main__":
    raise SystemExit(renew(PAGE, renewed))
