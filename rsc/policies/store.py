"""Store the policies of a run as checkpoints in a folder. A checkpoint appears complete or not at all.

POLICY_ROOT/RUN_ID/iteration-000010/    RLlib's checkpoint, and policy.json with its description
POLICY_ROOT/RUN_ID/last                 a symlink to the newest one
POLICY_ROOT/RUN_ID/best                 a symlink to the one with the best validation, if there is any
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from journal.host.files import sync_folder
from journal.host.paths import check_name
from rsc.policies.errors import PolicyError

# Imports inside functions load modules that are slow to import and not always needed.

LAST, BEST = "last", "best"
FACTS = "policy.json"
FORMAT = 1
_UNFINISHED = ".unfinished-"
_LOCKED_WITHIN_S = 10.0  # seconds from creating a hidden folder to locking it
Which = Literal["best", "last"]


class Span(msgspec.Struct, frozen=True):
    """A range of seen bars. ``first`` and ``last`` are times in ISO 8601, UTC, both inclusive."""

    first: str
    last: str
    bars: int


class MarketFacts(msgspec.Struct, frozen=True):
    """The prices of a training. ``digest`` covers all bars up to the last seen one."""

    name: str
    periods_per_year: float
    digest: str


class FeatureFacts(msgspec.Struct, frozen=True):
    """Mean and standard deviation of a feature over the training bars, after its normalisation."""

    name: str
    mean: float
    std: float


class Validation(msgspec.Struct, frozen=True):
    """The result of a policy on the validation bars. ``sharpe_ratio`` is None if it is undefined."""

    iteration: int
    total_reward: float
    total_return: float
    sharpe_ratio: float | None
    trades: int


class PolicyFacts(msgspec.Struct, frozen=True):
    """The description of a checkpoint, with all facts needed to use it.

    Attributes:
        format: The version of this description.
        run_id: The run that trained the policy.
        parent_run_id: The run from which the training continued, or None.
        algorithm: "ppo" or "dqn".
        iteration: The number of training iterations, those of parents included.
        target: The iteration at which the training ends if it is not interrupted.
        env_steps: Env steps that the training had sampled.
        seed: Seed of the training, or None.
        plan: The options of `rsc train` that a resumed training repeats.
        env_config: Settings of TradingEnv, without the limits that the split sets.
        market: The prices.
        features: Statistics of the features.
        training: The training bars.
        validation: The validation bars, or None.
        observation_size: Length of an observation.
        actions: The action space as text.
        versions: Versions of the packages that saved it.
        validations: Results on the validation bars so far, in the order of iterations.
        saved_at: UTC time, ISO 8601.
    """

    run_id: str
    algorithm: str
    iteration: int
    env_steps: int
    plan: dict[str, Any]
    env_config: dict[str, Any]
    market: MarketFacts
    features: list[FeatureFacts]
    training: Span
    validation: Span | None
    observation_size: int
    actions: str
    versions: dict[str, str]
    saved_at: str
    target: int
    seed: int | None = None
    parent_run_id: str | None = None
    validations: list[Validation] = []
    format: int = FORMAT

    @property
    def score(self) -> Validation | None:
        """The validation of this checkpoint, None without one."""
        return next((one for one in self.validations if one.iteration == self.iteration), None)


class PolicyStore:
    """The policies of one run, for the process that trains it.

    Args:
        root: Folder of all policies.
        run_id: The run.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        check_name(run_id, "run id")
        self.folder = root / run_id

    def require_new(self) -> None:
        """Check that the run's folder can be created, and does not exist yet.

        Raises:
            PolicyError: It contains a policy.
            OSError: It cannot be created.
        """
        if self.folder.exists():
            raise PolicyError(
                f"{self.folder} holds the policy of an earlier run {self.folder.name}; choose another --run-id, remove"
                " that folder, or give --no-save"
            )
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder.parent))

    def save(self, facts: PolicyFacts, write: Callable[[Path], None]) -> Path:
        """Save a checkpoint, and point `last` to it. A crash at any time keeps the earlier one intact.

        Args:
            facts: The checkpoint's description.
            write: Writes RLlib's checkpoint into the given folder.

        Raises:
            OSError: The checkpoint cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(self.folder.parent)
        final = self.folder / f"iteration-{facts.iteration:06}"
        with _unfinished(self.folder) as made:
            write(made)
            _write_facts(made, facts)
            _sync(made)
            if not final.exists():  # exists after an interrupt right after a regular save of the same iteration
                made.rename(final)
        self._point(LAST, final.name)
        self._remove_unused()
        return final

    def select(self, facts: PolicyFacts) -> None:
        """Point `best` to the checkpoint that `last` points to, and store its validations."""
        chosen = (self.folder / LAST).readlink().name
        self.describe(facts)
        self._point(BEST, chosen)
        self._remove_unused()

    def describe(self, facts: PolicyFacts) -> None:
        """Replace the description of the last checkpoint."""
        _write_facts(self.folder / LAST, facts)

    def _point(self, name: str, target: str) -> None:
        with _unfinished(self.folder) as made:
            (made / name).symlink_to(target)
            (made / name).replace(self.folder / name)
        sync_folder(self.folder)

    def _remove_unused(self) -> None:
        kept = {link.readlink().name for name in (LAST, BEST) if (link := self.folder / name).is_symlink()}
        for path in self.folder.glob("iteration-*"):
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Create a hidden folder and lock it during the block. Remove it afterwards if it was not renamed."""
    made = folder / f"{_UNFINISHED}{secrets.token_hex(4)}"
    made.mkdir()
    fd = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks; then the folder is not removed after a kill
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(fd)


def _remove_unfinished(root: Path) -> None:
    """Remove the hidden folders that killed processes left: those without a lock."""
    for path in root.glob(f"*/{_UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < _LOCKED_WITHIN_S:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)


def _write_facts(folder: Path, facts: PolicyFacts) -> None:
    text = msgspec.json.format(msgspec.json.encode(facts), indent=2)
    unfinished = folder / f"{FACTS}.{secrets.token_hex(4)}"
    with unfinished.open("wb") as file:
        file.write(text + b"\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / FACTS)


def _sync(folder: Path) -> None:
    """Sync all files of a checkpoint to disk, so that none is empty after a power cut."""
    for path, _, names in os.walk(folder):
        for name in names:
            fd = os.open(Path(path) / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        sync_folder(Path(path))


def saved_runs(root: Path) -> list[str]:
    """Return the runs that have a policy, the last saved one first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in root.iterdir():
            with contextlib.suppress(OSError):
                found.append(((path / LAST / FACTS).stat().st_mtime_ns, path.name))
    return [name for _, name in sorted(found, reverse=True)]


def run_with_policy(root: Path, name: str) -> str:
    """Return the run with this name among those with a policy: an id, the unique beginning of one, or `latest`.

    Raises:
        PolicyError: There is no such run, or several.
    """
    from rsc.db.runs import id_named

    found = id_named(name, saved_runs(root))
    if found is None:
        what = "no run has a policy" if name == "latest" else f"run {name} has no policy"
        raise PolicyError(f"{what} in {root}; {_NO_POLICY}")
    return found


_NO_POLICY = (
    "`rsc train` saves one unless --no-save is given or it is stopped before its first iteration ends; --policy-root or"
    " $RSC_POLICY_ROOT names another folder"
)


def read_policy(root: Path, run_id: str, which: Which | None = None) -> tuple[Path, PolicyFacts]:
    """Return the folder of a checkpoint and its description.

    Args:
        root: Folder of all policies.
        run_id: The run.
        which: The checkpoint to use. None: the best on validation bars if there is one, else the last.

    Raises:
        PolicyError: There is no such checkpoint, or it cannot be used.
    """
    folder = root / run_id
    name = which or (BEST if (folder / BEST).exists() else LAST)
    if name == BEST and (folder / LAST).exists() and not (folder / BEST).exists():
        raise PolicyError(f"run {run_id} has no best policy, because it has no validation bars; give --checkpoint last")
    try:
        path = (folder / name).resolve(strict=True)
        data = (path / FACTS).read_bytes()
    except OSError as error:
        raise PolicyError(f"run {run_id} has no policy in {root}; {_NO_POLICY}") from error
    return path, _decoded(data, path / FACTS)


def _decoded(data: bytes, path: Path) -> PolicyFacts:
    try:
        version = msgspec.json.decode(data).get("format")
        if version != FORMAT:
            raise PolicyError(
                f"{path} has format {version}, but this version reads format {FORMAT}; use the version of"
                " reinforce-strategy-creator that trained the policy"
            )
        return msgspec.json.decode(data, type=PolicyFacts)
    except (msgspec.MsgspecError, AttributeError, UnicodeDecodeError) as error:
        raise PolicyError(
            f"{path} cannot be read ({error}); give --checkpoint for another one, or train again"
        ) from error
