"""The daemon under the settings of deploy/reconcile.service: live episodes stay live, dead ones end, nothing is refused."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.attacks.needs import need_mounts, need_program
from tests.attacks.places import Place
from tests.attacks.processes import environment
from tests.attacks.scene import Scene, until

UNIT = Path(__file__).parents[2] / "deploy" / "reconcile.service"
# Another user than the writer's, without its capabilities. It may read files, since Python itself may lie in /root.
AS_USER = (
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
)  # fmt: skip


def settings() -> dict[str, list[str]]:
    """The unit's settings, each with its values in order."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def as_unit(scene: Scene, make_place: Callable[..., Place]) -> Place:
    """The mounts that the unit asks for: all read-only but the folder of the database, and processes of others hidden."""
    need_mounts()
    assert settings()["ProtectSystem"] == ["strict"]
    assert settings()["ProtectProc"] == ["invisible"]
    place = make_place()
    place.bind(scene.folder, scene.folder)
    place.bind(scene.root, scene.root, read_only=True)
    place.run("mount", "-o", "remount,bind,ro", "/")
    place.mount("-t", "proc", "-o", "hidepid=invisible", "proc", "/proc")
    return place


@pytest.mark.parametrize("left_out", ["ProcSubset", "PrivatePIDs"])
def test_unit__settings_that_hide_what_liveness_reads__are_left_out(left_out: str) -> None:
    assert left_out not in settings()


def test_unit__live_and_dead_episodes__only_the_dead_one_ends(scene: Scene, make_place: Callable[..., Place]) -> None:
    need_program("setpriv", "util-linux")
    scene.live(journal_id="j1")
    dead = scene.live(run_id="r2", journal_id="j2")
    place = as_unit(scene, make_place)
    for path in (scene.folder, scene.folder / "rsc.db"):
        subprocess.run(["chown", "65534:65534", path], check=True)
    words = ["--all", "--every", "0.2s", "--grace", "0s", "--database-url", scene.records.url]
    daemon = place.start(*AS_USER, sys.executable, "-m", "reconciler", *words, env=environment(), cwd="/")
    scene.wait_for_passes(2)
    scene.assert_lives("j1")
    scene.assert_lives("j2", "r2")
    dead.kill()
    until(lambda: scene.records.episode("j2")["status"] == "truncated", what="the dead one")
    scene.wait_for_passes(2)
    scene.assert_lives("j1")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=60) == 0


def _calls_of(filters: list[str]) -> set[str]:
    """The system calls that these filters of a unit allow."""
    allowed: set[str] = set()
    for line in filters:
        names = set().union(*(_expanded(name) for name in line.lstrip("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def _expanded(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    members = [
        line.strip() for line in done.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")
    ]
    return set().union(*(_expanded(member) for member in members))


def test_unit__system_calls_of_a_pass__are_allowed_and_no_memory_is_writable_code(scene: Scene) -> None:
    need_program("strace")
    need_program("systemd-analyze", "systemd")
    writer = scene.live()
    writer.kill()
    trace = scene.folder / "trace"
    words = ["--all", "--every", "1h", "--metrics-port", "0", "--database-url", scene.records.url]
    daemon = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", trace, sys.executable, "-m", "reconciler", *words], env=environment()
    )
    try:
        until(lambda: scene.records.episode("j1")["status"] == "truncated", what="the pass")
    finally:
        for traced in psutil.Process(daemon.pid).children():
            traced.send_signal(signal.SIGTERM)  # strace itself passes none on
        daemon.wait(timeout=60)
    text = trace.read_text(errors="replace")
    used = set(re.findall(r"^\d+ +(\w+)\(", text, re.MULTILINE))
    assert {"openat", "mmap", "execve"} <= used
    # SQLite calls fchown as root alone, and does without if it fails.
    assert used - _calls_of(settings()["SystemCallFilter"]) <= {"arch_prctl", "fchown"}
    assert settings()["MemoryDenyWriteExecute"] == ["true"]
    assert not re.findall(r"PROT_WRITE\|PROT_EXEC", text)


def test_unit__systemd__finds_no_fault_and_little_exposure(tmp_path: Path) -> None:
    need_program("systemd-analyze", "systemd")
    unit = tmp_path / "reconcile.service"
    unit.write_text(UNIT.read_text().replace("/opt/trading/venv/bin/reconcile", "/bin/true"))
    for command in (["verify", unit], ["security", "--offline=true", "--threshold=20", unit]):
        done = subprocess.run(["systemd-analyze", *command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ignoring" not in done.stderr
