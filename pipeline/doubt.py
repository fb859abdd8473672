"""Rows in doubt: how long they rest, what a search says of them, and what follows. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pipeline.model import Judgement, Payload
from schemas.spec import Operation, Verdict

LOOKS = 2  # a lead that is not found is looked for once more, one settle later
ANSWERED_SECONDS = 1.0  # how long a row rests where the vendor has answered, and is no longer at work on it
AT_WORK_STATUSES = (502, 504)  # a proxy gave up; what is behind it may not have


class Sighting(StrEnum):
    """What one search says of one row."""

    OURS = "ours"  # a lead with its ClientId and its phone
    NOBODY = "nobody"
    UNCLEAR = "unclear"  # no answer, or a lead that may not be ours


class Step(StrEnum):
    """What follows."""

    ACCEPT = "accept"
    LOOK_AGAIN = "look_again"
    SEND_AGAIN = "send_again"
    REJECT = "reject"
    DUPLICATE = "duplicate"
    FAIL = "fail"
    GIVE_UP = "give_up"  # it stays in doubt


def default_settle_seconds(timeout_seconds: float) -> float:
    """How long a row in doubt rests, where `--settle` does not say."""
    return max(60.0, 2 * timeout_seconds)


def rest_seconds(doubt: Judgement, settle_seconds: float) -> float:
    """How long to wait from the last byte until a search can tell: the vendor may still be at work."""
    no_reply = doubt.http_status is None
    at_work = no_reply or doubt.http_status in AT_WORK_STATUSES or doubt.still_at_work
    return settle_seconds if at_work else min(ANSWERED_SECONDS, settle_seconds)


def search_form(search: Operation, payload: Payload) -> bytes:
    """The body of the search for a payload's lead: by ClientId, in its campaign, with all details."""
    sent: dict[str, str] = dict(parse_qsl(payload.body.decode()))
    restricted = {name: sent[name] for name in ("Campaign", "Subcampaign") if name in sent}
    asked = {"SearchField": "ClientId", "Identifier": payload.client_id, "Detailed": "1"}
    return urlencode(dict(search.fixed) | asked | restricted).encode()


def sighting(answer: Judgement, payload: Payload) -> Sighting:
    """What the answer to `search_form` says. A lead counts only if its ClientId and its phone are the row's."""
    if answer.verdict is not Verdict.ACCEPTED:
        return Sighting.UNCLEAR
    if answer.code == "not_found":
        return Sighting.NOBODY
    leads = _leads(answer.result)
    if any(_is_ours(lead, payload) for lead in leads):
        return Sighting.OURS
    return Sighting.UNCLEAR  # someone else has our ClientId, or the answer has no details


def _leads(result: str | None) -> list[Any]:
    found = json.loads(result) if result else {}
    leads = found.get("Leads") if isinstance(found, dict) else None
    return leads if isinstance(leads, list) else []


def _is_ours(lead: Any, payload: Payload) -> bool:
    if not isinstance(lead, dict):
        return False
    return str(lead.get("ClientId")) == payload.client_id and str(lead.get("PrimaryPhone")) == payload.phone


def next_step(doubt: Judgement, looks: Sequence[Sighting], *, may_resend: bool, attempts_left: bool) -> Step:
    """What follows from the looks so far, the last of them new.

    A duplicate reply after a doubtful attempt is a duplicate only if the lead is not ours. A dialer that failed
    with words that no rule knows has refused the row if the lead is not there: it is not sent again.
    """
    if looks[-1] is not Sighting.NOBODY:
        return Step.ACCEPT if looks[-1] is Sighting.OURS else Step.GIVE_UP
    if len(looks) < LOOKS:
        return Step.LOOK_AGAIN
    if doubt.verdict is Verdict.DUPLICATE:
        return Step.DUPLICATE
    if doubt.code == "dialer_error":
        return Step.REJECT
    if not may_resend:
        return Step.GIVE_UP
    return Step.SEND_AGAIN if attempts_left else Step.FAIL
