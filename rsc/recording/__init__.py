"""Record an environment's steps and trades in journals."""
