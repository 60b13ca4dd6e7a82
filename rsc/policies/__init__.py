"""Trained policies: keep them, play them on bars that they did not see, compare runs."""
