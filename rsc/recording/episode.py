"""Shared by both recorders: open an episode's journal, and build the info entries for the callback."""

from __future__ import annotations

import json
import logging
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import gymnasium as gym

from journal import About, Durability, EndReason, JournalWriteError, JournalWriter, new_journal_id
from journal.write.writer import CHECKPOINT_EVERY_STEPS
from rsc.defaults import JOURNAL_FAILED
from rsc.metrics import RunningMetrics, metrics_from
from rsc.recording.accounts import Account, AccountError, Rewards
from rsc.recording.figures import keys_seen
from rsc.recording.known import account_of, likely_value

log = logging.getLogger("rsc")

INFO_KEY = "journal"
FAILED_KEY = "journal_failed"
FACTS = ("in_evaluation", "worker_index", "env_index", "trial_id")
"""Notes that are separate fields of a journal's header."""

# These wrappers scale or clip rewards, but are not subclasses of `gymnasium.RewardWrapper`.
_REWARD_WRAPPERS = ("NormalizeReward",)
_said: set[str] = set()


class JournalListener(Protocol):
    """May close the journals of its run, and gets a call when one fails."""

    def close_journal(self, writer: JournalWriter, reason: EndReason, message: str) -> bool:
        """Close a journal, now or soon in another thread. Return False to leave it to the caller."""
        ...

    def journal_failed(self, writer: JournalWriter, reason: str) -> None:
        """Record that the episode's later steps are lost. May be called in another thread, and must not block."""
        ...


_listeners: dict[str, weakref.WeakSet[JournalListener]] = {}


def listen(run_id: str, listener: JournalListener) -> None:
    """Call a listener for each journal of this run in this process, as long as the listener exists."""
    _listeners.setdefault(run_id, weakref.WeakSet()).add(listener)


def _tell_listeners(writer: JournalWriter, error: OSError) -> None:
    reason = f"{JOURNAL_FAILED} after step {writer.steps}: {error.strerror or error}"
    for listener in list(_listeners.get(writer.header.run_id, ())):
        listener.journal_failed(writer, reason)


def close_journal(writer: JournalWriter, reason: EndReason, message: str) -> None:
    """Close an episode's journal, or let a listener do it."""
    for listener in list(_listeners.get(writer.header.run_id, ())):
        if listener.close_journal(writer, reason, message):
            return
    writer.close(reason, message)


os.register_at_fork(after_in_child=_listeners.clear)


@dataclass(frozen=True)
class JournalSettings:
    """Where and how episodes are journaled. Picklable, so that it can be sent to env runners.

    ``reset_reason`` is the end reason of an episode that is still running when its env is reset. If ``observations`` is
    set, observations are recorded as extra columns.
    """

    root: str
    run_id: str
    durability: Durability = "process"
    checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS
    on_error: Literal["warn", "raise"] = "warn"
    reset_reason: EndReason = EndReason.SUPERSEDED
    observations: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, and remember that there may be one on another machine."""
        _copied.add(self)
        return self.__dict__


_copied: set[JournalSettings] = set()


def may_record_elsewhere(settings: JournalSettings) -> bool:
    """Return True if these settings were pickled, so that another machine may record episodes by them."""
    return settings in _copied


def begin_journal(settings: JournalSettings, about: About, notes: dict[str, Any]) -> JournalWriter:
    """Open the journal of a new episode. ``notes`` are added to its header, to their fields or as notes."""
    if notes:
        known = {name: notes[name] for name in FACTS if name in notes}
        others = {name: value for name, value in notes.items() if name not in FACTS}
        about = about.changed(notes={**about.notes, **others}, **known)
    return JournalWriter(
        settings.root,
        settings.run_id,
        new_journal_id(),
        about=about,
        fold=metrics_from(about),
        durability=settings.durability,
        checkpoint_every_steps=settings.checkpoint_every_steps,
        on_error=settings.on_error,
        on_failure=_tell_listeners,
    )


def told_at_start(writer: JournalWriter, previous: str) -> dict[str, Any]:
    """Return the entry for the info of a reset: the ids of the new journal and of the env's previous one."""
    header = writer.header
    facts = {
        "id": writer.journal_id,
        "env": writer.about.env,
        "start_time_us": str(header.start_time_us),  # text: numpy scalars of mixed width lose precision
        "capital": str(float(writer.about.initial_portfolio_value)),
        "host": header.writer.host,
        "boot_id": header.writer.boot_id,
        "root_id": header.root_id,
        "previous": previous,
    }
    return {INFO_KEY: facts}


def told_by_failed(writer: JournalWriter, reason: EndReason) -> dict[str, Any]:
    """Return the entry for the last info of an episode whose journal failed: its final figures, as JSON."""
    assert isinstance(writer.fold, RunningMetrics)
    kept = {
        "reason": str(reason),
        "why": str(writer.failure),
        "metrics": writer.fold.to_bytes().hex(),
        "trades": writer.kept_trades(),
    }
    return {FAILED_KEY: json.dumps(kept)}


def account_for(env: Any, given: Account | None, info: Mapping[str, Any]) -> tuple[Any, Account | None]:
    """Return the layer of an env that tells its account itself (`Journaled`), and the account to read otherwise.

    Raises:
        AccountError: The env is not known. The message lists the keys of its info, and shows what to write.
    """
    if given is not None:
        return None, given
    layer = env
    while not hasattr(layer, "journal_about") and isinstance(layer, gym.Wrapper | gym.vector.VectorWrapper):
        layer = layer.env
    if hasattr(layer, "journal_about"):
        return layer, None
    account = account_of(env)
    if account is not None:
        return None, account
    name, key = type(env.unwrapped).__name__, likely_value(info)
    raise AccountError(
        f"{name} does not tell the value of its account; {keys_seen(info)}. Say where it is, for example"
        f" account=rsc.Account(value={key!r}), or account=rsc.Account.from_rewards('simple') if rewards are returns"
    )


def reward_wrappers(env: Any, account: Account | None) -> list[str]:
    """Return the wrappers inside the recorder that change rewards. Warn if the account is compounded from rewards."""
    names, layer = [], env
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, gym.RewardWrapper) or type(layer).__name__ in _REWARD_WRAPPERS:
            names.append(type(layer).__name__)
        layer = layer.env
    if names and account is not None and isinstance(account.value, Rewards):
        say_once(
            f"the account's value is compounded from rewards that {', '.join(names)} changes, so it may be wrong;"
            " put the recorder inside that wrapper"
        )
    return names


def could_not_record(settings: JournalSettings, what: str, error: Exception) -> None:
    """Log a warning once, or raise JournalWriteError, depending on ``on_error``."""
    reason = words_of(error)
    if settings.on_error == "raise":
        raise JournalWriteError(f"{what} could not be recorded: {reason}") from error
    say_once(f"could not be recorded: {reason}", what)


def say_once(message: str, what: str = "") -> None:
    """Log a warning once in each process, because an env repeats the same problem in every step."""
    if message not in _said and len(_said) < 100:
        _said.add(message)
        log.warning("%s", f"{what} {message}".strip())


def words_of(error: BaseException) -> str:
    """Return type and message of an exception, even if its message cannot be formatted."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
