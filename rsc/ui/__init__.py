"""Serve the pages of runs on this machine, and send changes to open pages: `rsc ui`."""
