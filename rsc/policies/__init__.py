"""Save trained policies, play them on unseen bars, compare runs."""
