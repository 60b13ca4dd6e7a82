"""Check the versions of other packages that this package supports."""

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
    "pyarrow": ((21, 0), (26, 0)),
}
"""Oldest and newest supported version of each package, as (major, minor)."""

_seen: set[str] = set()


def warn_of_unsupported(packages: Iterable[str]) -> None:
    """Log one warning in each process for each package that is installed in a version outside of `SUPPORTED`."""
    for package in packages:
        if package in _seen:
            continue
        _seen.add(package)
        if not is_supported(package):
            oldest, newest = SUPPORTED[package]
            log.warning(
                "%s %s is outside of the supported versions %d.%d to %d.%d; recording may be incomplete, so compare"
                " the output of `rsc check` with your training",
                package, installed_version(package), *oldest, *newest,
            )  # fmt: skip


def is_supported(package: str) -> bool:
    """Return whether the installed version is in `SUPPORTED`; True if it is missing or cannot be compared."""
    found = re.match(r"(\d+)\.(\d+)", installed_version(package) or "")
    oldest, newest = SUPPORTED[package]
    return found is None or oldest <= (int(found[1]), int(found[2])) <= newest


def installed_version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
