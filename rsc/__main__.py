"""The `rsc` program, also as `python -m rsc`."""

from journal.start import start


def main() -> None:
    """Run the program."""
    start("rsc", "rsc.cli")


if __name__ == "__main__":
    main()
