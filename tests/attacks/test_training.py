"""Training never stops, changes or slows for the record: env runners as RLlib makes them, in a process of their own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.stage import Stage

pytestmark = pytest.mark.rllib
SPACES = {
    "Discrete": ("Discrete(3)", 1),
    "Discrete from -1": ("Discrete(3, start=-1)", 1),
    "Dict": ("Dict({'size': gym.spaces.Box(-1, 1, (2,)), 'side': gym.spaces.Discrete(2)})", 3),
    "Tuple": ("Tuple((gym.spaces.Discrete(2), gym.spaces.Box(-1, 1)))", 2),
    "nested": ("Dict({'a': gym.spaces.Tuple((gym.spaces.Discrete(2), gym.spaces.MultiBinary(2)))})", 3),
    "Text": ("Text(5)", 0),
    "Box scalar": ("Box(-1, 1, ())", 1),
    "Box 3": ("Box(-1, 1, (3,))", 3),
    "Box 2 x 2": ("Box(-1, 1, (2, 2))", 4),
    "Box of int8": ("Box(-5, 5, (2,), np.int8)", 2),
    "MultiDiscrete": ("MultiDiscrete([2, 3])", 2),
    "MultiDiscrete 2-d": ("MultiDiscrete([[2, 3], [4, 5]])", 4),
    "MultiBinary": ("MultiBinary(3)", 3),
    "MultiBinary 2-d": ("MultiBinary((2, 2))", 4),
}
COMPARED = """
def what_a_trainer_sees(runner):
    episode = sample(runner)[0].to_numpy()
    infos = [{k: v for k, v in info.items() if not k.startswith("journal")} for info in episode.get_infos()]
    return {
        "length": len(episode),
        "observations": np.asarray(episode.get_observations()).tobytes().hex()[:4000],
        "rewards": np.asarray(episode.get_rewards()).tolist(),
        "ended": [bool(episode.is_terminated), bool(episode.is_truncated)],
        "infos": str(infos),
        "keys": sorted(set().union(*episode.get_infos()) - set().union(*infos)),
    }, episode
"""


def compared(stage: Stage, env: str, name: str) -> dict[str, Any]:
    """A bare and a recorded runner of one config give the trainer the same; returns what the recorded one gave."""
    stage.do(COMPARED)
    bare, _ = stage.do(f"bare = runner_of(configured({env}))\nseen, _ = what_a_trainer_sees(bare)\nseen, 0")
    stage.begin(f"configured({env})", name)
    seen, _ = stage.do("seen, episode = what_a_trainer_sees(runner)\nseen, 0")
    keys = seen.pop("keys")
    bare.pop("keys")
    assert seen == bare
    assert set(keys) <= {"journal", "journal_failed"}
    return dict(seen)


@pytest.mark.parametrize("kind", list(SPACES))
def test_action_space__of_any_kind__the_trainer_sees_the_same_and_every_number_is_recorded(
    stage: Stage, kind: str
) -> None:
    space, numbers = SPACES[kind]
    name = f"space-{list(SPACES).index(kind)}"
    compared(stage, f"actions_of(gym.spaces.{space})", name)
    stage.end()
    told = stage.journals(name)[0]
    assert (told["state"], told["end"], told["steps"]) == ("closed", "time_limit", 20), told
    columns = stage.do(
        f"""
from journal import read_journal
table = read_journal({told["path"]!r}).steps()
{{name: table[name].to_pylist() for name in table.schema.names if name == "action" or name.startswith("action_")}}
"""
    )
    given = stage.do(
        """
def numbers(action):
    if isinstance(action, dict):
        return [x for key in sorted(action) for x in numbers(action[key])]
    if isinstance(action, (tuple, list)):
        return [x for part in action for x in numbers(part)]
    return [float(x) for x in np.ravel(action)] if not isinstance(action, str) else []
[numbers(action) for action in episode.get_actions()] if not isinstance(episode.get_actions(), (dict, tuple)) else None
"""
    )
    if numbers == 0:
        assert all(value is None or value != value for column in columns.values() for value in column)
        return
    assert len(columns) == numbers, list(columns)
    if given is not None:
        assert [sorted(row) for row in zip(*columns.values(), strict=True)] == [sorted(row) for row in given]


@pytest.mark.parametrize("shape", ["(1,)", "(1, 1)", "()", "(2,)"])
def test_reward__is_an_array__the_caller_gets_that_array_and_its_number_is_recorded(stage: Stage, shape: str) -> None:
    """Gymnasium's vector envs refuse such rewards with today's numpy, but not every trainer uses them."""
    name = f"reward-{len(shape)}-{shape.count('2')}"
    stage.begin(f"configured(actions_of(gym.spaces.Discrete(3), reward_shape={shape}))", name)
    rewards = stage.do(
        """
env = env_of(runner)
env.reset(seed=1)
given = [env.step(1)[1] for _ in range(20)]
[[type(reward).__name__, list(np.shape(reward)), str(reward.dtype), np.ravel(reward).tolist()] for reward in given]
"""
    )
    stage.end()
    assert {(kind, tuple(size), dtype) for kind, size, dtype, _ in rewards} == {("ndarray", eval(shape), "float32")}
    told = max(stage.journals(name), key=lambda line: line["steps"])
    assert (told["state"], told["end"], told["steps"]) == ("closed", "time_limit", 20), told
    code = f"from journal import read_journal\nread_journal({told['path']!r}).steps()['reward'].to_pylist()"
    recorded = stage.do(code)
    if shape == "(2,)":
        assert all(value is None or value != value for value in recorded), "two numbers are no reward: unknown, never 0"
    else:
        assert recorded == pytest.approx([values[0] for *_, values in rewards], abs=1e-6)


@pytest.mark.parametrize(
    "vectorised",
    [
        pytest.param(False, id="TradingEnv"),
        pytest.param(True, id="TradingVectorEnv"),
    ],
)
def test_trading_env__refused_action__consumes_no_bar(stage: Stage, vectorised: bool) -> None:
    """Whoever catches the error plays the same episode as somebody who never made it."""
    told = stage.do(
        f"""
def play(slip):
    if {vectorised}:
        env = rsc.TradingVectorEnv({{"episode_length": 20}}, 2)
        good, bad = np.array([1, 2]), np.array([1, 99])
    else:
        env = TradingEnv({{"episode_length": 20}})
        good, bad = 1, 99
    env.reset(seed=3)
    seen = []
    for step in range(6):
        if slip and step == 3:
            try:
                env.step(bad)
                seen.append("accepted")
            except Exception:
                pass
        observation, reward, *_ = env.step(good)
        seen.append([np.asarray(observation).tolist(), np.asarray(reward).tolist()])
    return seen
play(True) == play(False)
"""
    )
    assert told


# --- the caller's own ways


def test_exception__caught_by_the_caller__steps_after_it_are_recorded_or_their_loss_is_told(stage: Stage) -> None:
    """A notebook that retries a step."""
    stage.do(
        """
class Slips(TradingEnv):
    calls = 0
    def step(self, action):
        self.calls += 1
        if self.calls == 5:
            raise RuntimeError("the data feed hiccups")
        return super().step(action)
"""
    )
    stage.begin("configured(Slips, episode_length=50)", "caught")
    before = len(stage.trainer.stderr())
    returned = stage.do(
        """
env = env_of(runner)
env.reset(seed=1)
returned = 0
for _ in range(12):
    try:
        env.step(1)
        returned += 1
    except RuntimeError:
        pass
returned
"""
    )
    recorded = sum(line["steps"] for line in stage.journals("caught"))
    told = stage.trainer.stderr()[before:]
    stage.end()
    assert recorded == returned or "not recorded" in told, (
        f"{recorded} of {returned} steps, and this was told: {told!r}"
    )


def test_deepcopy__of_a_running_recorded_env__works_and_leaves_the_record_alone(stage: Stage) -> None:
    """A planner that looks ahead with copies of its env."""
    stage.begin("configured(TradingEnv)", "copied")
    told = stage.do(
        """
import copy
env = env_of(runner)
env.reset(seed=1)
for _ in range(5):
    env.step(1)
ahead = copy.deepcopy(env)
for _ in range(7):
    ahead.step(2)
twin = copy.deepcopy(ahead)
ahead.close()
del ahead
import gc; gc.collect()
for _ in range(5):
    env.step(1)
"done"
"""
    )
    assert told == "done"
    lines = [line for line in stage.journals("copied") if line["steps"]]
    stage.end()
    assert [(line["state"], line["steps"]) for line in lines] == [("open", 10)], lines
