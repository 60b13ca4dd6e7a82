"""Load a policy from RLlib's checkpoint into this process, without a Ray cluster."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc.policies.errors import PolicyError
from rsc.policies.playing import Choose
from rsc.policies.split import differing
from rsc.policies.store import PolicyFacts
from rsc.trading.game import Game

# Imports inside functions load modules that are slow to import and not always needed.

_MODULE = Path("learner_group/learner/rl_module/default_policy")
_PACKAGES = ("reinforce-strategy-creator", "ray", "torch", "numpy", "gymnasium", "TA-Lib")


def versions() -> dict[str, str]:
    """Return the versions of the packages on which a policy depends."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def require_fit(facts: PolicyFacts, game: Game, path: Path) -> None:
    """Check that a policy can play a game.

    Raises:
        PolicyError: The game has other observations or actions.
    """
    size, actions = game.observation_space().shape[0], str(game.action_space())
    if (size, actions) != (facts.observation_size, facts.actions):
        raise PolicyError(
            f"the policy in {path} takes {facts.observation_size} numbers and chooses among {facts.actions}, the env"
            f" gives {size} and takes {actions}; use the env config of its training"
        )


def load_policy(path: Path, facts: PolicyFacts, *, deterministic: bool = True, seed: int = 0) -> Choose:
    """Return a function that chooses actions by the policy of a checkpoint.

    Args:
        path: The checkpoint.
        facts: Its description.
        deterministic: Choose the likeliest action (for continuous actions the mean), else draw it.
        seed: Seed of the drawn actions.

    Raises:
        PolicyError: The checkpoint cannot be loaded. The message names differing versions.
    """
    for name in ("ray", "ray.rllib", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        import torch
        from ray.rllib.core.rl_module.rl_module import RLModule

        module: Any = RLModule.from_checkpoint(str(path / _MODULE))
    except Exception as error:  # a pickle from another version may raise any exception
        others = differing(facts.versions, versions())
        why = f"it was saved with other versions: {others}" if others else f"{type(error).__name__}: {error}"
        raise PolicyError(
            f"the policy in {path} cannot be loaded ({why}); train again, or use those versions"
        ) from error
    expected = module.observation_space.shape
    if expected != (facts.observation_size,):
        raise PolicyError(f"the policy in {path} takes {expected} numbers, {path / 'policy.json'} says otherwise")
    torch.manual_seed(seed)

    def choose(observations: NDArray[np.float32]) -> NDArray[Any]:
        with torch.no_grad():
            given = {"obs": torch.from_numpy(np.ascontiguousarray(observations))}
            told = module.forward_inference(given)
            if "actions" in told:
                return np.asarray(told["actions"].numpy())
            distribution = module.get_inference_action_dist_cls().from_logits(told["action_dist_inputs"])
            drawn = (distribution.to_deterministic() if deterministic else distribution).sample()
            return np.asarray(drawn.numpy())

    return choose
