"""Agents' dial lists: "Agent Dial List Operations" of the document.

Names are unique, duplicated numbers are suppressed, and a mark on a number changes nothing of leads or calls.
"""

from __future__ import annotations

from datetime import datetime

from pipeline.sandbox.dialer import Dialer
from pipeline.sandbox.php import Form
from pipeline.sandbox.required import needs


@needs("Agent", "List")
def create_list(dialer: Dialer, form: Form, _: datetime) -> str:
    """ "Name should be unique for selected Agent"."""
    made = dialer.store.office.create_list(form["Agent"], form["List"])
    return dialer.texts["done" if made else "list_not_unique"]


@needs("Agent", "List")
def delete_list(dialer: Dialer, form: Form, _: datetime) -> str:
    """The list goes, with its numbers."""
    gone = dialer.store.office.delete_list(form["Agent"], form["List"])
    return dialer.texts["done" if gone else "list_not_found"]


@needs("Agent", "List", "Phone")
def add_phone(dialer: Dialer, form: Form, _: datetime) -> str:
    """ "Duplicated Phone Numbers are being suppressed in Agent Dial List"."""
    if not form["Phone"].isdecimal():
        return dialer.told("bad_phone", name="Phone")
    list_id = _list(dialer, form)
    if list_id is None:
        return dialer.texts["list_not_found"]
    added = dialer.store.office.add_phone(list_id, form["Phone"])
    return dialer.texts["done" if added else "phone_on_list"]


@needs("Agent", "List", "Phone")
def delete_phone(dialer: Dialer, form: Form, _: datetime) -> str:
    """The number goes off the list."""
    list_id = _list(dialer, form)
    if list_id is None:
        return dialer.texts["list_not_found"]
    gone = dialer.store.office.delete_phone(list_id, form["Phone"])
    return dialer.texts["done" if gone else "phone_not_on_list"]


@needs("Agent", "List", "Phone")
def phone_dialed(dialer: Dialer, form: Form, _: datetime) -> str:
    """The number has the mark "dialed"."""
    return _marked(dialer, form, "dialed")


@needs("Agent", "List", "Phone")
def phone_undialed(dialer: Dialer, form: Form, _: datetime) -> str:
    """The number has the mark "skipped": "UnDialed (skipped)"."""
    return _marked(dialer, form, "skipped")


def _marked(dialer: Dialer, form: Form, mark: str) -> str:
    list_id = _list(dialer, form)
    if list_id is None:
        return dialer.texts["list_not_found"]
    known = dialer.store.office.mark_phone(list_id, form["Phone"], mark)
    return dialer.texts["done" if known else "phone_not_on_list"]


def _list(dialer: Dialer, form: Form) -> int | None:
    return dialer.store.office.list_id(form["Agent"], form["List"])
