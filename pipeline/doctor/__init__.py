"""What a load needs, looked at before the night: each check says how it is and, if not well, what to do next.

One that fails hides no other, except those that could not even be looked at without it. Nothing is changed at the
vendor: it is asked for a lead by a ClientId that none has, with the search that settles rows in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pipeline.doctor import given, machine, vendor
from pipeline.doctor.visit import Asked, Finding, Level, Visit

__all__ = ["Asked", "Check", "Level", "examine", "exit_code"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at and how it is; `next` says what to do, and is None where it is well."""

    name: str
    level: Level
    message: str
    next: str | None
    exit_code: int  # what the command ends with, where it is bad


class _Look(NamedTuple):
    """One thing to look at, and what it can't be looked at without."""

    name: str
    at: Callable[[Visit], Finding]
    needs: tuple[str, ...] = ()


def examine(asked: Asked) -> Iterator[Check]:
    """The checks in order, each as it ends. What needs another one that is not well is not looked at."""
    visit = Visit(asked)
    causes: dict[str, str] = {}  # what is not well, by the check that is to be mended
    for name, at, needs in _looks(visit):
        cause = next((causes[need] for need in needs if need in causes), None)
        found = at(visit) if cause is None else Finding(Level.WARN, f"not looked at: mend {cause} first")
        if cause is not None or found.level is Level.BAD:
            causes[name] = cause or name
        yield Check(name, found.level, found.message, found.next, found.exit_code)


def exit_code(checks: Iterable[Check]) -> int:
    """0 where none is bad; else the first that holds of 70, 77, 75, 6, 2."""
    found = {check.exit_code for check in checks if check.level is Level.BAD}
    return next((code for code in (70, 77, 75, 6, 2) if code in found), 0)


def _looks(visit: Visit) -> Iterator[_Look]:
    yield _Look("versions", given.versions)
    yield _Look("settings", given.settings_read)
    if visit.asked.mapping is not None:
        yield _Look("mapping", given.mapping_read)
    yield _Look("address", given.address, ("settings",))
    yield _Look("credentials", given.credentials, ("settings",))
    yield _Look("dns", vendor.dns, ("address",))
    yield _Look("connection", vendor.connection, ("dns",))
    yield _Look("tls", vendor.tls, ("connection",))
    yield _Look("login", vendor.login, ("credentials", "tls"))
    for name in visit.campaigns:  # the mapping's as well: it has been read by now
        yield _Look("campaign", partial(vendor.campaign, name=name), ("login",))
    yield _Look("clock", vendor.clock, () if visit.reply else ("login",))  # a refusal says what time it is, too
    yield _Look("state", machine.state, ("settings",))
    of_account = ("state",) if visit.account else ("state", "credentials")
    yield _Look("doubt", machine.in_doubt, of_account)
    yield _Look("lock", machine.lock_held, of_account)
    yield _Look("runs", machine.runs, ("settings",))
    yield _Look("disk", machine.disk, ("settings",))
