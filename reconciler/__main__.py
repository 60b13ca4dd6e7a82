"""`python -m reconciler`: the same as the `reconcile` program."""

from reconciler.cli import main

main()
