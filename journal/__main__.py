"""`python -m journal`: the same as the `journal` program."""

from journal.cli import main

main()
