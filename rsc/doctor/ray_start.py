"""Check that Ray starts and runs a task, in a separate process with a temporary folder, which is removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec

from rsc.doctor.check import Check, fail, ok

_TIMEOUT_S = 90
_START = """
import sys
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False,
    object_store_memory=80_000_000, _temp_dir=sys.argv[1])
assert ray.get(ray.remote(lambda: 7).remote()) == 7
ray.shutdown()
"""
_CURE = (
    "run `python -c 'import ray; ray.init()'`; usual causes: few descriptors, little memory, a full /tmp or /dev/shm"
)


def check_ray() -> list[Check]:
    """Return one check; none if Ray is not installed."""
    if find_spec("ray") is None:
        return []
    folder = tempfile.mkdtemp(prefix="rsc-ray-")
    try:
        return [_start(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: str) -> Check:
    # Without this mode Ray would leave a token in the home folder.
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    for name in ("RAY_ADDRESS", "RAY_TMPDIR"):
        environment.pop(name, None)
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", _START, folder],
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return fail("Ray start", f"Ray does not start within {_TIMEOUT_S} s", _CURE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also processes that Ray may have left
        process.wait()
    if process.returncode == 0:
        return ok("Ray start", f"Ray started and ran a task ({time.monotonic() - began:.1f} s)")
    lines = [line for line in said.splitlines() if line.strip()]
    why = lines[-1].strip() if lines else f"exit code {process.returncode}"
    return fail("Ray start", f"Ray does not start: {why}", _CURE)
