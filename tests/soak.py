"""Kills loads until it has killed enough of them: `make soak`.

SOAK_KILLS (100) SIGKILLs at random moments of a push, over every combination of duplicates, ClientId and way of going
on, against a vendor that fails 15% of its calls and is killed and started again in every third story. SOAK_SEED (0)
names the moments and the faults. Prints a line per story; exits 1 where the vendor's books, the journal or a report
show anything wrong, and keeps that story's folder.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from killing import Deal, Desk, Vendor, Way, finish, kill, violations, write_list

LEADS_A_STORY = 90
KILLS_A_STORY = 5


@dataclass(frozen=True, slots=True)
class Story:
    """One list, loaded to its end against all odds."""

    seed: int
    deal: Deal
    way: Way
    vendor_restarts: bool

    def __str__(self) -> str:
        mapped = "a ClientId" if self.deal.client_id else "no ClientId"
        restarted = ", vendor restarted" if self.vendor_restarts else ""
        return f"seed {self.seed}, DuplicatesCheck={self.deal.duplicates_check}, {mapped}, {self.way}{restarted}"


def stories(seed: int) -> Iterator[Story]:
    """Every combination, and again with other seeds, without end."""
    combinations = itertools.cycle(itertools.product(Way, ("1", "0"), (False, True)))
    for number, (way, duplicates_check, client_id) in enumerate(combinations):
        yield Story(seed * 100_000 + number, Deal(duplicates_check, client_id), way, number % 3 == 2)


def told(story: Story, home: Path) -> tuple[Counter[str], list[str]]:
    """Lives through a story: what happened, counted, and what was wrong."""
    rng = Random(story.seed)
    counts: Counter[str] = Counter(stories=1, leads=LEADS_A_STORY)
    with Vendor(home, seed=story.seed * 10).open() as vendor:
        desk = Desk(home, write_list(home, story.deal, LEADS_A_STORY), vendor.account)
        try:
            for turn in range(KILLS_A_STORY):
                counts["kills"] += kill(desk, story.way, turn, rng)
                if story.vendor_restarts:
                    vendor.kill()
                    vendor.start()
            finish(desk, story.way)
            wrong = violations(desk, vendor_lost=story.vendor_restarts)
        except AssertionError as error:
            wrong = [str(error)]
        counts["faults"] += sum(vendor.account.see("state")["faults"].values())
    return counts + _doubts(desk.state), wrong


def _doubts(state: Path) -> Counter[str]:
    """Rows that were looked up, and how many of those were there."""
    looked_up = "EXISTS (SELECT 1 FROM requests r WHERE (r.run_id, r.source, r.row) = (s.run_id, s.source, s.row)"
    looked_up += " AND r.operation = 'LeadOperations.SearchLead')"
    with closing(sqlite3.connect(state)) as database:
        doubts, found = database.execute(
            f"SELECT count(*), sum(reconciled) FROM sends s WHERE {looked_up} AND status = 'accepted'"
        ).fetchone()
    return Counter(doubts=doubts, found=found or 0)


def main() -> int:
    """Tells stories until enough was killed; 1 where one of them went wrong."""
    enough = int(os.environ.get("SOAK_KILLS", "100"))
    total: Counter[str] = Counter(wrong=0)
    started = time.monotonic()
    for story in stories(int(os.environ.get("SOAK_SEED", "0"))):
        home = Path(tempfile.mkdtemp(prefix="leads-soak-"))
        began = time.monotonic()
        counts, wrong = told(story, home)
        total += counts
        print(
            f"{total['kills']:>4} of {enough}  {story}: {counts['kills']} kills, {counts['faults']} faults, "
            f"{counts['doubts']} doubts, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        if wrong:
            total["wrong"] += len(wrong)
            print(*(f"  WRONG: {line}" for line in [*wrong, f"see {home}"]), sep="\n", flush=True)
        else:
            shutil.rmtree(home)
        if total["kills"] >= enough:
            break
    print(
        f"{total['kills']} kills in {total['stories']} stories, {time.monotonic() - started:.0f} s: "
        f"{total['leads']} leads, {total['faults']} faults met, {total['doubts']} doubts settled "
        f"({total['found']} found, {total['doubts'] - total['found']} sent again), {total['wrong']} violations"
    )
    return int(total["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
