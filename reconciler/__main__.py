"""`python -m reconciler`: the same as the `reconcile` program."""

import sys

from reconciler.cli import main

sys.argv[0] = "reconcile"  # as help, usage errors and the log name it
main()
