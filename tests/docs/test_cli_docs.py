"""docs/cli.md shows every verb in its program's own words, and docs/json.md every key that `journal --json` prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from journal.cli import VERBS
from rsc.runs import start_run
from rsc.trading.env import TradingEnv
from tests.journal.cli.world import RUN, World, make_world

ROOT = Path(__file__).parents[2]
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
JSON = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")


def test_cli_page__every_verb__is_there_in_its_own_words():
    shown = set(re.findall(r"<!-- help: ([a-z ]+) -->", CLI))
    assert shown == {"journal", *(f"journal {verb}" for verb in VERBS)} | {
        *("rsc", "rsc prices", "rsc train", "rsc check", "rsc runs", "rsc export", "rsc db upgrade"),
        *("rsc doctor", "rsc evaluate", "rsc compare"),
        *("rsc report", "rsc ui", "rsc episodes", "rsc relocate"),
        *("reconcile", "reconcile status"),
    }
    done = subprocess.run([sys.executable, ROOT / "scripts" / "cli_docs.py", "--check"], timeout=60, check=False)
    assert done.returncode == 0, "run: python scripts/cli_docs.py"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    made = make_world(tmp_path_factory.mktemp("docs") / "journals")
    yield made
    made.marker.close()


def keys_of(verb: str) -> set[str]:
    """The keys in the table under this verb's headline in docs/json.md."""
    section = JSON.split(f"\n## {verb}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([a-z_]+)`", row)}


OUTPUTS = {
    "ls": ["ls", "finished"],
    "ls, without a target": ["ls"],
    "info": ["info", "flipped", "--batches"],
    "verify": ["verify", "flipped", "--deep"],
    "stats": ["stats", RUN],
    "du": ["du"],
    "schema": ["schema"],
    "diff": ["diff", "finished", "killed"],
}


@pytest.mark.parametrize(("verb", "arguments"), OUTPUTS.items(), ids=OUTPUTS)
def test_json_page__keys_of_a_verb__are_those_that_it_prints(world: World, verb: str, arguments: list[str]):
    assert set(world.run(*arguments, "--json").ndjson()[0]) == keys_of(verb)


def test_json_page__recover_and_export__too(world: World, tmp_path: Path):
    assert set(world.run("recover", "flipped", "-o", tmp_path, "--json").json()) == keys_of("recover")
    assert set(world.run("export", "finished", "-o", tmp_path / "out", "--json").json()) == keys_of("export")


@pytest.mark.parametrize("verb", ["runs", "check", "episodes", "report"])
def test_json_page__keys_of_rsc__are_those_that_it_prints(tmp_path: Path, verb: str):
    places = {"database_url": f"sqlite:///{tmp_path}/rsc-data/rsc.db", "journal_root": tmp_path / "rsc-data/journal"}
    with start_run("r1", **places) as run:
        env = run.record(TradingEnv({"episode_length": 20}))
        env.reset(seed=1)
        while not any(env.step(1)[2:4]):
            pass
        env.close()
    words = {"runs": [], "check": ["r1"], "episodes": ["latest"], "report": ["r1"]}[verb]
    command = [sys.executable, "-m", "rsc", verb, *words, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    printed = json.loads(done.stdout)
    assert set(printed[0] if verb == "runs" else printed) == keys_of(f"rsc {verb}")


def test_json_page__keys_of_evaluate_and_compare__are_those_of_the_code():
    for verb in ("evaluate", "compare"):
        source = (ROOT / "rsc" / "cli" / f"{verb}.py").read_text(encoding="utf-8")
        document = source.split("def _document(")[1].split("\ndef ")[0]
        if "stage.facts()" in document:
            source = (ROOT / "rsc" / "policies" / "evaluating.py").read_text(encoding="utf-8")
            document += source.split("def facts(")[1].split("\n@")[0]
        assert set(re.findall(r'^ {8}(?: {4})?"(\w+)":', document, re.MULTILINE)) == keys_of(f"rsc {verb}")
