"""Versions of other packages that this package supports."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

log = logging.getLogger("rsc")

SUPPORTED = {
    "ray": ((2, 54), (2, 60)),
    "gymnasium": ((1, 1), (1, 4)),
    "stable-baselines3": ((2, 6), (2, 9)),
}
"""Oldest and newest supported version of each package, as (major, minor)."""

_seen: set[str] = set()


def warn_of_unsupported(packages: Iterable[str]) -> None:
    """Log one warning in each process for each package that is installed in a version outside of `SUPPORTED`."""
    for package in packages:
        if package in _seen:
            continue
        _seen.add(package)
        installed = _installed(package)
        found = re.match(r"(\d+)\.(\d+)", installed or "")
        if found is None:
            continue
        oldest, newest = SUPPORTED[package]
        if not oldest <= (int(found[1]), int(found[2])) <= newest:
            log.warning(
                "%s %s is outside of the supported versions %d.%d to %d.%d; recording may be incomplete, so compare"
                " `rsc check` with what you trained",
                package, installed, *oldest, *newest,
            )  # fmt: skip


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
