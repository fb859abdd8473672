"""What follows a load: its steps, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline import sending
from pipeline.after import Loaded, Step
from pipeline.job import StepEnd, World
from pipeline.sending import Access
from pipeline.signals import Signals


def follow(
    steps: Sequence[Step], loaded: Loaded, world: World, heard: Signals, credentials: Mapping[str, str]
) -> tuple[list[StepEnd], int | None]:
    """Sends each step that is to go: how each ended, and the signal that stopped them, if one did."""
    ends: list[StepEnd] = []
    number = None
    for step in steps:
        number = heard.number
        held_back = step.held_back(loaded, ends, number)
        if held_back is None:
            if step.rows.tally().to_send:
                world.progress.following(step.rows.job.operation.name)
            number = sending.send_step(step.rows, world, heard, Access(credentials, world.transport()))
        ends.append(step.end(held_back))
    return ends, number
