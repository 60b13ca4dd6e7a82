"""`start_run`: record the episodes of any trainer in a run, without Ray.

    with rsc.start_run("my-run") as run:
        env = run.record(gym.make("stocks-v0", ...))
        ...

Journals are written during training. When the run ends, the rows of its ended episodes are written from the journals.
`reconcile --run-id my-run` writes the missing rows, for example if the process died.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from journal import (
    Durability,
    EndReason,
    JournalExistsError,
    JournalWriter,
    RunMarker,
    list_journals,
)
from journal.format.schema import FAILED_SUFFIX, STREAM_SUFFIX
from journal.host.paths import check_name, run_dir
from journal.write.marker import is_unused
from journal.write.writer import CHECKPOINT_EVERY_STEPS
from rsc import defaults, mirroring
from rsc.provenance import provenance
from rsc.recording.episode import JournalSettings, listen, may_record_elsewhere
from rsc.recording.factory import MakeEnv, RecordedMaker, record_env, recorders_of
from rsc.settling import FailedJournals, settle
from rsc.versions import warn_of_unsupported

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from journal.mirror.node import NodeMirror
    from rsc.recording.accounts import Account

# Imports inside functions load modules that are slow to import and not always needed.

log = logging.getLogger("rsc")

CLOSING_S = 10.0
"""How long the end of a run may take, in seconds. `reconcile` records the remaining episodes."""


class Run:
    """A recorded run. `start_run` and `rsc.attach` return it.

    As a context manager it ends as `completed`, as `error` on an exception, and as `interrupted` on Ctrl-C. Only the process
    that started the run ends it. Copies in other processes can only record envs.

    Attributes:
        run_id: The run's name.
        journal_root: The folder of all runs' journals.
        database_url: The database with its rows.
        mirror: The URL to which its journals are mirrored, or "".
    """

    _HINT = "give the trainer the envs that run.record or run.recorded return"

    def __init__(self, settings: JournalSettings, database_url: str, marker: RunMarker) -> None:
        self.run_id = settings.run_id
        self.journal_root = Path(settings.root)
        self.database_url = database_url
        self._settings = settings
        self._marker: RunMarker | None = marker
        self._owner = os.getpid()
        self.mirror = ""
        self._node_mirror: NodeMirror | None = None
        self._failed = FailedJournals(self.run_id, database_url)
        atexit.register(self._end_at_exit)

    def record(self, env: Any, account: Account | None = None, *, in_evaluation: bool | None = None) -> Any:
        """Return an env, a vector env or an env of TorchRL with a recorder around it.

        Args:
            env: The env, with any wrappers.
            account: Where the env exposes value, position and costs. None for a known env: TradingEnv, gym-anytrading.
            in_evaluation: Whether its episodes evaluate a policy. Stored in their rows.

        Raises:
            TypeError: ``env`` is not an env of gymnasium or TorchRL.
        """
        return record_env(env, self._settings, account, _notes(in_evaluation))

    def recorded(
        self, make: MakeEnv, account: Account | None = None, *, in_evaluation: bool | None = None, **kwargs: Any
    ) -> RecordedMaker:
        """Return a function that makes recorded envs, here or in another process.

        Args:
            make: An env's id, its class, or a function that returns an env.
            account: As for `record`.
            in_evaluation: As for `record`.
            kwargs: Arguments for each env.

        Raises:
            TypeError: ``make`` does not return an env.
            gymnasium.error.Error: The id is not registered.
        """
        return RecordedMaker(make, self._settings, account, _notes(in_evaluation), kwargs)

    def end(self, status: Literal["completed", "error", "interrupted"] = "completed", notes: str | None = None) -> None:
        """End the run: close the journals of envs in this process, and write the rows of all ended episodes.

        Takes about 10 seconds at most, or 20 if the store of its mirror does not answer. Raises nothing: a failure is a
        warning. A second call, or a call in another process, does nothing.

        Args:
            status: How the run ended.
            notes: Free text for the run's row, for example the reason of an error.
        """
        if os.getpid() != self._owner or self._marker is None:
            return
        deadline = time.monotonic() + CLOSING_S
        marker, self._marker = self._marker, None
        atexit.unregister(self._end_at_exit)
        try:
            self._let_go_of_envs()
            self._write(status, notes, deadline, marker)
        except Exception as error:
            from rsc.db.session import first_line

            log.warning(
                "run %s: its end is not recorded (%s); `reconcile --run-id %s` writes the missing rows",
                self.run_id, first_line(error), self.run_id,
            )  # fmt: skip
        finally:
            marker.close()
            mirroring.finish_mirror(self._node_mirror, self.run_id, self.mirror, self.journal_root)

    def mirror_to(self, url: str, every_s: float, node_id: Callable[[], str | None] = lambda: "") -> None:
        """Mirror the journals of this node until the run ends. Arguments as for `mirroring.mirror_run`."""
        self.mirror = url
        self._node_mirror = mirroring.mirror_run(self.journal_root, self.run_id, url, every_s, node_id)

    def close_journal(self, writer: JournalWriter, reason: EndReason, message: str) -> bool:
        """Return False: the recorder closes it."""
        return False

    def journal_failed(self, writer: JournalWriter, reason: str) -> None:
        """Record at once, in a thread, that later steps of an episode are lost: the disk may lose its whole journal."""
        if os.getpid() == self._owner and self._marker is not None:
            self._failed.add(writer, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.end("completed")
        elif issubclass(kind, Exception | SystemExit):
            self.end("error", f"{kind.__name__}: {error}")
        else:
            self.end("interrupted")

    def _end_at_exit(self) -> None:
        self.end("interrupted", "the process exited without ending the run")

    def _let_go_of_envs(self) -> None:
        """Close the journals of envs in this process, and record no further episode."""
        for recorder in recorders_of(self._settings):
            try:
                recorder.stop_recording()
            except Exception as error:
                log.warning("run %s: a journal could not be closed: %s", self.run_id, error)

    def _settle(self, engine: Engine, deadline: float) -> tuple[int, int]:
        """Write the rows of ended episodes. Return the number of all episodes, and of those that are left."""
        return settle(engine, self.journal_root, self.run_id, deadline, self._failed.reasons)

    def _recorded_only_here(self) -> bool:
        """Return True if it is certain that all journals of the run, if there are any, are on this machine."""
        return not may_record_elsewhere(self._settings)

    def _write(self, status: str, notes: str | None, deadline: float, marker: RunMarker) -> None:
        from rsc.db import runs
        from rsc.db.session import open_engine

        engine = open_engine(self.database_url, defaults.CALLBACK_TIMEOUT_S)
        try:
            self._failed.write(engine)
            found, left = self._settle(engine, deadline)
            with engine.begin() as connection:
                runs.end_run(connection, self.run_id, status, datetime.now(UTC), notes)
        finally:
            engine.dispose()
        if not found and self._recorded_only_here():
            _set_unused(marker)
        if left and time.monotonic() >= deadline:
            log.warning(
                "run %s: %d of %d episodes are not on record yet, because the end of a run takes at most %g s; `reconcile"
                " --run-id %s` records them",
                self.run_id, left, found, CLOSING_S, self.run_id,
            )  # fmt: skip
        elif left:
            log.warning(
                "run %s: %d of %d episodes are not on record yet: they are still open in other processes, or cannot be"
                " read; close vector envs before the run ends, or `reconcile --run-id %s`",
                self.run_id, left, found, self.run_id,
            )  # fmt: skip
        if not found and status == "completed":
            log.warning("run %s recorded no episode, because no recorded env was reset; %s", self.run_id, self._HINT)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy in another process, which records envs but does not write to the database."""
        return {"run_id": self.run_id, "journal_root": self.journal_root, "_settings": self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, database_url="", mirror="", _node_mirror=None, _marker=None, _owner=0)


def start_run(
    name: str | None = None,
    *,
    resume: bool = False,
    journal_root: Path | str | None = None,
    database_url: str | None = None,
    durability: Durability = "process",
    checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS,
    on_error: Literal["warn", "raise"] = "warn",
    observations: bool = False,
    parameters: Mapping[str, Any] | None = None,
    parent_run_id: str | None = None,
    mirror: str | Path | None = None,
    mirror_every_s: float = defaults.MIRROR_EVERY_S,
) -> Run:
    """Start a run that records envs of any trainer.

    Args:
        name: The run's id. None: made from the time.
        resume: Continue the run of this name, if there is one.
        journal_root: Folder of the journals. None: $RSC_JOURNAL_ROOT, else rsc-data/journal.
        database_url: None: $RSC_DATABASE_URL, else the file rsc-data/rsc.db.
        durability: Which steps survive a power cut: see docs/reference.md.
        checkpoint_every_steps: Steps between the checkpoints in a journal.
        on_error: If a journal cannot be written: "warn" logs a warning, "raise" raises JournalWriteError from the env's
            step.
        observations: Record observations as extra columns, `observation_0` and so on. The observation of the reset is
            stored in the journal's header. Not for vector envs of your own.
        parameters: Facts about the run for its row.
        parent_run_id: The run whose policy this one evaluates or goes on from.
        mirror: URL of an object store, or a folder, to which a process of its own copies the journals while they are
            written. None: $RSC_MIRROR, else no mirror; "" is none. Its credentials come from the environment.
        mirror_every_s: Seconds between two copies to the mirror.

    Returns:
        The run. End it with `Run.end`, or use it in a `with` statement around the training.

    Raises:
        JournalExistsError: The name is taken, or the run to resume is being recorded by another process.
        rsc.db.session.DatabaseError: The database cannot be used.
        journal.mirror.MirrorError: The mirror cannot be written, or its URL holds secrets.
    """
    warn_of_unsupported(("gymnasium", "stable-baselines3"))
    run_id = new_run_id() if name is None else name
    root, url = defaults.journal_root(journal_root), defaults.database_url(database_url)
    mirror_url = mirroring.usable_mirror(defaults.mirror(mirror), mirror_every_s)
    facts = {**provenance(), "parent_run_id": parent_run_id, "mirror": mirror_url or None}
    root, marker = register_run(run_id, root, url, dict(parameters or {}), facts, resume=resume)
    settings = JournalSettings(
        str(root), run_id, durability, checkpoint_every_steps, on_error, EndReason.RESET, observations
    )
    run = Run(settings, url, marker)
    listen(run_id, run)
    run.mirror_to(mirror_url, mirror_every_s)
    return run


def new_run_id() -> str:
    """Return a run id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def incomplete_journals(root: Path, run_id: str, episodes: int) -> list[str]:
    """Return one line for each way in which a run's journals are incomplete.

    Args:
        root: The journal root.
        run_id: The run.
        episodes: The least number of episodes: rows of the database, evaluation included, or RLlib's count.
    """
    lines = []
    failed = sum(1 for _ in run_dir(root, run_id).glob(f"*{FAILED_SUFFIX}"))
    if failed:
        lines.append(f"journals without their last steps, because a write failed: {failed:,}; is the disk full?")
    journals = sum(1 for _ in list_journals(root, run_id))
    if journals < episodes:
        lines.append(f"episodes without a journal: {episodes - journals:,} of {episodes:,}; is the disk full?")
    return lines


def register_run(
    run_id: str,
    root: Path,
    url: str,
    parameters: dict[str, Any],
    facts: Mapping[str, Any],
    *,
    resume: bool = False,
    node_id: str = "",
) -> tuple[Path, RunMarker]:
    """Create the run's row and its marker. Return the folder of its journals and the marker.

    A run whose driver ended it before its first episode, for example because its first reset raised, does not keep its
    name.

    Raises:
        JournalExistsError: The name is taken, or the run to resume is being recorded by another process.
        UnsafeNameError: The run id is not a valid name.
        rsc.db.session.DatabaseError: The database cannot be used.
    """
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError

    from rsc.db import runs
    from rsc.db.hints import unusable
    from rsc.db.session import open_engine
    from rsc.db.upgrade import upgrade

    check_name(run_id, "run id")
    engine = open_engine(url)
    try:
        upgrade(engine)
        with engine.begin() as connection:
            known = runs.run_place(connection, run_id) if resume else None
            if known is not None:
                root = Path(known.journal_root or root)
                marker = RunMarker(root, run_id, parameters, resume=True, node_id=node_id)
                runs.resume_run(connection, run_id, facts.get("mirror"))
            else:
                reused = _remove_without_episodes(connection, run_id, root)
                runs.start_run(connection, run_id, parameters, str(root), datetime.now(UTC), facts)
                # The row first. Otherwise the marker of a refused run would claim this root for the existing run.
                marker = RunMarker(root, run_id, parameters, resume=resume or reused, node_id=node_id)
            return root, marker
    except (IntegrityError, JournalExistsError):
        if resume:
            raise
        raise JournalExistsError(
            f"run {run_id} exists already",
            hint="choose another name, or give none; start_run(name, resume=True) continues a run of start_run",
        ) from None
    except SQLAlchemyError as error:
        raise unusable(engine, error) from error
    finally:
        engine.dispose()


def _remove_without_episodes(connection: Connection, run_id: str, root: Path) -> bool:
    """Remove the row of a run that certainly has no episode. Return True if there was such a run.

    Its marker must say so: an episode may have no row, and its journal may be on another machine.
    """
    from rsc.db import runs

    known = runs.run_place(connection, run_id)
    if known is None or not known.journal_root or not is_unused(known.journal_root, run_id):
        return False
    folders = {run_dir(place, run_id) for place in (root, Path(known.journal_root))}
    if any(path.suffix in (STREAM_SUFFIX, FAILED_SUFFIX) for folder in folders for path in folder.glob("*")):
        return False
    return runs.remove_without_episodes(connection, run_id)


def _set_unused(marker: RunMarker) -> None:
    """Let `_remove_without_episodes` free the run's name. If the marker cannot be written, the run keeps its name."""
    try:
        marker.set_unused()
    except OSError as error:
        log.debug("run %s keeps its name, because its marker cannot be written: %s", marker.path.parent.name, error)


def _notes(in_evaluation: bool | None) -> dict[str, Any]:
    return {} if in_evaluation is None else {"in_evaluation": in_evaluation}
