"""What each operation does to the account, and what it answers. It knows nothing of HTTP.

"Inserting Lead", "Updating Lead" and "Lead Operations" of the vendor's document; where that is silent,
`texts.ASSUMED_BEHAVIOUR` says what is done here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any

from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.php import Form
from pipeline.sandbox.state import Dial, Lead, Store
from schemas.dialedin import CALLBACK_FIELDS, INSERT_LEAD, LEAD_FIELDS

INSERT, UPDATE = "InsertLead", "UpdateLead"
SEARCH, INSERT_DNC, DELETE_DNC = (f"LeadOperations.{action}" for action in ("SearchLead", "InsertDnc", "DeleteDnc"))

_COLUMNS = ("PrimaryPhone", "Campaign", "Subcampaign", *(f.name for f in LEAD_FIELDS))
_CALLBACK = tuple(f.name for f in CALLBACK_FIELDS)
_LENGTHS = {f.name: f.max_length for f in INSERT_LEAD.fields if f.max_length is not None}
_SEARCH_FIELDS = ("ClientId", "LeadId", "Phone")
_NOT_LEAD_DATA = ("token", "accid", "SearchField", "Identifier")

# ASP.NET's request validation refuses "&#" and "<" before a letter, "!", "/" or "?". (grade C: that it is on)
_MARKUP = re.compile(r"<[a-zA-Z!/?]|&#")

# Scope of the lookup → (campaign, subcampaign) to look in, None for any. "1 - allow duplicates".
_Scope = Callable[[Lead], tuple[str | None, str | None]]
_SCOPES: Mapping[str, _Scope] = MappingProxyType(
    {
        "0": lambda lead: (lead.campaign, None),
        "2": lambda _: (None, None),
        "3": lambda lead: (lead.campaign, lead.subcampaign),
    }
)


@dataclass(frozen=True)
class Dialer:
    """The account behind the gateway: what the operations work on."""

    config: SandboxConfig
    store: Store
    texts: Mapping[str, str]

    def answer(self, operation: str, form: Form, now: datetime) -> str:
        """The body of the reply, after the operation has been applied."""
        refusal = self._credentials_refusal(form)
        if refusal:
            return self.texts[refusal]
        if operation not in _OPERATIONS:
            return self.texts["bad_action"]
        return _OPERATIONS[operation](self, form, now)

    def _credentials_refusal(self, form: Form) -> str:
        if not form.get("accid"):
            return "missing_accid"
        if form["accid"] != self.config.accid:
            return "bad_accid"
        return "" if form.get("token") == self.config.token else "bad_token"

    @cached_property
    def lengths(self) -> Mapping[str, int]:
        """Field → the length of its column."""
        return _LENGTHS | dict(self.config.lengths)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The lead columns that can be written."""
        return (*_COLUMNS, *self.config.extra_columns)

    def has_campaign(self, name: str) -> bool:
        """Whether leads can be put into this campaign."""
        return self.config.any_campaign or name in self.config.campaigns

    def custom_fields(self, form: Form, campaign: str) -> dict[str, str]:
        """The values of the campaign's custom fields; names that it doesn't have are dropped.

        "Custom field should have prefix adv_", "spaces in the field names … replaced with double underscore".
        """
        given = {
            name.removeprefix("adv_").replace("__", " "): self.storable(value)
            for name, value in form.items()
            if name.startswith("adv_")
        }
        known = self.config.custom_fields.get(campaign)
        return given if known is None else {name: given[name] for name in known if name in given}

    def lead_fields(self, form: Form) -> dict[str, str]:
        """The values of lead columns as they are stored, cut to length; other names are dropped."""
        names = (name for name in self.columns if name in form)
        return {name: self.storable(form[name])[: self.lengths.get(name)] for name in names}

    def storable(self, value: str) -> str:
        """`value` in the character set of its column."""
        return value.encode("cp1252", "replace").decode("cp1252") if self.config.latin_only else value

    def value_refusal(self, form: Form) -> str:
        """The name of the text that refuses one of the values, "" where all are fine."""
        if self.config.refuse_html and any(_MARKUP.search(value) for value in form.values()):
            return "html_refused"
        if self.config.overlong == "error" and self._has_overlong(form):
            return "overlong"
        return ""

    def _has_overlong(self, form: Form) -> bool:
        return any(len(form.get(name, "")) > length for name, length in self.lengths.items())


def _insert(dialer: Dialer, form: Form, now: datetime) -> str:
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


def _update(dialer: Dialer, form: Form, now: datetime) -> str:
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


def _search(dialer: Dialer, form: Form, _: datetime) -> str:
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


def _insert_dnc(dialer: Dialer, form: Form, now: datetime) -> str:
    """ "Add DNC number and scrub it for all existing leads"."""
    number = form.get("Number", "")
    if not _is_number(number):
        return dialer.texts["bad_number"]
    dialer.store.add_do_not_call(number)
    for lead in dialer.store.find("Phone", number):
        fields = {**lead.fields, "CallStatus": "DNC"}
        dialer.store.replace_lead(replace(lead, fields=fields, dnc=True, updated_at=now.isoformat()))
    return dialer.texts["dnc_inserted"]


def _delete_dnc(dialer: Dialer, form: Form, _: datetime) -> str:
    """ "Existing leads marked as DNC won't be affected"."""
    number = form.get("Number", "")
    if not _is_number(number):
        return dialer.texts["bad_number"]
    dialer.store.delete_do_not_call(number)
    return dialer.texts["dnc_deleted"]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{10}", text) is not None


_OPERATIONS: Mapping[str, Callable[[Dialer, Form, datetime], str]] = MappingProxyType(
    {INSERT: _insert, UPDATE: _update, SEARCH: _search, INSERT_DNC: _insert_dnc, DELETE_DNC: _delete_dnc}
)
