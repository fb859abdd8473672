"""How fast the sandbox is and which faults it makes, by name.

No rate limit of the vendor is documented or was ever seen: a 429 is in `hostile-proxy` and `flaky` alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.model import UserError
from pipeline.sandbox.faults import FAULTS


def _no_faults() -> Mapping[str, float]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a sandbox behaves. `max_parallel` requests are worked on at a time; further ones queue.

    `faults` maps names of `pipeline.sandbox.faults.FAULTS` to their share of all requests.
    """

    name: str
    doc: str
    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0  # either way, evenly spread
    max_parallel: int | None = None
    faults: Mapping[str, float] = field(default_factory=_no_faults)

    def delay_seconds(self, rng: random.Random) -> float:
        """How long the next request takes."""
        if not self.jitter_seconds:
            return self.latency_seconds
        return max(0.0, self.latency_seconds + rng.uniform(-self.jitter_seconds, self.jitter_seconds))

    def choose_fault(self, rng: random.Random) -> str | None:
        """The name of the next request's fault, or None."""
        if not self.faults:
            return None
        point = rng.random()
        for name, share in self.faults.items():
            point -= share
            if point < 0:
                return name
        return None


def _evenly(total_share: float, names: Iterable[str]) -> Mapping[str, float]:
    chosen = tuple(names)
    return MappingProxyType(dict.fromkeys(chosen, total_share / len(chosen)))


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
        faults=_evenly(0.2, ("http_429", "http_503")),
    ),
    Profile(
        name="dialer-down",
        doc="one request in ten finds the dialer unreachable: CURL error[7], nothing stored",
        faults=_evenly(0.1, ("curl_7",)),
    ),
    Profile(
        name="flaky",
        doc="15% of requests go wrong, evenly in all ways there are but a false OK",
        faults=_evenly(0.15, (name for name in FAULTS if name != "false_ok")),
    ),
    Profile(
        name="late",
        doc="one request in ten gets a 504 or no answer, and is stored some seconds later",
        faults=_evenly(0.1, ("late_timeout", "late_504")),
    ),
    # Apart from all others: no caller can see it without looking every lead up.
    Profile(
        name="false-ok",
        doc="one request in ten, but no search, is answered OK and nothing is stored",
        faults=_evenly(0.1, ("false_ok",)),
    ),
)
PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})


def profile_named(name: str) -> Profile:
    """The profile of that name; a name that doesn't exist is a UserError."""
    if name not in PROFILES:
        raise UserError(f"no sandbox profile is named {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]
