"""The settings that env runners need to record a run, as plain data on an RLlib config."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ray import cloudpickle

from journal import Durability
from rsc.defaults import MIRROR_EVERY_S
from rsc.recording.episode import JournalSettings

ATTRIBUTE = "rsc_recording"
"""The attribute of an AlgorithmConfig that holds the settings. RLlib copies and stores attributes that it does not know."""


@dataclass(frozen=True)
class RecordingSettings:
    """Where and how a run is recorded. RLlib writes it into checkpoints, so it contains no password.

    Args:
        token: Identifies the `attach` call. A run is recorded only while the process that called `attach` keeps it open.
        database_url: URL of the database, without its password.
        account: The pickled `rsc.Account` in base64, or None.
        driver_boot_id: The boot id of the driver's machine.
        trial_id: The Tune trial in which `attach` was called, or None.
        parameters: The config's plain values by path, at the time of `attach`.
        observations: Record observations too.
        mirror: The URL to which each node mirrors its journals, without secrets; empty for none.
        mirror_every_s: Seconds between two looks of a mirror.
    """

    run_id: str
    token: str
    journal_root: str
    database_url: str
    driver_boot_id: str
    durability: Durability = "process"
    checkpoint_every_steps: int = 0
    on_error: Literal["warn", "raise"] = "warn"
    account: str | None = None
    independent_seeds: bool = False
    trial_id: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    observations: bool = False
    mirror: str = ""
    mirror_every_s: float = MIRROR_EVERY_S

    @classmethod
    def of(cls, config: Any) -> RecordingSettings | None:
        """Return the settings that `attach` put on a config; None for a config without them."""
        found = getattr(config, ATTRIBUTE, None)
        return cls(**found) if isinstance(found, Mapping) else None

    def put_on(self, config: Any) -> None:
        """Store the settings on a config."""
        setattr(config, ATTRIBUTE, asdict(self))

    def as_overrides(self) -> dict[str, Any]:
        """Return the settings for an evaluation config that is a dict."""
        return {ATTRIBUTE: asdict(self)}

    def journal_settings(self) -> JournalSettings:
        """Return the recorders' part of the settings."""
        return JournalSettings(
            self.journal_root,
            self.run_id,
            self.durability,
            self.checkpoint_every_steps,
            self.on_error,
            observations=self.observations,
        )

    def unpickled_account(self) -> Any:
        """Return the account that was given to `attach`, or None."""
        return None if self.account is None else cloudpickle.loads(base64.b64decode(self.account))


def pickled(account: Any) -> str | None:
    """Return an account as text that `RecordingSettings.unpickled_account` reads.

    Raises:
        ValueError: The account cannot be pickled.
    """
    if account is None:
        return None
    try:
        return base64.b64encode(cloudpickle.dumps(account)).decode()
    except Exception as error:
        raise ValueError(f"the account cannot be sent to env runners: {type(error).__name__}: {error}") from error
