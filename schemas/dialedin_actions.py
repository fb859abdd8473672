"""DialedIn's operations that are called by an `Action`: do-not-call, texts, calls, dial lists, playlists, skills.

Source: "DialedIn API Integration" (the vendor's help article; grade A). Their endpoints are named as those that are
known are (grade C). No public sample of their replies exists: they are expected to be as those of an insert (grade ?).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from schemas.dialedin import DIALEDIN, DIALER, DIALER_ERROR, FLAG, RESULT_REPLIES
from schemas.spec import Effect, Field, Grade, LedgerRule, Operation, ReplyRule, Settle, Verdict

_SOURCE = "DialedIn API Integration, "


def _refusal(words: str, verdict: Verdict, code: str) -> ReplyRule:
    """What the dialer says in these words: they are guessed, and count only on one line without markup."""
    return ReplyRule(DIALER + f".*({words})", verdict, code, Grade.UNKNOWN, one_line=True)


_NOT_FOUND = _refusal(r"\bnot found\b|\bnot exist|\bno such\b", Verdict.REJECTED, "not_found")


def _replies(*known: ReplyRule, first: Sequence[ReplyRule] = ()) -> tuple[ReplyRule, ...]:
    """An insert's replies, of which nobody has seen whether they hold here; `known` are words besides.

    `first` comes before them, where their words would mean something else.
    """
    at = RESULT_REPLIES.index(DIALER_ERROR)
    rules = (*RESULT_REPLIES[:at], *known, *RESULT_REPLIES[at:])
    return (*first, *(replace(rule, grade=Grade.UNKNOWN) for rule in rules))


# None of these fields is a lead's: they say what is to be done.
_field = partial(Field, stored=False)
_NUMBER = _field(name="Number", required=True, cleaner="us_phone", doc="10 digits")

_LEADS = partial(Operation, vendor=DIALEDIN, path="LeadOperations.php", endpoint_grade=Grade.B)
_TEXTS = partial(Operation, vendor=DIALEDIN, path="TextOperations.php", endpoint_grade=Grade.C)
_CALLS = partial(Operation, vendor=DIALEDIN, path="CallOperations.php", endpoint_grade=Grade.C)
_LISTS = partial(Operation, vendor=DIALEDIN, path="AgentDialListOperations.php", endpoint_grade=Grade.C)
_PLAYLISTS = partial(Operation, vendor=DIALEDIN, path="PlaylistOperations.php", endpoint_grade=Grade.C)
_SKILLS = partial(Operation, vendor=DIALEDIN, path="SkillListOperations.php", endpoint_grade=Grade.C)


def _action(name: str) -> MappingProxyType[str, str]:
    return MappingProxyType({"Action": name})


INSERT_DNC = _LEADS(
    name="LeadOperations.InsertDnc",
    source=_SOURCE + "Lead Operations, InsertDnc",
    doc="Puts a number on the account's do-not-call list, and marks the leads that have it.",
    fixed=_action("InsertDnc"),
    fields=(_NUMBER,),
    effect=Effect.WRITE,
    protects_people=True,
    # A number that is put on the list twice is on the list.
    settle=Settle.REPEAT,
    ledger=LedgerRule.NONE,
    # "Already on the DNC list" would else be read as a refusal to touch a do-not-call number.
    replies=_replies(first=(_refusal(r"\balready\b", Verdict.DUPLICATE, "already_there"),)),
    phone="Number",
    duplicates_by="phone",
)

DELETE_DNC = _LEADS(
    name="LeadOperations.DeleteDnc",
    source=_SOURCE + "Lead Operations, DeleteDnc",
    doc="Takes a number off the do-not-call list: it may be called again. Leads that were marked stay marked.",
    fixed=_action("DeleteDnc"),
    fields=(_NUMBER,),
    effect=Effect.WRITE,
    frees_people=True,
    # A number that is taken off twice is off. Going on with an old run, where someone may have asked anew not to
    # be called, is refused as for any run that lets people be called.
    settle=Settle.REPEAT,
    ledger=LedgerRule.NONE,
    # "Not on the DNC list" would else be read as a refusal to touch a do-not-call number.
    replies=_replies(_NOT_FOUND, first=(_refusal(r"\bnot (found )?(in|on)\b", Verdict.REJECTED, "not_found"),)),
    phone="Number",
    duplicates_by="phone",
)

# --- texts and calls

# "It is not recommended to use spaces in Agent Login Name or Agent Dial List Name for API calls."
_AGENT = _field(
    name="Agent", required=True, is_name=True, warn_spaces=True, doc="agent login name, case-sensitive, without spaces"
)

SEND_SMS = _TEXTS(
    name="TextOperations.SendSms",
    source=_SOURCE + "Text Operations, SendSms",
    doc="Sends a text message. It can't be taken back.",
    fixed=_action("SendSms"),
    fields=(
        # No phone that is called: it may be toll-free, which `us_phone` refuses.
        _field(name="From", required=True, is_name=True, pattern="[0-9]{10}", doc="10 digits, a number of the account"),
        # The document says "destination number" alone: ten digits are taken, as for leads (grade C).
        _field(name="To", required=True, cleaner="us_phone", grade=Grade.C, doc="10 digits, who gets the text"),
        _field(name="Message", required=True, doc="no length is documented"),
        replace(_AGENT, required=False),
        _field(name="LeadId", is_name=True, cleaner="identifier", doc="the lead that the text is filed under"),
    ),
    effect=Effect.CONTACT,
    # A second text annoys a person, and no search tells whether the first went out.
    settle=Settle.NEVER,
    ledger=LedgerRule.BY_KEY,
    # The same words go to a person once, whichever file they stand in; other words are another text.
    in_key=("Message",),
    replies=_replies(_NOT_FOUND),
    phone="To",
    # Two texts to one person within a file are taken for a slip, unless the policy keeps both.
    duplicates_by="phone",
)

AVAILABLE_INBOUND_AGENTS = _CALLS(
    name="CallOperations.AvailableInboundAgents",
    source=_SOURCE + "Call Operations, AvailableInboundAgents",
    doc="Asks how many agents could take a call to a ring group now. Changes nothing.",
    fixed=_action("AvailableInboundAgents"),
    fields=(
        _field(name="DID", required=True, is_name=True, doc="ring group number"),
        _field(name="CallId", is_name=True, doc="the caller, by whom the lead is looked up"),
        # "default=0 -- ignore" can be read two ways. Taken here: 0 leaves such agents out of the count (grade C).
        _field(name="CanBeOnCall", choices=FLAG, cleaner="flag", grade=Grade.C, doc="1: agents on a call count too"),
        _field(name="CanBeOnBreak", choices=FLAG, cleaner="flag", grade=Grade.C, doc="1: agents on a break count too"),
        _field(name="CanDoWrapUp", choices=FLAG, cleaner="flag", grade=Grade.C, doc="1: agents in wrap-up count too"),
    ),
    effect=Effect.READ,
    settle=Settle.REPEAT,  # it only asks
    ledger=LedgerRule.NONE,
    replies=_replies(
        _NOT_FOUND,
        first=(
            # The document does not say how it answers. A number is taken for theirs; an OK tells none.
            ReplyRule(r"Result: ([1-9][0-9]*)$", Verdict.ACCEPTED, "available", Grade.UNKNOWN, True, tells=True),
            ReplyRule(r"Result: (0)$", Verdict.ACCEPTED, "none_available", Grade.UNKNOWN, True, tells=True),
            ReplyRule(r"Result: OK$", Verdict.IN_DOUBT, "unreadable_reply", Grade.UNKNOWN),
        ),
    ),
)

CONFERENCE_CALL = _CALLS(
    name="CallOperations.ConferenceCall",
    source=_SOURCE + "Call Operations, ConferenceCall",
    doc="Calls a number and joins it to the conversation that an agent has now.",
    fixed=_action("ConferenceCall"),
    fields=(
        _AGENT,
        # "Conference number" alone: as `To` of a text.
        _field(name="Phone", required=True, cleaner="us_phone", grade=Grade.C, doc="10 digits, who is called"),
        _field(
            name="PrivateConference",
            choices=FLAG,
            cleaner="flag",
            doc="1: the customer is muted; 0, the default: is not",
        ),
    ),
    effect=Effect.CONTACT,
    # A phone would ring once more, and nothing tells whether it has rung.
    settle=Settle.NEVER,
    ledger=LedgerRule.NONE,
    replies=_replies(
        _NOT_FOUND, _refusal(r"\bno (active )?(call|conversation)\b", Verdict.REJECTED, "no_conversation")
    ),
    # One number may join several conversations: repeats in a file are meant.
    phone="Phone",
)

# --- agents' dial lists

# The heading lists Phone as required for all of them; the list under each action is right (grade C).
_LIST = _field(name="List", required=True, is_name=True, warn_spaces=True, doc="dial list name, unique, without spaces")
_LISTED_PHONE = _field(
    name="Phone", required=True, cleaner="us_phone", doc="10 digits, as the dial list shows it without prefix"
)

# The document's rule 2: "Agent Dial List Name should be unique … Error will be returned otherwise."
_NOT_UNIQUE = _refusal(r"\bunique\b", Verdict.REJECTED, "name_not_unique")

CREATE_LIST = _LISTS(
    name="AgentDialListOperations.CreateList",
    source=_SOURCE + "Agent Dial List Operations, CreateList",
    doc="Makes a dial list for an agent.",
    fixed=_action("CreateList"),
    fields=(_AGENT, _LIST),
    effect=Effect.WRITE,
    # "Name should be unique": a second one is refused, and changes nothing.
    settle=Settle.REPEAT,
    ledger=LedgerRule.NONE,
    replies=_replies(_refusal(r"\bunique\b|\bexists\b", Verdict.DUPLICATE, "list_exists"), _NOT_FOUND),
    identifier=("Agent", "List"),
    duplicates_by="identifier",
)

DELETE_LIST = _LISTS(
    name="AgentDialListOperations.DeleteList",
    source=_SOURCE + "Agent Dial List Operations, DeleteList",
    doc="Removes a dial list of an agent, with the numbers on it.",
    fixed=_action("DeleteList"),
    fields=(_AGENT, _LIST),
    effect=Effect.WRITE,
    settle=Settle.REPEAT,  # a list that is gone is refused
    ledger=LedgerRule.NONE,
    replies=_replies(_NOT_UNIQUE, _NOT_FOUND),
    identifier=("Agent", "List"),
    duplicates_by="identifier",
)

# A number may stand on several lists: repeats in a file are meant.
_of_a_phone = partial(
    _LISTS,
    fields=(_AGENT, _LIST, _LISTED_PHONE),
    effect=Effect.WRITE,
    ledger=LedgerRule.NONE,
    replies=_replies(_NOT_UNIQUE, _NOT_FOUND),
    phone="Phone",
)

ADD_PHONE = _of_a_phone(
    name="AgentDialListOperations.AddPhone",
    source=_SOURCE + "Agent Dial List Operations, AddPhone",
    doc="Adds a number to a dial list of an agent. What is on the list already is not added again.",
    fixed=_action("AddPhone"),
    settle=Settle.REPEAT,  # "Duplicated Phone Numbers are being suppressed in Agent Dial List"
)

DELETE_PHONE = _of_a_phone(
    name="AgentDialListOperations.DeletePhone",
    source=_SOURCE + "Agent Dial List Operations, DeletePhone",
    doc="Takes a number off a dial list of an agent.",
    fixed=_action("DeletePhone"),
    settle=Settle.REPEAT,  # a number that is gone is refused
)

PHONE_DIALED = _of_a_phone(
    name="AgentDialListOperations.PhoneDialed",
    source=_SOURCE + "Agent Dial List Operations, PhoneDialed",
    doc="Marks a number of a dial list as dialed. Leads and call history stay as they are.",
    fixed=_action("PhoneDialed"),
    settle=Settle.REPEAT,  # a mark that is set twice is set
)

PHONE_UNDIALED = _of_a_phone(
    name="AgentDialListOperations.PhoneUnDialed",
    source=_SOURCE + "Agent Dial List Operations, PhoneUnDialed",
    doc="Marks a number of a dial list as not dialed (skipped). Leads and call history stay as they are.",
    fixed=_action("PhoneUnDialed"),
    settle=Settle.REPEAT,  # a mark that is taken away twice is away
)

# --- playlists

# The heading lists Filter as required for all of them; the list under each action is right (grade C): Reload has none.
_PLAYLIST = _field(name="Playlist", required=True, is_name=True, doc="playlist name")
_FILTER = _field(name="Filter", required=True, is_name=True, doc="name of a filter of the playlist")

_of_a_filter = partial(
    _PLAYLISTS,
    fields=(_PLAYLIST, _FILTER),
    effect=Effect.WRITE,
    # Each sets a state, active or not, assigned or not: set twice, it is the same.
    settle=Settle.REPEAT,
    ledger=LedgerRule.NONE,
    replies=_replies(_NOT_FOUND),
    identifier=("Playlist", "Filter"),
    duplicates_by="identifier",
)

ENABLE_FILTER = _of_a_filter(
    name="PlaylistOperations.EnableFilter",
    source=_SOURCE + "Playlist Operations, EnableFilter",
    doc="Makes a filter of a playlist active. It counts from the next Reload on.",
    fixed=_action("EnableFilter"),
)

DISABLE_FILTER = _of_a_filter(
    name="PlaylistOperations.DisableFilter",
    source=_SOURCE + "Playlist Operations, DisableFilter",
    doc="Makes a filter of a playlist inactive. It counts until the next Reload.",
    fixed=_action("DisableFilter"),
)

ASSIGN_FILTER = _of_a_filter(
    name="PlaylistOperations.AssignFilter",
    source=_SOURCE + "Playlist Operations, AssignFilter",
    doc="Assigns a filter to a playlist.",
    fixed=_action("AssignFilter"),
)

REMOVE_FILTER = _of_a_filter(
    name="PlaylistOperations.RemoveFilter",
    source=_SOURCE + "Playlist Operations, RemoveFilter",
    doc="Takes a filter away from a playlist.",
    fixed=_action("RemoveFilter"),
)

RELOAD_PLAYLIST = _PLAYLISTS(
    name="PlaylistOperations.Reload",
    source=_SOURCE + "Playlist Operations, Reload",
    doc="Applies a playlist's changes and reloads the leads of its campaigns.",
    fixed=_action("Reload"),
    fields=(_PLAYLIST,),
    effect=Effect.WRITE,
    settle=Settle.REPEAT,  # what is reloaded twice is loaded
    ledger=LedgerRule.NONE,
    replies=_replies(_NOT_FOUND),
)

# --- skills

# The heading lists Skill and Source as required for both; the list under each action is right (grade C): Reload has
# no parameters at all.
UPDATE_PRIORITY = _SKILLS(
    name="SkillListOperations.UpdatePriority",
    source=_SOURCE + "Skill List Operations, UpdatePriority",
    doc="Sets a skill's priority, delay and status for a DID source. Where there is none yet, one is added.",
    fixed=_action("UpdatePriority"),
    fields=(
        _field(name="Skill", required=True, is_name=True, doc="skill name"),
        _field(name="Source", required=True, is_name=True, doc="DID source"),
        _field(name="Priority", is_name=True, doc="left as it is where empty"),
        # "In seconds": that they are whole is inferred.
        _field(
            name="Delay",
            pattern="[0-9]+",
            cleaner="whole_number",
            grade=Grade.C,
            doc="whole seconds; left as it is where empty",
        ),
        _field(name="Active", choices=FLAG, cleaner="flag", doc="1 active, 0 disabled; left as it is where empty"),
    ),
    effect=Effect.WRITE,
    settle=Settle.REPEAT,  # values that are set twice are set
    ledger=LedgerRule.NONE,
    replies=_replies(_NOT_FOUND),
    identifier=("Skill", "Source"),
    duplicates_by="identifier",
)

RELOAD_SKILLS = _SKILLS(
    name="SkillListOperations.Reload",
    source=_SOURCE + "Skill List Operations, Reload",
    doc="Applies changes of skills and reloads the call queues.",
    fixed=_action("Reload"),
    fields=(),
    effect=Effect.WRITE,
    settle=Settle.REPEAT,  # what is reloaded twice is loaded
    ledger=LedgerRule.NONE,
    replies=_replies(),
)

OPERATIONS = (
    INSERT_DNC,
    DELETE_DNC,
    SEND_SMS,
    AVAILABLE_INBOUND_AGENTS,
    CONFERENCE_CALL,
    CREATE_LIST,
    DELETE_LIST,
    ADD_PHONE,
    DELETE_PHONE,
    PHONE_DIALED,
    PHONE_UNDIALED,
    ENABLE_FILTER,
    DISABLE_FILTER,
    RELOAD_PLAYLIST,
    ASSIGN_FILTER,
    REMOVE_FILTER,
    UPDATE_PRIORITY,
    RELOAD_SKILLS,
)
