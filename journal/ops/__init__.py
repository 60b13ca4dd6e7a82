"""Work on whole journals: recover, prune, export, compare."""
