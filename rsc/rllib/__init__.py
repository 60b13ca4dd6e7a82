"""Connect recording to RLlib: attach, callbacks, seeds, and the `rsc train` command's training."""
