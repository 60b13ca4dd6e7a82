"""A small language for tests that attach to RLlib configs and sample in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig

import rsc
from journal import journal_path, list_journals, list_runs, read_journal
from rsc.db import episodes, runs
from rsc.db.session import open_engine, reading
from rsc.rllib import rows
from rsc.trading.env import TradingEnv

RUN = "r1"
SHORT = {"episode_length": 20}


def config_of(env: Any = TradingEnv, *, envs: int = 1, kind: Any = PPOConfig, **settings: Any) -> Any:
    """A small config without env runners of its own."""
    return (
        kind()
        .environment(env, env_config={**SHORT, **settings} if env is TradingEnv else settings)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=envs)
        .debugging(seed=3, log_level="ERROR")
    )


def runner_of(config: Any) -> Any:
    """An env runner as RLlib makes it."""
    return config.env_runner_cls(config=config, worker_index=1)


def sample(runner: Any, steps: int) -> list[Any]:
    """Play some steps at random."""
    found: list[Any] = runner.sample(num_timesteps=steps, random_actions=True)
    return found


class World:
    """A folder with runs in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "journals"
        self.url = f"sqlite:///{folder / 'rsc.db'}"

    def attach(self, config: Any, run_id: str | None = RUN, **more: Any) -> Any:
        more = {"journal_root": self.root, "database_url": self.url, **more}
        return rsc.attach(config, run_id=run_id, **more)

    @contextmanager
    def runner(self, config: Any, **more: Any) -> Iterator[Any]:
        """An env runner of the attached config."""
        with self.attach(config, **more):
            runner = runner_of(config)
            try:
                yield runner
            finally:
                runner.stop()

    def rows(self, run_id: str = RUN) -> list[Any]:
        """The run's episodes, after this process has written what it holds."""
        assert rows.drain(self.url) == 0
        return list(episodes.episodes_of(open_engine(self.url), run_id))

    def run_row(self, run_id: str = RUN) -> Any:
        with reading(open_engine(self.url)) as connection:
            return runs.find_run(connection, run_id)

    def journals(self, run_id: str = RUN) -> dict[str, Any]:
        return {name: read_journal(journal_path(self.root, run_id, name)) for name in list_journals(self.root, run_id)}

    def is_untouched(self) -> bool:
        """Whether no run was begun."""
        return not self.root.exists() or not list(list_runs(self.root))
