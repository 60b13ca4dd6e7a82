"""Read what the operating system knows: paths, file systems, process identity, locks and leases."""
