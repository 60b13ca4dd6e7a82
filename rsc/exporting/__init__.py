"""Copy a run into the tools in which teams compare trainings: `rsc.export_run`."""
