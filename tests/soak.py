"""Kills loads until it has killed enough of them, and reads damaged files until the time is over: `make soak`.

SOAK_KILLS (100) SIGKILLs at random moments of a push, over every combination of duplicates, ClientId and way of going
on, against a vendor that fails 15% of its calls and is killed and started again between the kills of every third
story. SOAK_SEED (0) stands for the moments and the faults. Prints a line per story; exits 1 where the vendor's books,
the journal or a report show anything wrong, and keeps that story's folder.

SOAK_SHARED_KILLS (20) more are of loads that two workers send: of a worker, or of the client.

SOAK_FUZZ_SECONDS (600) are for damaged lists and damaged workbooks, half each, which SOAK_SEED stands for, too. Exits 1
where one is neither read nor refused in one line (see fuzzing.py), and keeps that file. Any of these numbers may be 0.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from killing import Deal, Story, Way, counted, killed

LEADS_A_STORY = 90
KILLS_A_STORY = 5
FUZZED = ("csv", "workbook")


def stories(seed: int, *, is_shared: bool) -> Iterator[Story]:
    """Every combination, and again with other seeds, without end."""
    combinations = itertools.cycle(itertools.product(("1", "0"), (False, True), Way))
    for number, (duplicates_check, client_id, way) in enumerate(combinations):
        deal, own_seed = Deal(duplicates_check, client_id), seed * 100_000 + number
        story = Story(own_seed, deal, way, KILLS_A_STORY, LEADS_A_STORY, vendor_restarts=number % 3 == 2)
        yield replace(story, is_shared=is_shared)


def main() -> int:
    """Kills, then fuzzes; 1 where anything went wrong."""
    seed = int(os.environ.get("SOAK_SEED", "0"))
    wrong = [
        _killed_enough(int(os.environ.get("SOAK_KILLS", "100")), stories(seed, is_shared=False)),
        _killed_enough(int(os.environ.get("SOAK_SHARED_KILLS", "20")), stories(seed, is_shared=True)),
    ]
    fuzzed = [_fuzzed(kind, seed, float(os.environ.get("SOAK_FUZZ_SECONDS", "600")) / 2) for kind in FUZZED]
    return int(any(wrong) or any(fuzzed))


def _killed_enough(enough: int, told: Iterator[Story]) -> bool:
    """Tells stories until enough was killed; True where one of them went wrong."""
    total: Counter[str] = Counter()
    started = time.monotonic()
    for story in told:
        if total["kills"] >= enough:
            break
        total += _told(story)
        print(f"  {total['kills']} of {enough} kills after {time.monotonic() - started:.0f} s", flush=True)
    resent = total["doubts"] - total["found"]
    print(
        f"{total['kills']} kills in {total['stories']} stories: {total['leads']} leads, {total['faults']} faults met, "
        f"{total['doubts']} doubts settled ({total['found']} found, {resent} sent again), {total['wrong']} violations",
        flush=True,
    )
    return total["wrong"] > 0


def _fuzzed(kind: str, seed: int, seconds: float) -> bool:
    """Reads damaged files in a process of their own, which may die of them; True where it found something."""
    command = [sys.executable, str(Path(__file__).with_name("fuzzing.py")), kind, str(seed), str(seconds)]
    return subprocess.run(command, check=False).returncode != 0


def _told(story: Story) -> Counter[str]:
    """What came of one story, counted and printed."""
    home = Path(tempfile.mkdtemp(prefix="leads-soak-"))
    counts = Counter(stories=1, leads=story.leads)
    try:
        with killed(story, home) as scene:
            counts["kills"] = scene.kills
            wrong = scene.end()
            counts += counted(scene.desk)
    except AssertionError as error:
        wrong = [str(error)]
    print(f"{story}: {counts['kills']} kills, {counts['faults']} faults, {counts['doubts']} doubts")
    if wrong:
        print(*(f"  WRONG: {line}" for line in wrong), f"  seed {story.seed}, see {home}", sep="\n")
    else:
        shutil.rmtree(home)
    return counts + Counter(wrong=len(wrong))


if __name__ == "__main__":
    sys.exit(main())
