"""Serve the pages of runs on this machine, and send what changes: `rsc ui`."""
