"""Read a recorded run back, as Arrow tables: `rsc.load_run`."""
