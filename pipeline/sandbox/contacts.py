"""Texts, conferences, and who is there to take a call: "Text Operations" and "Call Operations" of the document."""

from __future__ import annotations

from datetime import datetime

from pipeline.sandbox.dialer import Dialer
from pipeline.sandbox.php import Form
from pipeline.sandbox.required import is_ten_digits, needs

READY, ON_CALL = "ready", "on_call"
# "Indication if an agent can be considered available while …". "default=0 -- ignore": 0 is read as "is not counted".
_COUNTED_WITH = {ON_CALL: "CanBeOnCall", "on_break": "CanBeOnBreak", "wrap_up": "CanDoWrapUp"}


@needs("From", "To", "Message")
def send_sms(dialer: Dialer, form: Form, now: datetime) -> str:
    """Writes the text into the log. Nothing is sent."""
    for name in ("From", "To"):
        if not is_ten_digits(form[name]):
            return dialer.told("bad_phone", name=name)
    if form.get("Agent") and not dialer.has_agent(form["Agent"]):
        return dialer.texts["agent_not_found"]
    dialer.store.office.add_text(
        {
            "sent_at": now.isoformat(),
            "sender": form["From"],
            "phone": form["To"],
            "message": form["Message"],
            "agent": form.get("Agent", ""),
            "lead_id": form.get("LeadId", ""),
            "dnc": dialer.store.is_do_not_call(form["To"]),
        }
    )
    return dialer.texts["done"]


@needs("DID")
def available_inbound_agents(dialer: Dialer, form: Form, _: datetime) -> str:
    """How many agents could take a call."""
    count = sum(_is_available(state, form) for state in dialer.config.agents.values())
    return dialer.told("agents_available", count=str(count))


def _is_available(state: str, form: Form) -> bool:
    return state == READY or (state in _COUNTED_WITH and form.get(_COUNTED_WITH[state]) == "1")


@needs("Agent", "Phone")
def conference_call(dialer: Dialer, form: Form, now: datetime) -> str:
    """Writes the call into the log. Nobody is called. An agent that isn't configured is taken to be on a call."""
    if not is_ten_digits(form["Phone"]):
        return dialer.told("bad_phone", name="Phone")
    if dialer.config.agents.get(form["Agent"], ON_CALL) != ON_CALL:
        return dialer.texts["no_conversation"]
    dialer.store.office.add_conference(
        {
            "called_at": now.isoformat(),
            "agent": form["Agent"],
            "phone": form["Phone"],
            "muted": form.get("PrivateConference") == "1",
            "dnc": dialer.store.is_do_not_call(form["Phone"]),
        }
    )
    return dialer.texts["done"]
