"""`python -m rsc`: the same as the `rsc` program."""

import sys

from rsc.cli import main

sys.argv[0] = "rsc"  # the name in help and usage errors
main()
