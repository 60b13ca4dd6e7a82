"""The `reconcile` program, also as `python -m reconciler`."""

from journal.start import start


def main() -> None:
    """Run the program."""
    start("reconcile", "reconciler.cli")


if __name__ == "__main__":
    main()
