"""Save the policy of a training at regular iterations, and select the best on validation bars."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from journal.console import remark
from rsc.policies.dates import one_pass
from rsc.policies.errors import PolicyError
from rsc.policies.module import versions
from rsc.policies.split import feature_facts, market_facts, span_of
from rsc.policies.store import LAST, PolicyFacts, PolicyStore, Validation
from rsc.policies.validating import best_of, validate
from rsc.rllib.configs import TrainingPlan
from rsc.trading.config import TradingConfig
from rsc.trading.game import Game

# Imports inside functions load modules that are slow to import and not always needed.


class Saver:
    """Saves the policy of one run. If saving fails, it is reported, and the training continues.

    Args:
        plan: The training.
        root: Folder of all policies.
        game: The training bars.
        parent: The policy from which the training continues.

    Attributes:
        failed: The reason why the newest policy is not saved; empty if it is saved.
        saved: The folder of the newest saved policy, None before the first.
    """

    def __init__(self, plan: TrainingPlan, root: Path, game: Game, parent: PolicyFacts | None = None) -> None:
        self.failed = ""
        self.saved: Path | None = None
        self._plan = plan
        self._root = root
        self._game = game
        self._parent = parent
        self._store: PolicyStore | None = None
        self._iteration: int | None = None
        self._validations: list[Validation] = []
        settings = plan.split.validation(plan.env_config)
        self._validation = Game(TradingConfig.of(one_pass(settings)), game.market) if settings else None

    def begin(self, run_id: str) -> None:
        """Set the run whose policy is saved."""
        self._store = PolicyStore(self._root, run_id)

    def due(self, done: int) -> bool:
        """Return whether the policy is saved after this many iterations of this training."""
        return self._plan.save and done % self._plan.save_every == 0

    def save(self, algorithm: Any) -> None:
        """Save the current policy, unless it was already saved in this iteration."""
        if not self._plan.save or self._store is None or algorithm.iteration == self._iteration:
            return
        facts = self._facts(algorithm, self._store.folder.name)
        try:
            path = self._store.save(facts, algorithm.save_to_path)
            self._iteration, self.saved, self.failed = facts.iteration, self._store.folder / LAST, ""
            if self._validation is not None:
                self._select(self._store, path, facts, self._validation)
        except (OSError, PolicyError) as error:
            self.failed = f"the policy of iteration {facts.iteration} is not saved: {error}"
            remark(self.failed)

    def _select(self, store: PolicyStore, path: Path, facts: PolicyFacts, game: Game) -> None:
        found = validate(path, facts, game)
        self._validations.append(found)
        best = best_of(self._validations) == found
        described = self._facts_with(facts)
        (store.select if best else store.describe)(described)
        sharpe = "undefined" if found.sharpe_ratio is None else f"{found.sharpe_ratio:.2f}"
        remark(
            f"iteration {found.iteration}: validation return {found.total_return:+.1%}, Sharpe {sharpe}"
            + (", the best so far" if best else "")
        )

    def _facts_with(self, facts: PolicyFacts) -> PolicyFacts:
        import msgspec

        return msgspec.structs.replace(facts, validations=list(self._validations))

    def _facts(self, algorithm: Any, run_id: str) -> PolicyFacts:
        game, plan = self._game, self._plan
        training = span_of(game)
        validation = None if self._validation is None else span_of(self._validation)
        return PolicyFacts(
            run_id=run_id,
            algorithm=plan.algo,
            iteration=int(algorithm.iteration),
            env_steps=int(algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0)),
            plan={key: value for key, value in plan.parameters().items() if key != "env_config"},
            env_config=plan.env_config,
            market=market_facts(game.market, (validation or training).last),
            features=feature_facts(game),
            training=training,
            validation=validation,
            observation_size=int(game.observation_space().shape[0]),
            actions=str(game.action_space()),
            versions=versions(),
            target=(0 if self._parent is None else self._parent.iteration) + plan.iterations,
            saved_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=plan.seed,
            parent_run_id=None if self._parent is None else self._parent.run_id,
            validations=list(self._validations),
        )
