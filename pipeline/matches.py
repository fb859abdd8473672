"""A composed operation's forms, and which leads its search has found. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from pipeline.doubt import leads_in, sent_fields
from pipeline.model import Judgement, Payload
from schemas.spec import Composed, Identity, Operation, Verdict

Lead = Mapping[str, Any]


def _parts(operation: Operation) -> tuple[Composed, Identity]:
    assert operation.composed is not None
    assert operation.identity is not None
    return operation.composed, operation.identity


def search_form(operation: Operation, payload: Payload) -> bytes:
    """The body of the search for a row's lead: by its own ClientId or phone, within its scope."""
    parts, identity = _parts(operation)
    sent = sent_fields(payload)
    by = sent[identity.by]
    asked = dict(zip(parts.search.identifier or (), (by, sent[identity.fields[by]]), strict=True))
    within = parts.scope.fields[sent.get(parts.scope.by) or parts.scope.default]
    restricted = {name: sent[name] for name in within if name in sent}
    return urlencode({**parts.search.fixed, **asked, **parts.asked, **restricted}).encode()


def insert_form(operation: Operation, payload: Payload) -> bytes:
    """The body of the insert: all that the row has, and nothing that is empty."""
    parts, identity = _parts(operation)
    fields = {name: value for name, value in sent_fields(payload).items() if value and name != identity.by}
    return urlencode({**parts.insert.fixed, **fields}).encode()


def update_form(operation: Operation, payload: Payload, lead_id: str) -> bytes:
    """The body of the update of the lead with this id; fields that the row clears are in it, empty."""
    parts, _ = _parts(operation)
    named = dict(zip(parts.update.identifier or (), (parts.lead_id[0], lead_id), strict=True))
    return urlencode({**parts.update.fixed, **named, **update_fields(operation, payload)}).encode()


def update_fields(operation: Operation, payload: Payload) -> dict[str, str]:
    """What an update says of the lead, by the name that is sent: without what the lead was found by.

    A row key that stands in for a ClientId is for finding an insert again: the lead that is there keeps its own.
    """
    parts, identity = _parts(operation)
    sent = sent_fields(payload)
    left_out = {*parts.insert_only, *operation.fixed, identity.by, identity.fields[sent[identity.by]]}
    if payload.client_id == payload.row_key:
        left_out.add(operation.client_id or "")
    return {name: value for name, value in sent.items() if name not in left_out}


def found(operation: Operation, payload: Payload, answer: Judgement) -> dict[str, Lead] | None:
    """The leads in the answer to `search_form`, by id; none where nobody is there, None where it is no clear answer.

    It is clear where every lead has an id, and shows the value by which it was searched: an update by id changes
    whomever the id names.
    """
    if answer.verdict is not Verdict.ACCEPTED:
        return None
    if answer.code == "not_found":
        return {}
    parts, identity = _parts(operation)
    sent = sent_fields(payload)
    own = identity.fields[sent[identity.by]]
    same = alike(operation, own)
    leads: dict[str, Lead] = {}
    for lead in leads_in(answer):
        if not (isinstance(lead, dict) and _text(lead, parts.lead_id[1])):
            return None
        if same(_text(lead, own)) != same(sent[own]):
            return None
        leads[_text(lead, parts.lead_id[1])] = lead
    return leads or None


def _text(lead: Lead, column: str) -> str:
    value = lead.get(column)
    return value if isinstance(value, str) else ""


def alike(operation: Operation, name: str) -> Callable[[str], str]:
    """What of a field's value counts where values are compared."""
    return _digits if operation.is_phone(name) else _plain


def _plain(text: str) -> str:
    """`text` without what is no difference: blanks around it, and how lines end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _digits(phone: str) -> str:
    """A phone's digits without the country's 1; what has no digits is no phone and stays as it is."""
    digits = re.sub(r"\D", "", phone)
    return digits.removeprefix("1") if len(digits) == 11 else digits or _plain(phone)
