"""Playlists with their filters, and skills: "Playlist Operations" and "Skill List Operations" of the document."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from pipeline.sandbox.dialer import Dialer
from pipeline.sandbox.php import Form
from pipeline.sandbox.required import needs

_SET = ("Priority", "Delay", "Active")  # "ignored if not set"


@needs("Playlist", "Filter")
def assign_filter(dialer: Dialer, form: Form, _: datetime) -> str:
    """The filter is the playlist's, inactive until it is enabled; where it is already, it stays as it is."""
    refusal = _refusal(dialer, form)
    if not refusal:
        dialer.store.office.assign_filter(form["Playlist"], form["Filter"])
    return dialer.texts[refusal or "done"]


@needs("Playlist", "Filter")
def remove_filter(dialer: Dialer, form: Form, _: datetime) -> str:
    """The filter is not the playlist's any more."""
    refusal = _refusal(dialer, form)
    if not refusal and not dialer.store.office.remove_filter(form["Playlist"], form["Filter"]):
        refusal = "filter_not_found"
    return dialer.texts[refusal or "done"]


@needs("Playlist", "Filter")
def enable_filter(dialer: Dialer, form: Form, _: datetime) -> str:
    """ "Make filter active"."""
    return _switched(dialer, form, active=True)


@needs("Playlist", "Filter")
def disable_filter(dialer: Dialer, form: Form, _: datetime) -> str:
    """ "Make filter inactive"."""
    return _switched(dialer, form, active=False)


def _switched(dialer: Dialer, form: Form, *, active: bool) -> str:
    refusal = _refusal(dialer, form)
    if not refusal and not dialer.store.office.switch_filter(form["Playlist"], form["Filter"], active=active):
        refusal = "filter_not_found"
    return dialer.texts[refusal or "done"]


@needs("Playlist")
def reload_playlist(dialer: Dialer, form: Form, now: datetime) -> str:
    """ "Apply changes and reload leads in associated campaigns"."""
    refusal = _refusal(dialer, form)
    if not refusal:
        dialer.store.office.apply_filters(form["Playlist"])
        dialer.store.office.add_reload("playlist", form["Playlist"], now.isoformat())
    return dialer.texts[refusal or "done"]


def _refusal(dialer: Dialer, form: Form) -> str:
    if not _is_known(form["Playlist"], dialer.config.playlists):
        return "playlist_not_found"
    return "" if _is_known(form.get("Filter", ""), ("", *dialer.config.filters)) else "filter_not_found"


def _is_known(name: str, names: Collection[str]) -> bool:
    """Where no names are configured, any will do."""
    return not any(names) or name in names


@needs("Skill", "Source")
def update_priority(dialer: Dialer, form: Form, _: datetime) -> str:
    """ "If no priority exists, new one will be added"."""
    if not _is_known(form["Skill"], dialer.config.skills):
        return dialer.texts["skill_not_found"]
    given = {name: form[name] for name in _SET if form.get(name)}
    dialer.store.office.set_priority(form["Skill"], form["Source"], given)
    return dialer.texts["done"]


def reload_skills(dialer: Dialer, _: Form, now: datetime) -> str:
    """ "Apply changes and reload Call Queues"."""
    dialer.store.office.add_reload("skills", "", now.isoformat())
    return dialer.texts["done"]
