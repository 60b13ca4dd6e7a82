"""Run passes on a schedule, with metrics and health checks."""
