"""Count the iterations of a training in an env runner, from the states that the algorithm sends it."""

from __future__ import annotations


class Progress:
    """The progress of a training when the algorithm last sent its state, which it does after each iteration.

    Attributes:
        env_steps: Env steps that the training had sampled; None before the first state.
        iterations: Training iterations that had ended. None if a runner cannot know it. A runner that was restarted, or
            starts from a checkpoint, does not know the number before. Evaluation runners get no state in iterations
            without evaluation. IMPALA and APPO send states when weights are ready.
        sampled: Whether this runner has sampled since the last state.
    """

    def __init__(self, *, countable: bool) -> None:
        """Set ``countable`` if the algorithm sends its state to this runner once after each iteration."""
        self.env_steps: int | None = None
        self.iterations: int | None = None
        self.sampled = False
        self._countable = countable

    def note(self, env_steps: int) -> None:
        """Record the number of env steps in a state. The first state, before any iteration, has 0.

        If the number grew although this runner has not sampled, the state comes from a checkpoint.
        """
        before, self.env_steps = self.env_steps, env_steps
        if before is None:
            self.iterations = 0 if env_steps == 0 and self._countable else None
        elif env_steps != before and self.iterations is not None:
            self.iterations = self.iterations + 1 if self.sampled and env_steps > before else None
        self.sampled = False
