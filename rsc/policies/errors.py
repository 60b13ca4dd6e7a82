"""Errors about policies that a user can cause and correct."""


class PolicyError(ValueError):
    """A policy cannot be saved, found or used. The message is one line that says what to do."""


class NoEvaluationError(PolicyError):
    """A run has no evaluation."""
