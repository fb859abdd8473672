"""Every reply of the sandbox, as it goes over the wire, and what is assumed about it.

Grade B where several public clients of the API show the bytes. Where the vendor's own code has the words and
it is inferred when they come, or where no public sample exists at all, the text is marked as assumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.model import UserError

_SAMPLED = ("InsertLead", "UpdateLead")  # the operations of which public clients show replies
_NAME = re.compile(r"\\{\w+\\}")  # a name in braces within an escaped text
_GATEWAY = "<br><br>Result: "
_DIALER = _GATEWAY + "CURL error[500]: "


@dataclass(frozen=True, slots=True)
class Text:
    """One reply body; `assumed` says what about it isn't known, "" means nothing."""

    body: str
    assumed: str = ""


_WORDING = "no public sample: wording and shape are assumed"
_PLACING = "the words are the vendor's; when they come is assumed"

# What ASP.NET answers by default to a value that looks like markup. (grade C: whether the dialer does)
_HTML_REFUSED = (
    "<!DOCTYPE html>\r\n<html>\r\n    <head>\r\n        <title>A potentially dangerous Request.Form value was "
    'detected from the client.</title>\r\n    </head>\r\n    <body bgcolor="white">\r\n        <h1>Server '
    "Error in '/' Application.<hr width=100% size=1 color=silver></h1>\r\n    </body>\r\n</html>\r\n"
)

TEXTS: Mapping[str, Text] = MappingProxyType(
    {
        "ok": Text(_GATEWAY + " OK"),  # grade B, two spaces
        "duplicate": Text(_DIALER + "Duplicated phone number. Lead ignored."),  # grade B
        "missing_campaign": Text(_GATEWAY + "Campaign name should be specified", _PLACING),
        "missing_accid": Text(_GATEWAY + "GroupId should be specified", _PLACING),
        "no_data_to_import": Text(_GATEWAY + "No data to import", _PLACING),
        "no_data_to_update": Text(_GATEWAY + "No data to update", _PLACING),
        "bad_token": Text(_DIALER + "Invalid token.", _WORDING),
        "bad_accid": Text(_DIALER + "Invalid accid.", _WORDING),
        "unknown_campaign": Text(_DIALER + "Campaign does not exist.", _WORDING),
        "dnc_number": Text(_DIALER + "Phone number is in the DNC list. Lead ignored.", _WORDING),
        "lead_not_found": Text(_DIALER + "Lead not found.", _WORDING),
        "bad_search_field": Text(_GATEWAY + "SearchField should be ClientId, LeadId or Phone", _WORDING),
        "missing_identifier": Text(_GATEWAY + "Identifier should be specified", _WORDING),
        "bad_action": Text(_GATEWAY + "Action should be specified", _WORDING),
        "missing_parameter": Text(_GATEWAY + "{name} should be specified", _WORDING),
        "bad_phone": Text(_GATEWAY + "{name} should be a 10-digit phone number", _WORDING),
        "done": Text(_GATEWAY + " OK", _WORDING),
        "agents_available": Text(_GATEWAY + " {count}", _WORDING),
        "agent_not_found": Text(_DIALER + "Agent not found.", _WORDING),
        "no_conversation": Text(_DIALER + "Agent has no active call.", _WORDING),
        "list_not_unique": Text(_DIALER + "Agent Dial List Name should be unique.", _WORDING),
        "list_not_found": Text(_DIALER + "Agent Dial List not found.", _WORDING),
        "phone_on_list": Text(_DIALER + "Duplicated phone number. Phone ignored.", _WORDING),
        "phone_not_on_list": Text(_DIALER + "Phone not found in Agent Dial List.", _WORDING),
        "playlist_not_found": Text(_DIALER + "Playlist not found.", _WORDING),
        "filter_not_found": Text(_DIALER + "Filter not found.", _WORDING),
        "skill_not_found": Text(_DIALER + "Skill not found.", _WORDING),
        # SQL Server's own words (grade C: the dialer runs on it).
        "overlong": Text(_DIALER + "String or binary data would be truncated.", _WORDING),
        "html_refused": Text(_DIALER + _HTML_REFUSED, _WORDING),
    }
)

# What the sandbox does where the vendor's document is silent.
ASSUMED_BEHAVIOUR = (
    "token and accid are checked before anything else",
    "campaign names, and all other values, match character by character",
    "a do-not-call number is refused on insert even with ImportOnly=1, unless DialNonCallables=1",
    "a do-not-call number is refused before duplicates are looked for",
    "a DuplicatesCheck other than 0, 1, 2 and 3 counts as 0",
    "with DuplicatesCheck=1 a lead is a duplicate, for AllowDialingDups, where its campaign has the phone",
    "an update by phone changes all leads that match",
    "an empty value in an update clears the field",
    "Campaign and Subcampaign in an update move the lead",
    "an update whose fields are all unknown is answered OK and changes nothing",
    "a search with Detailed=0 that matches several leads answers the first one's id; id 0 means none",
    "with Detailed=1, custom fields are an object named CustomFields",
    "dates are MM/dd/yyyy HH:mm:ss in UTC",
    "InsertDnc sets CallStatus to DNC; DeleteDnc of a number that isn't there is answered OK",
    "id, CallType, Date, LastUpdated, Attempt and WasDialed can't be written",
    "a text or a conference to a do-not-call number goes out, and is counted as damage",
    "AvailableInboundAgents answers a number; every agent is in every ring group; CallId changes nothing",
    "agents in a state whose flag (CanBeOnCall, CanBeOnBreak, CanDoWrapUp) is not 1 are not counted",
    "agents that aren't configured are taken for existing ones with a conversation; others need one for a conference",
    "a dial list's name is unique for its agent; a second one, and a number that is on the list, are refused in words",
    "PhoneUnDialed marks a number as skipped; a new number has the mark new",
    "a filter that is assigned is inactive until it is enabled; a playlist's filters take effect when it is reloaded",
    "a new skill priority is 0, with a delay of 0, and active, where nothing else is given",
    "where no playlists, filters or skills are configured, any name will do",
)


def bodies(overrides: Mapping[str, str]) -> Mapping[str, str]:
    """Reply bodies by name, with `overrides`. An override of a name that doesn't exist is a UserError."""
    unknown = sorted(set(overrides) - set(TEXTS))
    if unknown:
        raise UserError(f"no sandbox text is named {unknown[0]!r}; there are {', '.join(TEXTS)}")
    return MappingProxyType({name: text.body for name, text in TEXTS.items()} | dict(overrides))


def assumed(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Name → body and what is assumed about it, of all `texts` that aren't known from public samples."""
    return {name: {"body": texts[name], "assumed": text.assumed} for name, text in TEXTS.items() if text.assumed}


def is_assumed(operation: str, reply: str, texts: Mapping[str, str]) -> bool:
    """Whether a reply to `operation` is one of the `texts` that aren't known from public samples."""
    if operation in _SAMPLED and reply in {texts[name] for name, text in TEXTS.items() if not text.assumed}:
        return False
    patterns = (_NAME.sub(".*", re.escape(texts[name])) for name, text in TEXTS.items() if text.assumed)
    return any(re.fullmatch(pattern, reply) for pattern in patterns)
