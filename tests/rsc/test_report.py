"""`rsc report`: the page of real runs, in a real browser."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsc
from rsc.report.writing import ReportError, write_report
from rsc.runs import start_run
from rsc.trading.env import TradingEnv

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KILLED = """
import os, signal, sys
import rsc
run = rsc.start_run("killed", journal_root=sys.argv[1], database_url=sys.argv[2])
env = run.record(rsc.TradingEnv({"ticker": "MSFT", "episode_length": 60}))
for steps in (60, 60, 25):
    env.reset(seed=steps)
    for _ in range(steps):
        env.step(env.action_space.sample())
os.kill(os.getpid(), signal.SIGKILL)
"""


def command(module: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run that was killed with SIGKILL in mid-episode and reconciled, and one that ended."""
    folder = tmp_path_factory.mktemp("report")
    root, url = str(folder / "journals"), f"sqlite:///{folder / 'rsc.db'}"
    with start_run("ended", journal_root=root, database_url=url) as run:
        env = run.record(TradingEnv({"ticker": "MSFT", "episode_length": 40}))
        for seed in range(12):
            env.reset(seed=seed)
            for _ in range(40 if seed else 15):
                env.step(env.action_space.sample())
        env.close()
    subprocess.run([sys.executable, "-c", KILLED, root, url], timeout=120, check=False)
    done = command("reconciler", "--run-id", "killed", "--database-url", url, "--grace", "0s", "--journal-root", root)
    assert done.returncode == 0, done.stderr
    return {"journal_root": root, "database_url": url}


def test_report__killed_run__says_what_was_rescued(place: dict[str, str], tmp_path: Path):
    done = command(
        "rsc", "report", "killed", "-o", tmp_path / "run.html", "--json", "--database-url", place["database_url"]
    )
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert "rescued by the reconciler" in run["rescued"][0]
    assert "1 killed" in run["rescued"][0]
    assert run["lost"] == ["Nothing is known to be lost."]
    again = command("rsc", "report", "killed", "-o", tmp_path / "run.html", "--database-url", place["database_url"])
    assert (again.returncode, list(tmp_path.iterdir())) == (0, [tmp_path / "run.html"])


def test_report__rows_of_the_reconciler__are_in_the_order_of_time(place: dict[str, str], tmp_path: Path):
    (run,) = write_report(tmp_path / "run.html", "killed", **place).runs
    assert [one["steps"] for one in run.episodes] == [60, 60, 25]
    assert [one["start"] for one in run.episodes] == sorted(one["start"] for one in run.episodes)


def test_load_run__report__is_the_page_of_the_command(place: dict[str, str], tmp_path: Path):
    path = rsc.load_run("ended", **place).report(tmp_path / "run.html")
    assert path.read_text().count("<h1") == write_report(
        tmp_path / "again.html", "ended", **place
    ).path.read_text().count("<h1")
    assert rsc.load_run("ended", **place).report(path) == path, "an older report is replaced"
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(ReportError, match="is not a report"):
        rsc.load_run("ended", **place).report(tmp_path / "mine.html")


def test_report__journals_gone__rows_remain_and_it_is_said(place: dict[str, str], tmp_path: Path):
    report = write_report(tmp_path / "run.html", "ended", **{**place, "journal_root": tmp_path / "none"})
    assert (report.charts, report.runs[0].without_journal) == (0, 12)
    assert "12 episodes have a row and no journal" in report.path.read_text()


def test_report__other_file_or_no_episodes__is_refused(place: dict[str, str], tmp_path: Path):
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(ReportError, match="not a report"):
        write_report(tmp_path / "mine.html", "ended", **place)
    assert (tmp_path / "mine.html").read_text() == "mine"
    with sqlite3.connect(place["database_url"].removeprefix("sqlite:///")) as connection:
        connection.execute(
            "INSERT INTO training_runs (run_id, start_time, status) VALUES ('bare', '2020-01-01 00:00:00', 'error')"
        )
    with pytest.raises(ReportError, match="no episodes"):
        write_report(tmp_path / "bare.html", "bare", **place)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the page is NOT tested")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: the page is NOT tested in a browser")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page__in_a_browser__sorts_filters_and_opens(
    browser: Any, place: dict[str, str], tmp_path: Path, width: int, theme: str
):
    file = write_report(tmp_path / "run.html", "ended", "killed", **place).path
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"file://{file}")
    page.wait_for_selector("html[data-ready]", state="attached", timeout=30_000)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if theme == "light" else "rgb(20, 23, 28)"
    )
    assert page.locator("#learning-chart canvas").count() == 1
    assert page.locator("#spread-charts figure").count() >= 6

    page.click('[data-key="return"]')
    shown = [
        float(words.rstrip("%").replace(",", ""))
        for words in page.locator("tbody .gain, tbody .loss").all_inner_texts()
    ]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) > 10
    page.fill("#filter", "truncated steps<30")
    assert page.inner_text("#count").endswith(f"of {12 + 3} episodes")
    page.fill("#filter", "nonsense>1")
    assert "no column" in page.inner_text("#count")
    page.fill("#filter", "")

    page.locator("tr.row button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] canvas")
    assert page.locator("dialog canvas").count() == 5, "price, value, drawdown, position, reward"
    assert (
        page.evaluate("document.querySelector('dialog').scrollWidth - document.querySelector('dialog').clientWidth")
        == 0
    )
    page.locator("dialog .plot").first.focus()
    page.keyboard.press("End")
    assert "value" in page.inner_text("dialog .readout")
    drawn = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    assert all(page.locator("dialog canvas").nth(at).evaluate(drawn) > 3 for at in range(5))
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    assert page.evaluate("document.activeElement.closest('tr.row') !== null"), "the focus returns to the row"
    assert problems == []
    context.close()
