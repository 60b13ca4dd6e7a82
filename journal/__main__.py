"""The `journal` program, also as `python -m journal`."""

from journal.start import start


def main() -> None:
    """Run the program."""
    start("journal", "journal.cli")


if __name__ == "__main__":
    main()
