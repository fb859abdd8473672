"""How fast the sandbox is and which faults it makes, by name.

A fault is chosen before its operation is applied, and `phase` says which side of the store it is on.
No rate limit of the vendor is documented or was ever seen: only `hostile-proxy` has a 429.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from pipeline.model import UserError


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller."""

    body: str
    http_status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Phase(StrEnum):
    """Where a fault strikes."""

    BEFORE_STORE = "before_store"  # nothing is applied
    AFTER_STORE = "after_store"  # applied, and the caller gets the fault's answer instead of the reply


@dataclass(frozen=True, slots=True)
class Fault:
    """One way of going wrong, in `share` of all requests."""

    name: str
    share: float
    phase: Phase
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a sandbox behaves. `max_parallel` requests are worked on at a time; further ones queue."""

    name: str
    doc: str
    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0  # either way, evenly spread
    max_parallel: int | None = None
    faults: tuple[Fault, ...] = ()

    def delay_seconds(self, rng: random.Random) -> float:
        """How long the next request takes."""
        if not self.jitter_seconds:
            return self.latency_seconds
        return max(0.0, self.latency_seconds + rng.uniform(-self.jitter_seconds, self.jitter_seconds))

    def choose_fault(self, rng: random.Random) -> Fault | None:
        """The fault of the next request, or None."""
        if not self.faults:
            return None
        point = rng.random()
        for fault in self.faults:
            point -= fault.share
            if point < 0:
                return fault
        return None


def _turned_away(http_status: int, reason: str, share: float) -> Fault:
    title = f"{http_status} {reason}"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    answer = Answer(page, http_status, MappingProxyType({"Retry-After": "1"}))
    return Fault(f"http_{http_status}", share, Phase.BEFORE_STORE, answer)


# libcurl's 7 between gateway and dialer: couldn't connect, so the dialer never saw it. (grade C)
_DIALER_REFUSED = Fault(
    "curl_7",
    0.1,
    Phase.BEFORE_STORE,
    Answer("<br><br>Result: CURL error[7]: Failed to connect to dialer port 80: Connection refused"),
)

DEFAULT = Profile(name="default", doc="answers at once and makes no faults")
_ALL = (
    DEFAULT,
    Profile(
        name="slow",
        doc="takes 150 to 250 ms, 16 requests at a time",
        latency_seconds=0.2,
        jitter_seconds=0.05,
        max_parallel=16,
    ),
    Profile(
        name="hostile-proxy",
        doc="a proxy in front turns away one request in five: 429 or 503, Retry-After 1 s, nothing stored",
        faults=(_turned_away(429, "Too Many Requests", 0.1), _turned_away(503, "Service Unavailable", 0.1)),
    ),
    Profile(
        name="dialer-down",
        doc="one request in ten finds the dialer unreachable: CURL error[7], nothing stored",
        faults=(_DIALER_REFUSED,),
    ),
)
PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})


def profile_named(name: str) -> Profile:
    """The profile of that name; a name that doesn't exist is a UserError."""
    if name not in PROFILES:
        raise UserError(f"no sandbox profile is named {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]
