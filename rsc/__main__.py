"""`python -m rsc`: the same as the `rsc` program."""

import sys

from rsc.cli import main

sys.argv[0] = "rsc"  # as help and usage errors name it
main()
