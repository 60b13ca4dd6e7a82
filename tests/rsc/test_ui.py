"""`rsc ui`: a real server over runs that are being recorded, in a real browser."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from journal.errors import JournalExistsError
from journal.host.liveness import Observer
from journal.write.marker import RunMarker, marker_liveness
from rsc.records.names import find_run
from rsc.ui.following import LiveRun

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LIVE = '#live:text-is("live")'
HOSTILE = "<img src=x onerror=alert(1)>'\"&"
RECORDED = """
import sys
import rsc
with rsc.start_run("ended", journal_root=sys.argv[1], database_url=sys.argv[2]) as run:
    env = run.record(rsc.TradingEnv({"ticker": "MSFT", "episode_length": 40}))
    for seed in range(4):
        env.reset(seed=seed)
        for _ in range(40 if seed else 15):
            env.step(env.action_space.sample())
    env.close()
"""
ON_REQUEST = """
import sys
import rsc
with rsc.start_run("live", journal_root=sys.argv[1], database_url=sys.argv[2]) as run:
    env = run.record(rsc.TradingEnv({"ticker": "MSFT", "episode_length": 200}))
    env.reset(seed=1)
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            env.step(env.action_space.sample())
        if line == "0\\n":
            env.reset(seed=2)
        print("done", flush=True)
    env.close()
"""


class Recording:
    """A process that records the run "live", and steps when it is told to."""

    def __init__(self, place: dict[str, str]) -> None:
        words = [sys.executable, "-c", ON_REQUEST, place["journal_root"], place["database_url"]]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.steps = 0
        self._answer()

    def step(self, count: int) -> None:
        """Make steps; 0 resets the env."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        self._answer()
        self.steps += count

    def _answer(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the recording ended"

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


@contextmanager
def served(place: dict[str, str], *more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server on a free port: its URL and its process. It is killed if it does not end by itself."""
    words = [sys.executable, "-m", "rsc", "ui", "--port", "0", "--database-url", place["database_url"], *more]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.match(r"(http://127\.0\.0\.1:\d+)/ \(Ctrl-C", process.stdout.readline())
        assert found, process.communicate(timeout=30)
        yield found[1], process
    finally:
        process.kill()
        process.communicate(timeout=30)


def answer(url: str, path: str, host: str | None = None) -> tuple[int, str]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("GET", path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    return response.status, response.read().decode()


def events(url: str, path: str) -> Iterator[dict[str, Any]]:
    """The events of a stream."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("GET", path)
    for line in connection.getresponse():
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run that ended, and rows with hostile texts."""
    folder = tmp_path_factory.mktemp("ui")
    root, url = str(folder / "journals"), f"sqlite:///{folder / 'rsc.db'}"
    subprocess.run([sys.executable, "-c", RECORDED, root, url], timeout=120, check=True)
    with sqlite3.connect(folder / "rsc.db") as connection:
        connection.execute(
            "INSERT INTO training_runs (run_id, start_time, status, notes, algorithm) VALUES (?, ?, 'error', ?, ?)",
            ("hostile", "2020-01-01 00:00:00", HOSTILE, HOSTILE),
        )
        connection.execute(
            "INSERT INTO episodes (run_id, journal_id, status, start_time, market, status_reason)"
            " VALUES ('hostile', 'j1', 'error', '2020-01-01 00:00:00', ?, ?)",
            (HOSTILE, HOSTILE),
        )
    return {"journal_root": root, "database_url": url}


@pytest.fixture(scope="module")
def recording(place: dict[str, str]) -> Iterator[Recording]:
    found = Recording(place)
    found.step(10)
    yield found
    found.process.kill()
    found.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def url(place: dict[str, str]) -> Iterator[str]:
    with served(place) as (found, _):
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the page is NOT tested")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: the page is NOT tested in a browser")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_ui__host_of_another_site__is_refused(url: str):
    port = url.rpartition(":")[2]
    for good in (f"127.0.0.1:{port}", f"localhost:{port}", f"LocalHost:{port}", f"[::1]:{port}"):
        assert answer(url, "/", good)[0] == 200, good
    for bad in (
        "evil.example",
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        "localhost.evil.example",
        "a@b",
    ):
        for path in ("/", "/events", "/runs/ended", "/runs/ended/sparks"):
            status, words = answer(url, path, bad)
            assert (status, words.count("\n")) == (421, 1), bad


def test_ui__names_of_runs__lead_to_their_page_or_are_one_line(url: str):
    assert answer(url, "/runs/ende")[0] == 307
    status, page = answer(url, "/runs/ended")
    assert status == 200
    assert "4</b> episodes" in page
    for name in ("nope", "..%2Fetc", "%00", "ended,nope"):
        status, words = answer(url, f"/runs/{name}")
        assert (status, words.count("\n")) == (404, 1), words
    assert answer(url, "/runs/ended/episodes/..%2F..%2Frsc.db")[0] == 404
    assert answer(url, "/runs/ended/episodes/nope")[0] == 404


def test_ui__database_with_hostile_texts__page_has_them_escaped(url: str):
    for path in ("/", "/runs/hostile"):
        status, page = answer(url, path)
        assert status == 200
        assert "<img" not in page
        assert "&lt;img src=x" in page
    first = next(events(url, "/runs/hostile/events"))
    assert "<img" not in first["html"]["cards"]


def test_ui__stream__tells_only_what_changed(url: str, recording: Recording):
    stream = events(url, "/runs/live/events")
    first = next(stream)
    assert first["columns"]["steps"] == [recording.steps]
    recording.step(5)
    while (event := next(stream))["columns"]["steps"] != [recording.steps]:
        assert len(event["columns"]["name"]) == 1
    assert event["columns"]["live"] == [True]
    later = events(url, f"/runs/live/events?since={event['version']}")
    recording.step(2)
    assert next(later)["columns"]["steps"] == [recording.steps]
    earlier = next(events(url, "/runs/ended,live/events?since=999999"))
    assert len(earlier["columns"]["name"]) == 5, "the number of an earlier server: everything is sent"


def test_ui__reader__writes_nothing(place: dict[str, str], url: str):
    folder = Path(place["journal_root"]).parent
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.journal") if "ended" in str(path)}
    answer(url, "/runs/ended")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.journal") if "ended" in str(path)} == kept


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ui__signal_with_open_streams__ends_at_once(place: dict[str, str], sign: signal.Signals):
    with served(place) as (own, process):
        streams = [events(own, "/runs/ended/events"), events(own, "/events")]
        for stream in streams:
            next(stream)
        begun = time.monotonic()
        process.send_signal(sign)
        assert process.wait(30) == 0
        assert time.monotonic() - begun < 5, "a second on a quiet machine"
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_ui__cannot_start__is_one_line(place: dict[str, str], tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = {
            ("--port", port): "in use",
            ("--port", "0", "--host", "192.0.2.1"): "no address of this machine",
            ("--port", "0", "--database-url", f"sqlite:///{tmp_path / 'none.db'}"): "there is no database",
        }
        for words, expected in cases.items():
            done = subprocess.run(
                [sys.executable, "-m", "rsc", "ui", *words], capture_output=True, text=True, timeout=60, check=False
            )
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
            assert expected in done.stderr
    assert not (tmp_path / "none.db").exists()


def test_ui__extra_is_missing__says_how_to_install(tmp_path: Path):
    code = "import sys; sys.modules['uvicorn'] = None; sys.argv = ['rsc', 'ui']; from rsc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "pip install 'reinforce-strategy-creator[ui]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert importlib.util.find_spec("uvicorn") is not None


def watched(page: Any) -> list[str]:
    """What the browser complains about, from now on."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
    return problems


def within(seconds: float, page: Any, found: Callable[[], bool]) -> float:
    """Wait until something is true, and return how long that took."""
    begun = time.monotonic()
    while not found():
        assert time.monotonic() - begun < seconds
        page.wait_for_timeout(20)
    return time.monotonic() - begun


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1280, "dark"), (390, "dark"), (1280, "light")])
def test_ui__recording_goes_on__page_moves(browser: Any, url: str, recording: Recording, width: int, theme: str):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
    page = context.new_page()
    problems = watched(page)
    page.goto(f"{url}/runs/live")
    page.wait_for_selector("html[data-ready]", state="attached", timeout=30_000)
    page.wait_for_selector(LIVE)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if theme == "light" else "rgb(20, 23, 28)"
    )
    page.wait_for_selector("svg.spark")
    page.locator("tr.row button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] canvas")
    page.locator("dialog .plot").first.focus()
    page.keyboard.press("End")

    def shown() -> bool:
        words = page.locator("dialog .figures div", has_text="steps").first.inner_text()
        return re.sub(r"\D", "", words) == str(recording.steps)

    recording.step(7)
    took = within(10, page, shown)
    assert took < 4, "two seconds on a quiet machine"
    assert page.evaluate("document.activeElement.classList.contains('plot')"), "the focus stays on the chart"
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    # The focus returns to the row, by an event that the browser sends after the dialog is hidden.
    page.wait_for_selector("tr.row:focus-within", timeout=5_000)
    assert problems == []
    context.close()


def test_ui__episode_ends_and_another_begins__two_browsers_show_both(browser: Any, url: str, recording: Recording):
    pages = [browser.new_context().new_page() for _ in range(2)]
    problems = [watched(page) for page in pages]
    for page in pages:
        page.goto(f"{url}/runs/live")
        page.wait_for_selector("tr.row")
    before = pages[0].locator("tr.row").count()
    pages[0].fill("#filter", "steps>0")
    recording.step(0)
    recording.step(3)
    for page in pages:
        within(10, page, lambda page=page: page.locator("tr.row").count() == before + 1)
    assert pages[0].input_value("#filter") == "steps>0"
    assert problems == [[], []]
    for page in pages:
        page.context.close()


def test_ui__overview__lists_runs_and_compares(browser: Any, place: dict[str, str], url: str, recording: Recording):
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    problems = watched(page)
    page.goto(url)
    page.wait_for_selector(LIVE)
    assert page.locator("#overview a").all_inner_texts() == ["live", "ended", "hostile"]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert "No pass was made yet" in page.inner_text("#passes")
    assert page.is_disabled("#compare")
    for name in ("live", "ended"):
        page.locator(f'input[value="{name}"]').focus()
        page.keyboard.press("Space")
    with sqlite3.connect(place["database_url"].removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE training_runs SET algorithm = 'PPO' WHERE run_id = 'ended'")
    within(10, page, lambda: "PPO" in page.inner_text("#overview"))
    assert page.locator("#overview input:checked").count() == 2, "the choice stays"
    page.click("#compare")
    page.wait_for_url("**/runs/live,ended")
    page.wait_for_selector("tr.row")
    assert page.locator(".card").count() == 2
    page.goto(f"{url}/runs/hostile")
    page.wait_for_selector("tr.row")
    page.locator("tr.row button").first.click()
    page.wait_for_selector("dialog[open] .notice")
    assert page.locator("img").count() == 0
    assert problems == []
    context.close()


def test_ui__server_ends_and_comes_back__page_says_so_and_goes_on(browser: Any, place: dict[str, str]):
    context = browser.new_context()
    page = context.new_page()
    with served(place) as (own, process):
        page.goto(f"{own}/runs/ended")
        page.wait_for_selector(LIVE)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        page.wait_for_selector('#live:has-text("not live")')
    with served(place, "--port", own.rpartition(":")[2]):
        page.wait_for_selector(LIVE, timeout=20_000)
    context.close()


def test_live_run__rows_end__looks_read_only_what_changed(place: dict[str, str]):
    run = LiveRun(find_run("ended", **place))
    run.look()
    first, version = run.changed_since(0), run.version
    assert [one["steps"] for one in first] == [15, 40, 40, 40]
    run.look()
    assert (run.version, run.changed_since(version)) == (version, [])
    with sqlite3.connect(place["database_url"].removeprefix("sqlite:///")) as connection:
        connection.execute(
            "INSERT INTO episodes (run_id, journal_id, status, start_time) VALUES ('ended', 'j9', 'started', '2020-01-01')"
        )
        connection.commit()
        run.look()
        assert [one["status"] for one in run.changed_since(version)] == ["started"]
        version = run.version
        # An ending by the clock of another host: older than the last one, so only the counts tell.
        connection.execute("UPDATE episodes SET status = 'error', finalized_at = '2020-01-02' WHERE journal_id = 'j9'")
        connection.commit()
        run.look()
        assert [one["status"] for one in run.changed_since(version)] == ["error"]
        connection.execute("DELETE FROM episodes WHERE journal_id = 'j9'")
    assert run.reported().without_journal == 1


def test_marker__run_is_resumed_while_others_judge_its_driver__is_not_refused(tmp_path: Path):
    RunMarker(tmp_path, "r1", {}).close()
    judge = os.fork()
    if judge == 0:
        observer = Observer()
        while True:
            marker_liveness(tmp_path, "r1", observer)
    try:
        for _ in range(200):
            RunMarker(tmp_path, "r1", {}, resume=True).close()
        with RunMarker(tmp_path, "r1", {}, resume=True), pytest.raises(JournalExistsError, match="another process"):
            RunMarker(tmp_path, "r1", {}, resume=True)
    finally:
        os.kill(judge, signal.SIGKILL)
        os.waitpid(judge, 0)
