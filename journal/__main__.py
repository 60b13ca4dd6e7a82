"""`python -m journal`: the same as the `journal` program."""

import sys

from journal.cli import main

sys.argv[0] = "journal"  # as help, usage errors and the log name it
main()
