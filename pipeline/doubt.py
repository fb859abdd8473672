"""Rows in doubt: how long they rest, what a search says of them, and what follows. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pipeline import retries
from pipeline.model import Judgement, Payload
from pipeline.retries import Action, Case, Follows
from schemas.spec import Operation, Verdict

LOOKS = 2  # a lead that is not found is looked for once more, one settle later
ANSWERED_SECONDS = 1.0  # how long a row rests where the vendor has answered, and is no longer at work on it
AT_WORK_STATUSES = (502, 504)  # a proxy gave up; what is behind it may not have


class Sighting(StrEnum):
    """What one search says of one row."""

    OURS = "ours"  # a lead with its ClientId and its phone
    THERE = "there"  # a lead that it is about, and that may have been there before it
    NOBODY = "nobody"
    UNCLEAR = "unclear"  # no answer, or a lead that may not be ours


def default_settle_seconds(timeout_seconds: float) -> float:
    """How long a row in doubt rests, where `--settle` does not say."""
    return max(60.0, 2 * timeout_seconds)


def rest_seconds(doubt: Judgement, settle_seconds: float) -> float:
    """How long to wait from the last byte until a search can tell: the vendor may still be at work."""
    no_reply = doubt.http_status is None
    at_work = no_reply or doubt.http_status in AT_WORK_STATUSES or doubt.still_at_work
    return settle_seconds if at_work else min(ANSWERED_SECONDS, settle_seconds)


def sent_fields(payload: Payload) -> dict[str, str]:
    """The parameters in a payload's form, by name."""
    return dict(parse_qsl(payload.body.decode(), keep_blank_values=True))


def search_form(search: Operation, payload: Payload) -> bytes:
    """The body of the search for a payload's lead: by ClientId, in its campaign, with all details."""
    sent = sent_fields(payload)
    restricted = {name: sent[name] for name in ("Campaign", "Subcampaign") if name in sent}
    asked = {"SearchField": "ClientId", "Identifier": payload.client_id, "Detailed": "1"}
    return urlencode(dict(search.fixed) | asked | restricted).encode()


def sighting(answer: Judgement, payload: Payload) -> Sighting:
    """What the answer to `search_form` says. A lead counts only if its ClientId and its phone are the row's."""
    if answer.verdict is not Verdict.ACCEPTED:
        return Sighting.UNCLEAR
    if answer.code == "not_found":
        return Sighting.NOBODY
    # Where none is ours, someone else has our ClientId, or the answer has no details.
    return Sighting.OURS if our_leads(answer, payload) else Sighting.UNCLEAR


def our_leads(answer: Judgement, payload: Payload) -> list[dict[str, Any]]:
    """The leads in the answer that have the row's ClientId and its phone."""
    return [lead for lead in leads_in(answer) if _is_ours(lead, payload)]


def leads_in(answer: Judgement) -> list[Any]:
    """The leads in the answer; none where it has no details. Numbers are texts, as they came."""
    found = json.loads(answer.result, parse_int=str, parse_float=str) if answer.result else {}
    leads = found.get("Leads") if isinstance(found, dict) else None
    return leads if isinstance(leads, list) else []


def _is_ours(lead: Any, payload: Payload) -> bool:
    if not isinstance(lead, dict):
        return False
    return str(lead.get("ClientId")) == payload.client_id and str(lead.get("PrimaryPhone")) == payload.phone


_CASE_OF = {
    Sighting.OURS: Case.FOUND,
    Sighting.THERE: Case.THERE,
    Sighting.UNCLEAR: Case.SEARCH_UNCLEAR,
}


def next_step(doubt: Judgement, looks: Sequence[Sighting], follows: Follows) -> Action:
    """What follows from the looks so far, the last of them new; `LOOK_UP` means once more."""
    if looks[-1] is not Sighting.NOBODY:
        return follows[_CASE_OF[looks[-1]]]
    return Action.LOOK_UP if len(looks) < LOOKS else follows[retries.not_found(doubt)]
