"""Where `leads` begins. A Ctrl-C is answered from here on: all else takes a tenth of a second to load."""

import sys


def main() -> None:
    """Runs a command, as `cli.main` does."""
    try:
        from pipeline import cli
    except KeyboardInterrupt:
        sys.exit(130)
    cli.main()
