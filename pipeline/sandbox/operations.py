"""Which operation a request asks for, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

from pipeline.sandbox import contacts, leads, lists, playlists
from pipeline.sandbox.dialer import Dialer
from pipeline.sandbox.php import Form

SEARCH = "LeadOperations.SearchLead"

Apply = Callable[[Dialer, Form, datetime], str]
OPERATIONS: Mapping[str, Apply] = MappingProxyType(
    {
        "InsertLead": leads.insert,
        "UpdateLead": leads.update,
        SEARCH: leads.search,
        "LeadOperations.InsertDnc": leads.insert_dnc,
        "LeadOperations.DeleteDnc": leads.delete_dnc,
        "TextOperations.SendSms": contacts.send_sms,
        "CallOperations.AvailableInboundAgents": contacts.available_inbound_agents,
        "CallOperations.ConferenceCall": contacts.conference_call,
        "AgentDialListOperations.CreateList": lists.create_list,
        "AgentDialListOperations.DeleteList": lists.delete_list,
        "AgentDialListOperations.AddPhone": lists.add_phone,
        "AgentDialListOperations.DeletePhone": lists.delete_phone,
        "AgentDialListOperations.PhoneDialed": lists.phone_dialed,
        "AgentDialListOperations.PhoneUnDialed": lists.phone_undialed,
        "PlaylistOperations.EnableFilter": playlists.enable_filter,
        "PlaylistOperations.DisableFilter": playlists.disable_filter,
        "PlaylistOperations.Reload": playlists.reload_playlist,
        "PlaylistOperations.AssignFilter": playlists.assign_filter,
        "PlaylistOperations.RemoveFilter": playlists.remove_filter,
        "SkillListOperations.UpdatePriority": playlists.update_priority,
        "SkillListOperations.Reload": playlists.reload_skills,
    }
)
READS = frozenset({SEARCH, "CallOperations.AvailableInboundAgents"})  # they change nothing
SCRIPTS: Mapping[str, str] = MappingProxyType(  # file → the operation, or the family of those told by Action
    {"InjectLead.php": "InsertLead", "UpdateLead.php": "UpdateLead"}
    | {f"{name.partition('.')[0]}.php": name.partition(".")[0] for name in OPERATIONS if "." in name}
)


def named(script: str, form: Form) -> str:
    """The operation that a request to `script` asks for; the script's own name where its Action is unknown.

    An unknown action is not repeated: it may be anything.
    """
    name = f"{SCRIPTS[script]}.{form.get('Action', '')}"
    return name if name in OPERATIONS else SCRIPTS[script]


def answer(dialer: Dialer, operation: str, form: Form, now: datetime) -> str:
    """The body of the reply, after the operation has been applied."""
    refusal = dialer.credentials_refusal(form)
    if refusal:
        return dialer.texts[refusal]
    if operation not in OPERATIONS:
        return dialer.texts["bad_action"]
    return OPERATIONS[operation](dialer, form, now)
