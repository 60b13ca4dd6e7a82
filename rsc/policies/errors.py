"""Errors about policies that a user can cause and correct."""


class PolicyError(ValueError):
    """A policy cannot be kept, found or used; one line that says what to do."""
