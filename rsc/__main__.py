"""`python -m rsc` is `rsc`."""

from rsc.cli import main

main()
