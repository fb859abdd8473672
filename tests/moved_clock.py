"""`leads load` and `leads resume` on a clock that is so many seconds wrong: moved_clock.py SECONDS COMMAND NAME….

Names are the list and the mapping, or the run; settings come from the environment. The clock is the one that a run
takes from outside: the command line has no way to set it.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from pipeline import continued, folder, mappings, run, screen, settings
from pipeline.continued import Given
from pipeline.delivery import utc_now
from pipeline.job import Job, Summary, World
from pipeline.people import Consent
from pipeline.transport import PooledTransport, new_loop


def load(names: Sequence[str], world: World) -> Summary:
    """A load of a list with a mapping."""
    given = settings.resolve({})[0]
    mapping, path, text = mappings.read(names[1], None)
    files, consent = (Path(names[0]),), Consent(None, dial_non_callables=False)
    return run.load(Job("load", files, mapping, path, text, given, consent), world)


def resume(names: Sequence[str], world: World) -> Summary:
    """A run that goes on, with its own settings."""
    found = folder.find(settings.resolve({})[0].runs, names[0])
    own = found.read_json("manifest.json")["settings"]
    return continued.resume(found, Given(settings.resolve({}, own)[0]), world)


def main(seconds: str, command: str, *names: str) -> int:
    """Its exit code; the summary goes to stdout, as with --json."""
    with screen.progress(quiet=False) as watcher:
        world = World(
            transport=lambda: PooledTransport(connections=8),
            new_loop=new_loop,
            now=lambda: utc_now() + timedelta(seconds=float(seconds)),
            rng=random.Random(),
            progress=watcher,
        )
        summary = {"load": load, "resume": resume}[command](names, world)
    print(json.dumps(asdict(summary)))
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
