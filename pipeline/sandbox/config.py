"""What a sandbox is started with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pipeline.sandbox.profiles import DEFAULT, Profile

DEFAULT_TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but a simulator on this machine
DEFAULT_ACCID = "sandbox"
DEFAULT_CAMPAIGNS = ("Spring Renewals", "Demo")
DEFAULT_KEY = "sandbox-key"
DEFAULT_AGENTS = {"anna": "ready", "ben": "ready", "cara": "on_call", "dan": "on_break", "eve": "wrap_up"}


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


def _default_agents() -> Mapping[str, str]:
    return MappingProxyType(DEFAULT_AGENTS)


def _no_plan() -> Mapping[str, Sequence[str]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FindMeConfig:
    """The DialogTech account that is simulated: `key`, or the pair of access keys, opens it."""

    key: str = field(default=DEFAULT_KEY, repr=False)
    access_key: str = field(default="sandbox-access", repr=False)
    secret_access_key: str = field(default="sandbox-secret", repr=False)
    plain_text: bool = False  # replies are plain text instead of XML: the vendor's page says both
    ring_seconds: float = 0.5  # each ring of the first leg keeps the caller waiting so long
    unanswered: frozenset[str] = frozenset()  # numbers at which nobody answers


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """The account that is simulated, and where and how it answers.

    `texts` replaces reply bodies by their name in `pipeline.sandbox.texts.TEXTS`. `plan` maps phones to names in
    `pipeline.sandbox.faults.FAULTS`, or "none", for their requests one after the other, whatever the operation;
    later ones are answered as usual, and the profile's chances never strike a phone that has a plan.
    """

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    state_path: Path | None = None  # None: a temporary file, gone when the sandbox ends
    profile: Profile = DEFAULT
    seed: int = 0  # of latency and faults
    plan: Mapping[str, Sequence[str]] = field(default_factory=_no_plan)
    silence_seconds: float = 120.0  # a caller that waits for nothing is cut off then, unless it hangs up before
    slow_seconds: float = 3.0  # until a `slow_reply`
    late_seconds: float = 5.0  # until `late_…` is applied; what the end of the sandbox interrupts is lost
    token: str = field(default=DEFAULT_TOKEN, repr=False)
    accid: str = DEFAULT_ACCID
    campaigns: tuple[str, ...] = DEFAULT_CAMPAIGNS
    any_campaign: bool = False
    agents: Mapping[str, str] = field(default_factory=_default_agents)  # login name → what the agent is doing
    any_agent: bool = True
    playlists: tuple[str, ...] = ()  # none of these three: any name will do
    filters: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    # Custom fields exist per campaign; a campaign without a list here takes any.
    custom_fields: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    # Lead columns beyond those in the vendor's document; both are in the vendor's own reports. (grade A)
    extra_columns: tuple[str, ...] = ("FullName", "SecondaryPhone")
    lengths: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # where the account differs
    # The three switches below stand for what the vendor's document doesn't say. (grade C)
    overlong: Literal["truncate", "error"] = "truncate"
    latin_only: bool = False  # columns are varchar: other characters are stored as "?"
    refuse_html: bool = False  # the dialer refuses values that look like markup with an HTML page
    texts: Mapping[str, str] = field(default_factory=_nothing)
    find_me: FindMeConfig = field(default_factory=FindMeConfig)
