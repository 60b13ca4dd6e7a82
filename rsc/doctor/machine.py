"""Check the process's limits, its view of other processes, and the versions of other packages."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator

from journal.host.identity import HOST_VARIABLE, boot_id, machine_id
from journal.write.appending import COMPILED, OUTDATED, WHY_PYTHON
from rsc.doctor.check import Check, fail, ok, warn
from rsc.versions import SUPPORTED, installed_version, is_supported

_LEAST_DESCRIPTORS, _FEW_DESCRIPTORS = 64, 1024  # with 40 Ray does not start, with 64 it does
_OPTIONAL = {
    "ray": "only training with RLlib needs it: pip install '.[train]'",
    "gymnasium": "only training needs it: pip install '.[gym]'",
}


def check_machine() -> Iterator[Check]:
    """Yield the checks of this process and its host."""
    yield _check_descriptors()
    yield _check_processes()
    yield _check_host()
    yield _check_appending()


def _check_descriptors() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return ok("descriptors", "unlimited")
    found = f"{soft:,} open files at most; each env holds two, and Ray more in each process"
    may = "" if hard in (soft, resource.RLIM_INFINITY) else f" (up to {hard:,} here)"
    cure = f"ulimit -n 65536{may}, or LimitNOFILE= of a systemd unit"
    if soft < _LEAST_DESCRIPTORS:
        return fail("descriptors", found, cure)
    return warn("descriptors", found, cure) if soft < _FEW_DESCRIPTORS else ok("descriptors", found)


def _check_processes() -> Check:
    """Check whether the process table can prove that a writer is dead."""
    try:
        own = os.readlink("/proc/self") == str(os.getpid())
        hidden = not os.path.exists("/proc/1")
    except OSError:
        own = hidden = False
    if not own:
        found = "/proc is missing or belongs to another pid namespace: a writer's process cannot be looked up"
        return warn("processes", found, "mount this container's own /proc; locks and leases decide until then")
    if hidden:
        found = "processes of other users are hidden (hidepid, ProtectProc=): only locks and leases show their death"
        return warn("processes", found, "run the reconciler as the user that trains, or set ProtectProc=default")
    return ok("processes", "the process table shows whether a writer is alive")


def _check_host() -> Check:
    if os.environ.get(HOST_VARIABLE):
        return ok("host", f"named {os.environ[HOST_VARIABLE]} by ${HOST_VARIABLE}")
    if not boot_id():
        found = "the kernel's boot id cannot be read: writers of this host are not recognised"
        return warn("host", found, "mount /proc")
    if not machine_id():
        found = "no /etc/machine-id: if the host name changes, episodes from before a reboot wait"
        return warn(
            "host",
            found,
            f"set ${HOST_VARIABLE} to one name for all processes that stop together, for example the node's name",
        )
    return ok("host", f"{platform.node()}, with a machine id that survives a reboot")


def _check_appending() -> Check:
    """Check whether steps are appended by compiled code."""
    if COMPILED:
        return ok("steps", "appended by compiled code")
    if os.environ.get("RSC_COMPILED") == "0":
        return ok("steps", "appended in Python, because $RSC_COMPILED is 0")
    if platform.machine() != "x86_64":
        return ok("steps", f"appended in Python, because there is no compiled code for {platform.machine()}")
    if WHY_PYTHON == OUTDATED:
        return warn("steps", f"appended in Python, because {OUTDATED}", "install this package again: pip install -e .")
    found = "appended in Python, which takes three times as long as compiled code"
    return warn("steps", found, "to train, install a C compiler and Python's headers, then this package again")


def check_versions() -> Iterator[Check]:
    """Yield one check for Python, and one for each package whose versions were tried."""
    yield ok("Python", platform.python_version())
    for package, (oldest, newest) in SUPPORTED.items():
        found = installed_version(package)
        span = "{}.{} to {}.{}".format(*oldest, *newest)
        if found is None:
            if package in _OPTIONAL:
                yield ok(package, f"not installed; {_OPTIONAL[package]}")
        elif is_supported(package):
            yield ok(package, f"{found}; supported: {span}")
        else:
            text = f"{found} is outside of the supported versions {span}; recording may be incomplete"
            yield warn(package, text, f"pip install '{package}>={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}'")
