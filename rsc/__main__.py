"""`python -m rsc` is `rsc`."""

import sys

from rsc.cli import main

sys.argv[0] = "rsc"  # as help and usage errors name it
main()
