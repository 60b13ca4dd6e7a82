"""End the episodes that training left behind: passes, verdicts, daemon and command line."""
