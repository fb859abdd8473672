"""The declaration types: what an operation of a vendor is, as data.

Everything that is known about a vendor is an instance of these types. The engines that read
them (mapping, validation, payloads, replies, push) hold no vendor's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

# What a frame holds in the place of a value that is to be sent empty. No cell can be it: cleaners take control
# characters away.
CLEARED = "\x00"


class Grade(StrEnum):
    """How well a rule is known. C and unknown rules are never shown to a user as facts."""

    A = "A"  # the vendor's document, or code that the vendor wrote
    B = "B"  # seen in several public third-party clients
    C = "C"  # inferred from A and B
    UNKNOWN = "?"  # not found


class Effect(StrEnum):
    """What an operation does in the world."""

    READ = "read"
    WRITE = "write"
    CONTACT = "contact"  # a phone may ring, a text may arrive


class Settle(StrEnum):
    """What may be done about a call that was sent and has no verdict."""

    REPEAT = "repeat"  # sending it again changes nothing
    SEARCH = "search"  # look it up first
    NEVER = "never"  # nothing can tell; a person decides


class LedgerRule(StrEnum):
    """What an earlier delivery says about sending again."""

    BY_KEY = "by_key"  # the key was delivered: skip
    LAST_PAYLOAD = "last_payload"  # the latest payload for the key is the same: skip
    NONE = "none"  # never skipped


class Verdict(StrEnum):
    """What a reply, or the lack of one, means."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # suppressed by the vendor, nothing stored
    REJECTED = "rejected"  # refused for good
    CREDENTIALS = "credentials"  # token or account refused
    MISCONFIGURED = "misconfigured"  # a redirect or a 4xx: the address or the request is wrong
    THROTTLED = "throttled"  # not taken now; the reply may say when
    NOT_DELIVERED = "not_delivered"  # known not to have arrived
    IN_DOUBT = "in_doubt"  # may or may not have arrived


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers from `least` to `most`, both allowed."""

    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One parameter of an operation, as the vendor spells it."""

    name: str
    required: bool = False
    max_length: int | None = None  # characters; None: the vendor states no limit
    choices: tuple[str, ...] = ()
    number: Range | None = None
    pattern: str | None = None  # the whole value matches
    cleaner: str = "text"
    cleaner_when: tuple[str, Mapping[str, str]] | None = None  # (other field, its value → cleaner)
    from_policy: bool = False  # set by [policy] alone: a cell can never set it
    policy_flag: str = ""  # the switch in [policy] that sets it to 1
    is_name: bool = False  # names something (an agent, a campaign, an id): shortened, it would name another
    stored: bool = True  # the value is a column of the lead; False: it says what is to be done
    warn_spaces: bool = False  # the vendor advises against spaces in it
    grade: Grade = Grade.A
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Together:
    """All of `fields` are given, or none."""

    fields: tuple[str, ...]
    grade: Grade = Grade.A
    code: str = "incomplete_group"


@dataclass(frozen=True, slots=True)
class RequiredWhen:
    """`field` must be given where `when` has one of `values`."""

    field: str
    when: str
    values: tuple[str, ...]
    grade: Grade = Grade.A
    code: str = "missing"


@dataclass(frozen=True, slots=True)
class OnlyWhen:
    """`field` may be given only where `when` has one of `values`; an empty `when` means `default`."""

    field: str
    when: str
    values: tuple[str, ...]
    default: str = ""
    grade: Grade = Grade.A
    code: str = "not_applicable"


@dataclass(frozen=True, slots=True)
class AnyBeside:
    """At least one field that is not among `fields` is given."""

    fields: tuple[str, ...]
    grade: Grade = Grade.A
    code: str = "nothing_to_send"


Rule = Together | RequiredWhen | OnlyWhen | AnyBeside


@dataclass(frozen=True, slots=True)
class Dialing:
    """What a value of `[policy] dialing` sends, and whether a call may follow."""

    parameters: Mapping[str, str]
    contacts: bool
    doc: str
    heeds_hours: bool = False  # the vendor looks at the customer's own hour before it calls


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """A reply whose normalised text matches `pattern` (case ignored) means `verdict`."""

    pattern: str
    verdict: Verdict
    code: str
    grade: Grade
    one_line: bool = False  # only where the text is one line without markup
    still_at_work: bool = False  # the vendor may still be at work on the call
    maybe_refused: bool = False  # in doubt, and likely a refusal: where it is not found, it is not sent again
    tells: bool = False  # the pattern's first group, a JSON text, is what was asked for

    def matches(self, text: str) -> re.Match[str] | None:
        """The match in `text`, or None."""
        return re.match(self.pattern, text, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class XmlReply:
    """A reply that may be XML. It is read as the line "name=value name=value", by the children of `root` in order.

    `call_id` is the child that numbers the call: kept in the row's result, and left out of the line.
    """

    root: str
    call_id: str


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a call may take that is answered only after others were: a product of what its fields say.

    Each field goes with the number that an empty one stands for. `each` holds several values, joined by `separator`.
    """

    seconds: tuple[str, int]
    rounds: tuple[str, int]
    each: str
    separator: str
    margin_seconds: int

    def longest(self, sent: Mapping[str, str]) -> int:
        """Seconds after which no answer will come any more to a call with these fields."""
        seconds, rounds = (int(sent.get(name) or default) for name, default in (self.seconds, self.rounds))
        values = sent.get(self.each, "").count(self.separator) + 1
        return seconds * rounds * values + self.margin_seconds


@dataclass(frozen=True, slots=True)
class Credential:
    """A parameter that goes with every call and is in no payload."""

    parameter: str
    setting: str  # its name in the environment, in upper case
    secret: bool


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor's account: where it is and what proves who calls.

    `credentials` lists the alternatives; the first whose settings are all given is used.
    `account` is the setting that names the account in row keys.
    """

    name: str
    base_url: str
    base_url_setting: str
    credentials: tuple[tuple[Credential, ...], ...]
    account: str
    reserved: tuple[str, ...] = ()  # parameters of older accounts: never lead columns
    method_setting: str | None = None  # the setting that says POST or GET; None: POST


@dataclass(frozen=True, slots=True)
class Custom:
    """How custom fields are spelled: `prefix` + name, with spaces replaced."""

    prefix: str
    space: str
    forbidden: str  # characters that the vendor's server would turn into others
    grade: Grade


@dataclass(frozen=True, slots=True)
class Identity:
    """A lead is looked up by one of the row's own fields.

    `fields` says which, by the value of the field `by`; where a mapping leaves `by` out, the first that it maps.
    """

    by: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scope:
    """Within which of a row's values its lead is looked up: `fields`, by the value of `by`; empty means `default`."""

    by: str
    default: str
    fields: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """An operation that is ours, made of the vendor's: a search; where it finds nobody the insert, else the update."""

    search: Operation
    insert: Operation
    update: Operation
    asked: Mapping[str, str]  # what the search is asked besides, so that it shows the leads it finds
    scope: Scope
    lead_id: tuple[str, str]  # (what the update calls a lead's id, what a search calls it)
    insert_only: frozenset[str]  # fields that an update does not send: they say what is to be done, or move the lead


@dataclass(frozen=True, kw_only=True, eq=False)  # one object each: compared and hashed as such
class Operation:
    """One call of a vendor's API: what goes out, what it does, and how its reply is read."""

    name: str
    vendor: Vendor
    path: str
    fields: tuple[Field, ...]
    effect: Effect
    settle: Settle
    ledger: LedgerRule
    replies: tuple[ReplyRule, ...]
    doc: str
    source: str  # where in the vendor's document
    endpoint_grade: Grade
    fixed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    rules: tuple[Rule, ...] = ()
    custom: Custom | None = None  # set where lead fields beyond `fields` are accepted
    json_search: bool = False  # a JSON reply is a search result
    xml_reply: XmlReply | None = None  # set where a reply may be XML
    dialing: Mapping[str, Dialing] = field(default_factory=lambda: MappingProxyType({}))
    # A field may be sent empty, on the word of the mapping. The vendor's document does not say that an empty value
    # clears what is stored (grade ?), so none is ever sent by itself.
    clears: bool = False
    frees_people: bool = False  # takes a do-not-call mark away
    protects_people: bool = False  # sets a do-not-call mark: no list of people who must not be called holds it back
    in_key: tuple[str, ...] = ()  # fields that tell calls to one phone or identifier apart: part of their row key
    lookup: Operation | None = None  # the search that tells whether a call has arrived
    timeout_seconds: float | None = None  # None: the run's own
    waits: Waits | None = None  # set where each call says how long it may take
    phone: str | None = None  # the field whose phone is affected
    place: tuple[str, str] | None = None  # the fields with the ZIP and the state of whoever has that phone
    also_contacts: tuple[str, ...] = ()  # fields whose phones may be reached besides, one or joined by |
    stores_again: tuple[str, str] | None = None  # (field, value): with it, a lead that is there is stored once more
    client_id: str | None = None  # the field by which a call can be found again
    # A row without a client_id carries its key there, for a person to find the call by: no search settles a doubt.
    carries_key: bool = False
    identifier: tuple[str, str] | None = None  # (field naming what is searched, field with the value)
    identity: Identity | None = None  # set instead, where the value is that of another field of the row
    not_in_key: frozenset[str] = frozenset()  # fields that one lead's rows may differ in: empty in their row key
    composed: Composed | None = None
    duplicates_by: str | None = None  # "phone" or "identifier"; None: repeats in a file are meant

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """Documented fields by name."""
        return {f.name: f for f in self.fields}

    def wire_name(self, name: str) -> str:
        """`name` as it is sent: custom fields get their spaces replaced; both spellings name one field."""
        if self.custom and name.startswith(self.custom.prefix):
            return name.replace(" ", self.custom.space)
        return name

    def is_phone(self, name: str) -> bool:
        """Whether a field holds a phone: as declared, and where it is not declared, by its name."""
        known = self.by_name.get(name)
        return known.cleaner == "us_phone" if known else name.endswith("Phone")

    def may_clear(self, name: str) -> bool:
        """Whether `name` may be sent empty.

        Not what is required, what policy sets, what the lead is found by, or what an update does not send.
        """
        known = self.by_name.get(name)
        needed = known is not None and (known.required or known.from_policy)
        found_by = {*(self.identifier or ()), *([self.client_id] if self.settle is Settle.SEARCH else [])}
        lost = self.composed is not None and name in self.composed.insert_only
        return self.clears and not needed and not lost and name not in found_by

    def contacts(self, dialing: str) -> bool:
        """Whether a call or a text may follow under this `[policy] dialing`."""
        if self.dialing:
            return self.dialing[dialing].contacts
        return self.effect is Effect.CONTACT
