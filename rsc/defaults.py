"""Default settings, and the default locations of database, journals and policies. docs/reference.md lists them."""

from __future__ import annotations

import os
from pathlib import Path

DATABASE_VARIABLE = "RSC_DATABASE_URL"
JOURNAL_VARIABLE = "RSC_JOURNAL_ROOT"
POLICY_VARIABLE = "RSC_POLICY_ROOT"
MIRROR_VARIABLE = "RSC_MIRROR"

DURABILITY = "process"
GRACE_PERIOD_S = 30.0
WAIT_S = 10.0
DATABASE_TIMEOUT_S = 5.0
CALLBACK_TIMEOUT_S = 2.0  # seconds that an env runner waits for a database that does not answer, once in each pause
DATABASE_PAUSE_S = 30.0
BATCH_EPISODES = 300
BATCH_TRADES = 100_000
SAVE_EVERY_ITERATIONS = 10
MIRROR_EVERY_S = 5.0
OF_EACH_TRAINING = (
    "run_id", "journal_root", "policy_root", "database_url", "reconcile", "mirror", "mirror_every", "ray",
)  # fmt: skip
"""Options of `rsc train` that a resumed training does not take from its run."""
NODE_NOTE = "node_id"
"""The note in a journal's header that names the Ray node of its env runner."""
JOURNAL_FAILED = "its journal failed"
"""How the `status_reason` of a started row begins if later steps of the episode are lost."""


def database_url(given: str | None = None) -> str:
    """Return the option, else $RSC_DATABASE_URL, else rsc-data/rsc.db in the current directory."""
    return given or os.environ.get(DATABASE_VARIABLE) or f"sqlite:///{Path('rsc-data/rsc.db').absolute()}"


def journal_root(given: str | Path | None = None) -> Path:
    """Return the option, else $RSC_JOURNAL_ROOT, else rsc-data/journal in the current directory, as absolute path."""
    return Path(given or os.environ.get(JOURNAL_VARIABLE) or "rsc-data/journal").absolute()


def mirror(given: str | Path | None = None) -> str:
    """Return the option, else $RSC_MIRROR, else "", which means no mirror."""
    return str(os.environ.get(MIRROR_VARIABLE, "") if given is None else given)


def policy_root(given: str | Path | None = None) -> Path:
    """Return the option, else $RSC_POLICY_ROOT, else rsc-data/policies in the current directory, as absolute path."""
    return Path(given or os.environ.get(POLICY_VARIABLE) or "rsc-data/policies").absolute()
