"""The command on a clock that is so many seconds wrong: moved_clock.py SECONDS ARGUMENT….

The clock is the one that a run takes from outside: the command line has no way to set it.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from pipeline import cli
from pipeline.delivery import utc_now


def main(seconds: str, *arguments: str) -> None:
    """Ends the process with the command's exit code."""
    sys.argv = ["leads", *arguments]
    cli.main(lambda: utc_now() + timedelta(seconds=float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
