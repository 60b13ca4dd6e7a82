"""Draw the picture of README.md from the demo's output: `make demo | tee demo.txt; python scripts/picture.py < demo.txt`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "docs" / "demo.svg"
STYLES = {
    r"^\$.*": "bold cyan",
    r"^\d\. .*": "bold",
    r"\bstarted\b|\bNULL\b": "yellow",
    r"\btruncated\b|^\d+ episodes ended": "green",
}


def main() -> int:
    output = re.sub(r"\x1b\[[0-9;]*m", "", sys.stdin.read())
    found = re.search(r"^\$ kill -9.*?^    \.\.\. and \d+ more truncated$", output, re.MULTILINE | re.DOTALL)
    if found is None:
        print("standard input does not contain the output of the demo", file=sys.stderr)
        return 1
    lines = found[0].splitlines()
    console = Console(record=True, width=max(map(len, lines)) + 1, file=io.StringIO())
    for line in lines:
        text = Text(line)
        for pattern, style in STYLES.items():
            text.highlight_regex(pattern, style)
        console.print(text)
    offline = re.sub(r"@font-face \{\{.*?\n\s*\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # loads no fonts
    console.save_svg(str(PICTURE), title="make demo", code_format=offline, unique_id="demo")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
