"""A header that no reader accepts is never written: it is an error when the writer is made, or it is stored and read."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest

from tests.attacks.processes import run, said
from tests.attacks.scene import Scene

STRANGE = {
    "Decimal": "about(initial_portfolio_value=decimal.Decimal('10000.10'))",
    "numpy float": "about(initial_portfolio_value=np.float32(10_000))",
    "numpy array": "about(initial_portfolio_value=np.array([10_000.0]))",
    "text number": "about(initial_portfolio_value='10000')",
    "nan capital": "about(initial_portfolio_value=float('nan'))",
    "inf capital": "about(initial_portfolio_value=float('inf'))",
    "zero capital": "about(initial_portfolio_value=0.0)",
    "bool capital": "about(initial_portfolio_value=True)",
    "int beyond float": "about(initial_portfolio_value=10**400)",
    "int beyond 2^62": "about(initial_portfolio_value=10**30)",
    "no periods": "about(periods_per_year=None)",
    "text periods": "about(periods_per_year='252')",
    "float time": "about(start_market_time_us=1.5e15)",
    "huge time": "about(start_market_time_us=2**70)",
    "numpy time": "about(start_market_time_us=np.int64(1_577_836_800_000_000))",
    "text time": "about(start_market_time_us='2020-01-01')",
    "env class": "about(env=dict)",
    "env None": "about(env=None)",
    "env lone surrogate": "about(env='\\ud800env')",
    "env NUL": "about(env='a\\0b')",
    "config inf": "about(env_config={'limit': float('inf')})",
    "config nan": "about(env_config={'limit': float('nan')})",
    "config deep nan": "about(env_config={'a': [{'b': (1, float('-inf'))}]})",
    "config numpy": "about(env_config={'a': np.float64('nan'), 'b': np.arange(3), 'c': np.bool_(True)})",
    "config cyclic": "about(env_config=cyclic)",
    "config deep": "about(env_config=deep)",
    "config huge": "about(env_config={'prices': 'x' * (20 << 20)})",
    "config 17 MB array": "about(env_config={'prices': np.zeros(1_000_000)})",
    "config int keys": "about(env_config={1: 2, None: 3, (1, 2): 4})",
    "config big int": "about(env_config={'seed': 2**200})",
    "config set": "about(env_config={'a': {1, 2}})",
    "config bytes": "about(env_config={'a': b'\\xff'})",
    "config surrogate": "about(env_config={'a': '\\udcff'})",
    "config marker": "about(env_config={'a': '\\x01header={}'})",
    "config object": "about(env_config={'a': Weird()})",
    "config None": "about(env_config=None)",
    "config list": "about(env_config=[1, 2])",
    "notes cyclic": "about(notes=cyclic)",
    "notes nan": "about(notes={'x': float('nan')})",
    "notes datetime": "about(notes={'x': datetime.datetime(2020, 1, 1)})",
    "extra columns list": "about(extra_columns=['a', 'b'])",
    "extra columns text": "about(extra_columns='ab')",
    "extra columns generator": "about(extra_columns=(c for c in 'ab'))",
    "extra columns numpy": "about(extra_columns=np.array(['a', 'b']))",
    "extra column surrogate": "about(extra_columns=('\\ud800',))",
}
BEGIN = string.Template(
    """
import datetime, decimal
import numpy as np
class Weird:
    def __str__(self):
        raise RuntimeError("no text")
    __repr__ = __str__
cyclic = {}
cyclic["self"] = cyclic
deep = {}
for _ in range(100_000):
    deep = {"d": deep}
try:
    given = $about
    w = begin($root, "r1", $name, about=given)
    try:
        for step in range(3):
            w.append(action=1.0, reward=0.0, portfolio_value=1.0, price=1.0, cash=1.0, position=0.0, fees=0.0,
                     unrealized_pnl=0.0, market_time=START_US + step, terminated=False, truncated=False,
                     extra=[0.0] * len(given.extra_columns))
        w.close(EndReason.CLOSED)
        told = ["written", str(w.failure)]
    except Exception as error:
        told = ["broken later", repr(error)]
except (TypeError, ValueError, OverflowError, RecursionError, JournalError) as error:
    told = ["refused", type(error).__name__ + ": " + str(error)[:300]]
except Exception as error:
    told = ["refused badly", repr(error)]
del deep
told
"""
)


@pytest.mark.parametrize("kind", STRANGE)
def test_header__strange_value__is_refused_at_once_or_read_back(shared_scene: Scene, kind: str) -> None:
    """Refused by TypeError, ValueError or JournalError without a file; or a failure of the journal; or read back."""
    writer, root = shared_scene.shared, shared_scene.root
    name = "".join(letter if letter.isalnum() else "-" for letter in kind)
    code = BEGIN.substitute(about=STRANGE[kind], root=repr(str(root)), name=repr(name))
    fate, why = writer.do(f"from journal import JournalError, read_journal\n{code}")
    path = root / "r1" / f"{name}.arrows"
    assert fate in ("refused", "written"), why
    if path.exists():
        assert fate == "written", f"refused, and a file stands there: {why}"
        assert not constants_in(path), "NaN and Infinity are no JSON"
        told = writer.do(
            f"""
try:
    look = read_journal({str(path)!r})
    told = [look.steps().num_rows, str(look.state)]
except JournalError as error:
    told = [0, str(error)]
told
"""
        )
        assert told == [3, "closed"] or why != "None", told
    else:
        assert fate == "refused" or why != "None", "no file, and no failure is told"


def constants_in(path: Path) -> list[str]:
    """The tokens in the header's JSON that JSON does not have."""
    data = path.read_bytes()
    start = data.index(b"\x01header=") + len(b"\x01header=")
    found: list[str] = []
    json.JSONDecoder(parse_constant=found.append).raw_decode(data[start:].decode("latin-1"))
    return found


@pytest.mark.parametrize(
    "parameters",
    [
        "{'lr': float('nan'), 'clip': float('inf')}",
        "{'d': __import__('decimal').Decimal('1.5')}",
        "{(1, 2): 3}",
        "{'grid': __import__('numpy').arange(3)}",
        "{'text': '\\ud800'}",
        "{'model': 'x' * (17 << 20)}",
    ],
    ids=["nan", "Decimal", "tuple key", "numpy", "surrogate", "17 MB"],
)
def test_marker__strange_parameters__are_refused_at_once_or_read_back(scene: Scene, parameters: str) -> None:
    """A marker that cannot be read would make its whole run wait for ever."""
    writer = scene.writer()
    fate = writer.do(
        f"""
from journal import JournalError
try:
    m = marker({str(scene.root)!r}, 'r1', {parameters})
    fate = "written"
except (TypeError, ValueError, JournalError) as error:
    fate = "refused"
fate
"""
    )
    if fate == "refused":
        assert not (scene.root / "r1" / "run").exists()
        return
    text = (scene.root / "r1" / "run").read_text(encoding="utf-8", errors="strict")
    assert "NaN" not in text
    assert "Infinity" not in text
    json.loads(text)
    listed = run("journal", "ls", "--json", "--journal-root", scene.root)
    assert json.loads(listed.stdout)["driver"] == "alive", said(listed)
