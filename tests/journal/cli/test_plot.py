"""`journal plot`: every kind of journal, in the terminal and as files. What they look like was looked at by eye."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal import EndReason
from journal.host.liveness import Observer
from journal.inspect.overview import overview
from journal.plot.canvas import Canvas, sparkline
from journal.plot.pictures import draw_episode, draw_overlay, draw_sheet, shared_range
from journal.plot.series import drawdown_of, series_of, thinned
from tests.journal.cli.world import RUN, World, play, run, writer

SVG = "{http://www.w3.org/2000/svg}"


def series(world: World, kind: str, most: int = 2000):
    one = overview(str(world.path(kind)), Observer(), whole=True)
    return series_of(one, one.source, most)


@pytest.mark.parametrize("kind", ["finished", "live", "killed", "torn", "cut", "footer", "extra"])
def test_plot__terminal__fits_80_columns_and_marks_trades(world: World, kind: str):
    result = world.run("plot", kind)
    assert (result.code, "its tail is missing" in result.err) == ((3, True) if kind == "cut" else (0, False))
    assert max(len(line) for line in result.lines) <= 80
    assert all(word in result.out for word in ("value", "drawdown", "position", "reward", "sharpe"))
    assert "▲" in result.out
    assert "▼" in result.out
    assert "\x1b" not in result.out, "no colours where there is no terminal"


def test_plot__damaged__shows_the_gap_and_exits_3(world: World):
    result = world.run("plot", "flipped")
    assert result.code == 3
    assert "gaps: steps 60-118" in result.out
    assert "59 steps and 5 trades lost" in result.err


def test_plot__no_steps__says_so(world: World):
    result = world.run("plot", "nosteps")
    assert (result.code, result.lines[-1]) == (0, "no steps")


@pytest.mark.parametrize("kind", ["empty", "foreign", "headerless"])
def test_plot__unreadable__fails_with_the_reason(world: World, tmp_path: Path, kind: str):
    for arguments in ([], ["-o", tmp_path / "plot.png"]):
        result = world.run("plot", kind, *arguments)
        assert (result.code, result.out) == (1, "")
        assert "not a readable journal" in result.err
    assert list(tmp_path.iterdir()) == []


def test_plot__run_in_the_terminal__is_a_line_for_each(world: World):
    result = world.run("plot", RUN)
    assert result.code == 3, "three files could not be looked at"
    assert [line.split()[0] for line in result.lines[1:4]] == ["cut", "extra", "finished"]
    assert len(result.lines) == 13
    assert max(len(line) for line in result.lines) <= 80


def test_plot__several_named__are_laid_over_each_other(world: World):
    result = world.run("plot", "finished", "limit", "nosteps")
    assert result.lines[-3].startswith("a finished  -2.39%")
    assert result.lines[-1].strip().startswith("nosteps  no steps")


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
@pytest.mark.parametrize("targets", [["finished"], ["finished", "limit", "nosteps"], [RUN], ["flipped"], ["nosteps"]])
def test_plot__file__is_a_whole_picture(world: World, tmp_path: Path, suffix: str, targets: list[str]):
    file = tmp_path / f"plot.{suffix}"
    result = world.run("plot", *targets, "-o", file)
    assert result.code == (3 if targets in ([RUN], ["flipped"]) else 0)
    data = file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    if suffix == "png":
        assert data.startswith(b"\x89PNG")
        assert data.endswith(b"IEND\xaeB`\x82")
    elif suffix == "svg":
        assert ElementTree.fromstring(data).tag == SVG + "svg"
    else:
        assert data.rstrip().endswith(b"</html>")


@pytest.mark.parametrize("count", [2, 5, 8, 16])
def test_overlay__names__stand_above_the_curves_and_within_the_picture(world: World, count: int):
    """A legend among curves would hide some."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    one = replace(series(world, "finished", 400), name="20261122T120000-0123456789ab", standing="time_limit")
    figure = draw_overlay([one] * count)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    box, curves = legend.get_window_extent(), figure.axes[0].get_window_extent()
    title = figure.texts[0].get_window_extent()
    assert curves.y1 <= box.y0 + 1
    assert box.y1 <= title.y0
    assert title.y1 <= figure.bbox.y1
    assert box.x1 <= figure.bbox.x1


def grown(world: World, last: float):
    """An episode whose return grows from 0 to ``last``, a fraction."""
    one = series(world, "finished", 400)
    return replace(one, value=one.initial_value * (1 + np.linspace(0.0, last, len(one.step))))


def test_sheet__one_outlier__does_not_set_the_range_and_is_marked(world: World):
    usual = [grown(world, last / 100) for last in range(-10, 11)]
    low, high = shared_range([*usual, grown(world, 50.0)])
    assert shared_range(usual)[0] == pytest.approx(low, rel=0.2)
    assert -20 < low < -10
    assert 10 < high < 60
    figure = draw_sheet("run", [*usual, grown(world, 50.0)])
    assert any("curves that leave it: 1 (triangles)" in text.get_text() for text in figure.texts)
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert [text for text in words if "max +5,000%" in text] == ["+5000.0%, max +5,000%, terminated"]
    assert not any("triangles" in text.get_text() for text in draw_sheet("run", usual).texts)


def test_sheet__equal_episodes__have_a_range(world: World):
    low, high = shared_range([grown(world, 0.0)] * 3)
    assert low < 0 < high


def test_pictures__title_and_axes__have_number_asset_and_dates(world: World):
    one = replace(series(world, "finished"), number=42, market="MSFT")
    figure = draw_episode(one)
    figure.canvas.draw()
    first, last = one.days
    assert figure.get_suptitle() == f"Episode 42  MSFT  {first} to {last}"
    days = [label.get_text().partition("\n")[2] for label in figure.axes[-1].get_xticklabels()]
    assert [day for day in days if day], days
    assert all(first <= day <= last for day in days if day)
    assert figure.axes[1].get_yticklabels()[0].get_text().endswith("%")
    assert draw_sheet("run", [one]).axes[0].get_title("left") == f"42  MSFT  {first} to {last}"


def test_plot__svg__says_in_words_what_it_shows_and_has_the_same_bytes_again(world: World, tmp_path: Path):
    for name in ("one.svg", "two.svg"):
        world.run("plot", "finished", "-o", tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    words = {element.text for element in ElementTree.fromstring(text).iter(SVG + "text")}
    assert any(word.startswith("finished") for word in words)
    assert {"portfolio value", "drawdown", "position", "reward"} <= words
    assert {"14 trades closed with a gain", "12 trades closed with a loss"} <= words


def unpacked(text: str, name: str) -> dict:
    """The JSON of a pack in a page."""
    data = re.search(rf'id="{name}-data">([^<]*)<', text)[1]
    raw = gzip.decompress(base64.b64decode(data))
    return json.loads(raw[4 : 4 + int.from_bytes(raw[:4], "little")])


def test_plot__html__needs_nothing_from_elsewhere_and_has_the_episode(world: World, tmp_path: Path):
    world.run("plot", "finished", "-o", tmp_path / "plot.html")
    text = (tmp_path / "plot.html").read_text()
    links = re.findall(r'(?:src|href)="(?!#|data:,)[^"]*"|url\((?!#)[^)]*\)|@import', text)
    assert links == []
    columns = unpacked(text, "table")["columns"]
    assert (columns["name"], columns["steps"], columns["trades"], columns["final"]) == (
        ["finished"],
        [300],
        [26],
        [9761.1],
    )
    arrays = {name: count for name, _, count, _ in unpacked(text, "curves")["arrays"]}
    assert (arrays["step"], arrays["value"], arrays["trade_pnl"]) == (300, 300, 26)
    node = shutil.which("node")
    if node is not None:
        policy, scripts = (
            re.search("'nonce-([^']+)'", text)[1],
            re.findall(r'<script nonce="([^"]+)">(.*?)</script>', text, re.S),
        )
        assert [nonce for nonce, _ in scripts] == [policy] * 2
        (tmp_path / "script.js").write_text(scripts[-1][1])
        assert subprocess.run([node, "--check", tmp_path / "script.js"], timeout=60, check=False).returncode == 0


def test_plot__html__lost_steps_are_holes_and_lost_counts_are_told(world: World, tmp_path: Path):
    assert world.run("plot", "flipped", "-o", tmp_path / "plot.html").code == 3
    text = (tmp_path / "plot.html").read_text()
    assert unpacked(text, "curves")["holes"] == {"0": [[60, 118]]}
    assert unpacked(text, "table")["columns"]["steps_lost"] == [59]


def test_plot__html__words_of_an_env_are_text_and_not_markup(tmp_path: Path):
    evil = "</script><script>alert(1)</script>"
    journal = writer(tmp_path, "evil", about={"env": evil, "env_config": {evil: evil}})
    play(journal, 30, end=EndReason.CLOSED)
    run("plot", journal.path, "-o", tmp_path / "evil.html")
    assert "alert(1)</script>" not in (tmp_path / "evil.html").read_text()
    assert "&lt;script&gt;alert(1)" in (tmp_path / "evil.html").read_text()


def test_plot__many__are_chosen_evenly_from_first_to_last(tmp_path: Path):
    for number in range(10):
        play(writer(tmp_path, f"ep{number}"), 20, number, end=EndReason.CLOSED)
    result = run("plot", tmp_path / RUN, "--limit", 4)
    assert [line.split()[0] for line in result.lines[1:]] == ["ep0", "ep3", "ep6", "ep9"]
    assert "4 of 10 episodes, at equal distances" in result.err


def test_plot__wrong_usage__exits_2(world: World, tmp_path: Path):
    assert world.run("plot", "finished", "-o", tmp_path / "plot.gif").code == 2
    assert world.run("plot", "finished", "--overlay", "--sheet").code == 2
    assert world.run("plot", "finished", "--sheet", "-o", tmp_path / "plot.html").code == 2


def test_plot__file_exists__is_not_overwritten(world: World, tmp_path: Path):
    (tmp_path / "plot.svg").write_text("mine")
    assert world.run("plot", "finished", "-o", tmp_path / "plot.svg").code == 1
    assert (tmp_path / "plot.svg").read_text() == "mine"


def test_plot__without_matplotlib__one_clear_line(world: World, tmp_path: Path):
    """The terminal needs no extra; files do, and say which."""
    program = "import sys; sys.modules['matplotlib'] = None; from journal.cli import main; main()"
    command = [sys.executable, "-c", program, "plot", str(world.path("finished"))]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    done = subprocess.run(
        [*command, "-o", tmp_path / "plot.png"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "error: pictures need matplotlib; pip install 'reinforce-strategy-creator[plot]'\n"
    assert list(tmp_path.iterdir()) == []


def test_plot__terminal_without_unicode__uses_plain_letters(world: World):
    program = "from journal.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "plot", str(world.path("finished"))],
        capture_output=True, timeout=60, check=False, env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.isascii()


def test_series__drawdown__begins_at_the_initial_value():
    assert drawdown_of(np.array([90.0, 120.0, 60.0]), 100.0).tolist() == pytest.approx([-0.1, 0.0, -0.5])


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400),
    st.integers(min_value=4, max_value=120),
)
def test_thinned__any_curve__keeps_its_ends_and_extremes(values: list[float], most: int):
    curve = np.array(values)
    kept = thinned([curve], most)
    assert (kept[0], kept[-1]) == (0, len(curve) - 1)
    assert (np.diff(kept) > 0).all()
    assert (curve[kept].min(), curve[kept].max()) == (curve.min(), curve.max())
    assert len(kept) <= max(most, 4) + 2


def test_thinned__a_million_points__are_few(world: World):
    curve = np.cumsum(np.sin(np.arange(1_000_000)))
    assert len(thinned([curve, -curve], 2000)) <= 2002
    assert len(series(world, "finished", most=40).step) <= 42


def test_canvas__line__has_no_gaps():
    canvas = Canvas(20, 5)
    canvas.curve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    rows = ["".join(letter for letter, _ in row) for row in canvas.lines()]
    assert all(any(row[column] != " " for row in rows) for column in range(20))
    assert rows[0].rstrip()[-1] != " "


def test_sparkline__values__rise_and_fall():
    assert sparkline(np.array([0.0, 0.5, 1.0, 0.5, 0.0]), 5, 0.0, 1.0) == "▁▅█▅▁"
    assert sparkline(np.array([]), 3, 0.0, 1.0) == "   "
