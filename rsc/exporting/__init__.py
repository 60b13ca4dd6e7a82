"""Copy a run into tools for comparing trainings: `rsc.export_run`."""
