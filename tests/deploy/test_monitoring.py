"""Alert rules and dashboard ask for metrics that a daemon serves, and the rules fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.daemon.metrics import Gauges
from reconciler.report import PassReport
from tests.attacks.needs import need_program

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PANELS = json.loads((DEPLOY / "dashboard.json").read_text(encoding="utf-8"))["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
RULES = re.findall(r"expr: (.+)", (DEPLOY / "alerts.yml").read_text(encoding="utf-8"))
METRIC = re.compile(r"reconciler_\w+")
GROUPED = re.compile(r"sum by \((\w+)\) \(\w+\((reconciler_\w+)")


def served() -> dict[str, set[str]]:
    """The labels of each sample that a daemon serves after a pass, by name."""
    gauges = Gauges(1.0)
    report = PassReport()
    report.ended["truncated"] += 1
    gauges.passed(report, 0, 0)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(gauges.registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("query", [*QUERIES, *RULES])
def test_queries__metrics_and_labels__are_those_of_the_daemon(query: str) -> None:
    metrics = served()
    assert METRIC.findall(query) or "up{" in query
    assert set(METRIC.findall(query)) <= set(metrics)
    for label, name in GROUPED.findall(query):
        assert label in metrics[name]


def test_queries__every_metric__is_on_the_dashboard() -> None:
    shown = {name.removesuffix("_bucket") for query in QUERIES for name in METRIC.findall(query)}
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in served()}
    assert families == shown | {name.removesuffix("_total") for name in shown} & families


def test_rules__promtool__accepts_them_and_its_tests_pass(tmp_path: Path) -> None:
    promtool = need_program("promtool", "prometheus")
    for name in ("alerts.yml", "alerts_test.yml"):
        shutil.copy(DEPLOY / name, tmp_path)
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard__queries__are_valid_for_promtool(tmp_path: Path) -> None:
    """promtool parses an expression as part of a rule; Grafana fills in its own variable."""
    promtool = need_program("promtool", "prometheus")
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "panels.yml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
