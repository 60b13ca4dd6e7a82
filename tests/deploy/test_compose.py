"""The containers of deploy/: each file is valid for its own tool, and names only what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from reconciler.cli import command
from tests.attacks.needs import need_program

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "words",
    [
        [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        [Path(sys.executable).with_name("hadolint"), "Dockerfile"],
    ],
    ids=["compose", "Dockerfile"],
)
def test_file__its_own_tool__finds_no_fault(words: list[str]) -> None:
    done = subprocess.run(words, cwd=DEPLOY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus__configuration_and_rules__are_valid() -> None:
    promtool = need_program("promtool", "prometheus")
    words = [promtool, "check", "config", "prometheus.yml"]
    done = subprocess.run(words, cwd=DEPLOY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [job["job_name"] for job in load("prometheus.yml")["scrape_configs"]] == ["reconcile"]


def test_compose__files_variables_and_hosts__are_there() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    services = load("compose.yaml")["services"]
    for source in re.findall(r"- (\./[^:]+):", text):
        assert (DEPLOY / source).is_file()
    example = re.findall(r"^(\w+)=", (DEPLOY / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"\$\{(\w+)", text)) == set(example)
    (target,) = load("prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in services
    (source,) = load("grafana/datasource.yml")["datasources"]
    assert re.fullmatch(r"http://(\w+):9090", source["url"])[1] in services  # type: ignore[index]
    (provider,) = load("grafana/dashboards.yml")["providers"]
    assert f"{provider['options']['path']}/dashboard.json:ro" in text
    assert all(published.startswith("127.0.0.1:") for one in services.values() for published in one["ports"])


def test_dockerfile__command__has_options_that_reconcile_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journal.console.log_json", lambda program: None)  # the log of this process stays text
    (line,) = re.findall(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    with command.make_context("reconcile", json.loads(line), resilient_parsing=False) as context:
        assert isinstance(context, click.Context)
        assert context.params["metrics_address"] == "0.0.0.0"  # else Prometheus could not reach it
    port = context.params["metrics_port"]
    assert f":{port}" in str(load("prometheus.yml"))
