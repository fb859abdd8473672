"""What the operations on leads do to the account, and what they answer. It knows nothing of HTTP.

"Inserting Lead", "Updating Lead" and "Lead Operations" of the vendor's document; where that is silent,
`texts.ASSUMED_BEHAVIOUR` says what is done here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pipeline.sandbox.dialer import Dialer
from pipeline.sandbox.php import Form
from pipeline.sandbox.required import is_ten_digits
from pipeline.sandbox.state import Dial, Lead
from schemas.dialedin import CALLBACK_FIELDS

_CALLBACK = tuple(f.name for f in CALLBACK_FIELDS)
_SEARCH_FIELDS = ("ClientId", "LeadId", "Phone")
_NOT_LEAD_DATA = ("token", "accid", "SearchField", "Identifier")

# Scope of the lookup → (campaign, subcampaign) to look in, None for any. "1 - allow duplicates".
_Scope = Callable[[Lead], tuple[str | None, str | None]]
_SCOPES: Mapping[str, _Scope] = MappingProxyType(
    {
        "0": lambda lead: (lead.campaign, None),
        "2": lambda _: (None, None),
        "3": lambda lead: (lead.campaign, lead.subcampaign),
    }
)


def insert(dialer: Dialer, form: Form, now: datetime) -> str:
    """Stores a lead, and dials it unless it is imported only."""
    refusal = _form_refusal(dialer, form)
    if refusal:
        return dialer.texts[refusal]
    lead = _new_lead(dialer, form, now)
    refusal = _lead_refusal(dialer, form, lead)
    if refusal:
        return dialer.texts[refusal]
    _store_and_dial(dialer, form, lead)
    return dialer.texts["ok"]


def _form_refusal(dialer: Dialer, form: Form) -> str:
    if not form.get("Campaign"):
        return "missing_campaign"
    if not form.get("PrimaryPhone"):
        return "no_data_to_import"
    if not dialer.has_campaign(form["Campaign"]):
        return "unknown_campaign"
    return dialer.value_refusal(form)


def _new_lead(dialer: Dialer, form: Form, now: datetime) -> Lead:
    fields = dialer.lead_fields(form)
    return Lead(
        fields=fields,
        custom=dialer.custom_fields(form, fields["Campaign"]),
        callback=_callback(form),
        dnc=dialer.store.is_do_not_call(fields["PrimaryPhone"]),
        created_at=now.isoformat(),
        updated_at=now.isoformat(),
    )


def _callback(form: Form) -> dict[str, str]:
    return {name: form[name] for name in _CALLBACK if name in form}


def _lead_refusal(dialer: Dialer, form: Form, lead: Lead) -> str:
    if lead.dnc and form.get("DialNonCallables") != "1":
        return "dnc_number"
    check = form.get("DuplicatesCheck")
    if check != "1" and _is_duplicate(dialer, lead, check):
        return "duplicate"
    return ""


def _is_duplicate(dialer: Dialer, lead: Lead, check: str | None) -> bool:
    scope = _SCOPES.get(check or "0", _SCOPES["0"])
    return dialer.store.lead_exists(lead.phone, *scope(lead))


def _store_and_dial(dialer: Dialer, form: Form, lead: Lead) -> None:
    # Only DuplicatesCheck=1 lets a duplicate come this far.
    duplicate = _is_duplicate(dialer, lead, "0") if form.get("DuplicatesCheck") == "1" else False
    dialed = _is_dialed(form, duplicate=duplicate)
    lead_id = dialer.store.add_lead(replace(lead, attempts=int(dialed)))
    if dialed:
        dialer.store.add_dial(
            Dial(
                lead_id=lead_id,
                phone=lead.phone,
                campaign=lead.campaign,
                dialed_at=lead.created_at,
                timezone_checked=form.get("timezone") == "1",
                dnc=lead.dnc,
                duplicate=duplicate,
            )
        )


def _is_dialed(form: Form, *, duplicate: bool) -> bool:
    """ "Any lead inserted … as a Hot Lead", but for ImportOnly; duplicates only with AllowDialingDups."""
    if form.get("ImportOnly") == "1":
        return False
    return not duplicate or form.get("AllowDialingDups") == "1"


def update(dialer: Dialer, form: Form, now: datetime) -> str:
    """Changes the leads that are found. Never creates one, and never dials."""
    refusal = _search_refusal(form) or _update_refusal(dialer, form)
    if refusal:
        return dialer.texts[refusal]
    leads = dialer.store.find(form["SearchField"], form["Identifier"])
    for lead in leads:
        dialer.store.replace_lead(_updated(dialer, lead, form, now))
    return dialer.texts["ok" if leads else "lead_not_found"]


def _search_refusal(form: Form) -> str:
    if form.get("SearchField") not in _SEARCH_FIELDS:
        return "bad_search_field"
    return "" if form.get("Identifier") else "missing_identifier"


def _update_refusal(dialer: Dialer, form: Form) -> str:
    if not form.keys() - set(_NOT_LEAD_DATA):
        return "no_data_to_update"
    if form.get("Campaign") and not dialer.has_campaign(form["Campaign"]):
        return "unknown_campaign"
    return dialer.value_refusal(form)


def _updated(dialer: Dialer, lead: Lead, form: Form, now: datetime) -> Lead:
    fields = {**lead.fields, **dialer.lead_fields(form)}
    return replace(
        lead,
        fields=fields,
        custom={**lead.custom, **dialer.custom_fields(form, fields["Campaign"])},
        callback={**lead.callback, **_callback(form)},
        updated_at=now.isoformat(),
    )


def search(dialer: Dialer, form: Form, _: datetime) -> str:
    """JSON in one of two shapes, by Detailed."""
    refusal = _search_refusal(form)
    if refusal:
        return dialer.texts[refusal]
    found = dialer.store.find(form["SearchField"], form["Identifier"])
    leads = [lead for lead in found if _is_within(lead, form)]
    if form.get("Detailed") == "1":
        return _compact({"Leads": [detailed(lead) for lead in leads]})
    return _compact({"id": leads[0].lead_id if leads else 0, "LeadExists": bool(leads)})


def _is_within(lead: Lead, form: Form) -> bool:
    """ "Name of campaign to restrict lookup (optional, empty = all)", and so for the subcampaign."""
    campaign, subcampaign = form.get("Campaign"), form.get("Subcampaign")
    return (not campaign or campaign == lead.campaign) and (not subcampaign or subcampaign == lead.subcampaign)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def detailed(lead: Lead) -> dict[str, Any]:
    """The lead under the column names of the vendor's own reports (grade A), with its custom fields beneath."""
    return {
        "id": lead.lead_id,
        **dict.fromkeys(_DETAILED_TEXT, ""),
        **lead.fields,
        "Date": _vendor_date(lead.created_at),
        "LastUpdated": _vendor_date(lead.updated_at),
        "Attempt": lead.attempts,
        "WasDialed": lead.attempts > 0,
        "CustomFields": dict(lead.custom),
    }


_DETAILED_TEXT = (
    *("ClientId", "FirstName", "LastName", "FullName", "Address", "City", "State", "ZipCode", "PrimaryPhone"),
    *("SecondaryPhone", "Rep", "CallStatus", "CallType", "Campaign", "Subcampaign", "Notes"),
)


def _vendor_date(iso: str) -> str:
    return datetime.fromisoformat(iso).strftime("%m/%d/%Y %H:%M:%S")


def insert_dnc(dialer: Dialer, form: Form, now: datetime) -> str:
    """ "Add DNC number and scrub it for all existing leads"."""
    number = form.get("Number", "")
    if not is_ten_digits(number):
        return dialer.told("bad_phone", name="Number")
    dialer.store.add_do_not_call(number)
    for lead in dialer.store.find("Phone", number):
        fields = {**lead.fields, "CallStatus": "DNC"}
        dialer.store.replace_lead(replace(lead, fields=fields, dnc=True, updated_at=now.isoformat()))
    return dialer.texts["done"]


def delete_dnc(dialer: Dialer, form: Form, _: datetime) -> str:
    """ "Existing leads marked as DNC won't be affected"."""
    number = form.get("Number", "")
    if not is_ten_digits(number):
        return dialer.told("bad_phone", name="Number")
    dialer.store.delete_do_not_call(number)
    return dialer.texts["done"]
