"""Read a journal in any state: consistent snapshots, rows, losses."""
