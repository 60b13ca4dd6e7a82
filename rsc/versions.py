"""Versions of other packages that this package is tested with."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

log = logging.getLogger("rsc")

TESTED = {
    "ray": ((2, 54), (2, 60)),
    "gymnasium": ((1, 1), (1, 4)),
    "stable-baselines3": ((2, 6), (2, 9)),
}
"""Oldest and newest tested version of each package, as (major, minor)."""

_seen: set[str] = set()


def warn_of_untested(packages: Iterable[str]) -> None:
    """Log one warning in each process for each package that is installed in a version outside of `TESTED`."""
    for package in packages:
        if package in _seen:
            continue
        _seen.add(package)
        installed = _installed(package)
        found = re.match(r"(\d+)\.(\d+)", installed or "")
        if found is None:
            continue
        oldest, newest = TESTED[package]
        if not oldest <= (int(found[1]), int(found[2])) <= newest:
            log.warning(
                "%s %s is not tested with this package: versions %d.%d to %d.%d are; recording may be incomplete, so"
                " compare `rsc check` with what you trained",
                package, installed, *oldest, *newest,
            )  # fmt: skip


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
