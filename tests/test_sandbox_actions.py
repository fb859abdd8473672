"""The sandbox beyond leads: dial lists, playlists, skills, texts, calls, and the page that shows it all."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sandboxed import NOON, OK, OTHER_PHONE, PHONE, Sandbox, verdict

from pipeline.sandbox import texts
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.operations import OPERATIONS, SCRIPTS
from pipeline.sandbox.state import Store
from schemas.catalogue import CATALOGUE
from schemas.dialedin_actions import OPERATIONS as ACTIONS
from schemas.spec import Verdict

CALLBACKS = {"Agent": "anna", "List": "Callbacks"}
MORNING = {"Playlist": "Morning", "Filter": "Fresh"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path / "state.sqlite")) as opened:
        yield opened


@pytest.fixture
def sandbox(store: Store) -> Sandbox:
    return Sandbox(store, SandboxConfig())


def act(sandbox: Sandbox, operation: str, **fields: str) -> str:
    """The reply to a call of one action."""
    script, _, action = operation.partition(".")
    return sandbox.post(script, Action=action, **fields).text


def read(operation: str, reply: str) -> tuple[Verdict, str]:
    """What the sending side makes of it."""
    return verdict(reply, CATALOGUE[operation].replies)


# Every operation


def test_the_sandbox_answers_every_operation_at_its_address() -> None:
    """All that are declared, and the names under which they are called."""
    vendors = {op.name: op for op in CATALOGUE.values() if op.name in OPERATIONS}
    assert {op.name for op in ACTIONS} < set(vendors) == set(OPERATIONS)
    assert {op.path for op in vendors.values()} == set(SCRIPTS)


@pytest.mark.parametrize("operation", ACTIONS, ids=lambda o: o.name)
def test_a_missing_parameter_is_named(sandbox: Sandbox, operation) -> None:
    """Each required one, whether it is missing or empty; nothing is done."""
    given = {f.name: PHONE for f in operation.fields if f.required}
    for name in given:
        fields = {other: value for other, value in given.items() if other != name}
        for reply in (act(sandbox, operation.name, **fields), act(sandbox, operation.name, **fields, **{name: ""})):
            assert reply.startswith(f"<br><br>Result: {name} should be ")
            assert read(operation.name, reply) == (Verdict.REJECTED, "gateway_refused")
    counts = sandbox.see("state")
    assert not any(counts[name] for name in ("texts", "conferences", "dial_lists", "do_not_call_numbers", "reloads"))


@pytest.mark.parametrize("operation", ACTIONS, ids=lambda o: o.name)
def test_who_calls_is_checked_for_every_action(sandbox: Sandbox, operation) -> None:
    """A wrong token is refused whatever it asks for."""
    script, _, action = operation.name.partition(".")
    reply = sandbox.post(script, Action=action, token="wrong").text
    assert read(operation.name, reply) == (Verdict.CREDENTIALS, "credentials")


# Dial lists


def test_a_dial_list_has_a_unique_name_for_its_agent(sandbox: Sandbox) -> None:
    """A second list of that name is refused, for another agent it is made, and what is gone can be made again."""
    create = "AgentDialListOperations.CreateList"
    assert act(sandbox, create, **CALLBACKS) == OK
    assert read(create, act(sandbox, create, **CALLBACKS)) == (Verdict.DUPLICATE, "list_exists")
    assert act(sandbox, create, Agent="ben", List="Callbacks") == OK
    delete = "AgentDialListOperations.DeleteList"
    assert act(sandbox, delete, **CALLBACKS) == OK
    assert read(delete, act(sandbox, delete, **CALLBACKS)) == (Verdict.REJECTED, "not_found")
    assert act(sandbox, create, **CALLBACKS) == OK


def test_a_number_is_on_a_dial_list_once(sandbox: Sandbox) -> None:
    """Duplicates are suppressed; the same number may be on another list; a list that goes takes its numbers along."""
    add = "AgentDialListOperations.AddPhone"
    assert read(add, act(sandbox, add, **CALLBACKS, Phone=PHONE)) == (Verdict.REJECTED, "not_found")
    for agent in ("anna", "ben"):
        act(sandbox, "AgentDialListOperations.CreateList", Agent=agent, List="Callbacks")
        assert act(sandbox, add, Agent=agent, List="Callbacks", Phone=PHONE) == OK
    assert read(add, act(sandbox, add, **CALLBACKS, Phone=PHONE)) == (Verdict.DUPLICATE, "duplicate_phone")
    act(sandbox, "AgentDialListOperations.DeleteList", **CALLBACKS)
    listed = [(line["agent"], line["list"], line["phone"], line["mark"]) for line in sandbox.see("dial-lists")]
    assert listed == [("ben", "Callbacks", PHONE, "new")]


def test_a_number_has_only_digits(sandbox: Sandbox) -> None:
    """ "Only digits, same as appears in the Dial List"."""
    act(sandbox, "AgentDialListOperations.CreateList", **CALLBACKS)
    reply = act(sandbox, "AgentDialListOperations.AddPhone", **CALLBACKS, Phone="202-555-0123")
    assert read("AgentDialListOperations.AddPhone", reply)[0] is Verdict.REJECTED


def test_marks_change_the_dial_list_and_nothing_else(sandbox: Sandbox) -> None:
    """Dialed, and skipped again; the lead with that phone was not dialed, and stays as it is."""
    sandbox.insert(ImportOnly="1")
    lead = sandbox.only_lead()
    act(sandbox, "AgentDialListOperations.CreateList", **CALLBACKS)
    act(sandbox, "AgentDialListOperations.AddPhone", **CALLBACKS, Phone=PHONE)
    marks = []
    for action in ("PhoneDialed", "PhoneUnDialed"):
        assert act(sandbox, f"AgentDialListOperations.{action}", **CALLBACKS, Phone=PHONE) == OK
        marks += [line["mark"] for line in sandbox.see("dial-lists")]
    assert marks == ["dialed", "skipped"]
    assert sandbox.only_lead() == lead
    assert sandbox.dialed() == []


@pytest.mark.parametrize("action", ["DeletePhone", "PhoneDialed", "PhoneUnDialed"])
def test_what_is_not_on_a_dial_list_is_refused(sandbox: Sandbox, action: str) -> None:
    """Neither a list nor a number that isn't there can be changed."""
    name = f"AgentDialListOperations.{action}"
    assert read(name, act(sandbox, name, **CALLBACKS, Phone=PHONE)) == (Verdict.REJECTED, "not_found")
    act(sandbox, "AgentDialListOperations.CreateList", **CALLBACKS)
    assert read(name, act(sandbox, name, **CALLBACKS, Phone=PHONE)) == (Verdict.REJECTED, "not_found")
    act(sandbox, "AgentDialListOperations.AddPhone", **CALLBACKS, Phone=PHONE)
    assert act(sandbox, name, **CALLBACKS, Phone=PHONE) == OK


# Playlists and skills


def test_filters_take_effect_when_their_playlist_is_reloaded(sandbox: Sandbox) -> None:
    """Assigned, enabled, applied by the reload, disabled, removed; each step is in the list."""
    seen = []
    for action in ("AssignFilter", "EnableFilter", "Reload", "DisableFilter", "AssignFilter", "Reload"):
        assert act(sandbox, f"PlaylistOperations.{action}", **MORNING) == OK
        (line,) = sandbox.see("playlists")
        seen.append((line["active"], line["applied"]))
    assert seen == [(False, False), (True, False), (True, True), (False, True), (False, True), (False, False)]
    assert act(sandbox, "PlaylistOperations.RemoveFilter", **MORNING) == OK
    assert sandbox.see("playlists") == []
    assert [(line["what"], line["name"]) for line in sandbox.see("reloads")] == [("playlist", "Morning")] * 2


@pytest.mark.parametrize("action", ["EnableFilter", "DisableFilter", "RemoveFilter"])
def test_a_filter_that_the_playlist_does_not_have_is_refused(sandbox: Sandbox, action: str) -> None:
    """It has to be assigned first."""
    name = f"PlaylistOperations.{action}"
    assert read(name, act(sandbox, name, **MORNING)) == (Verdict.REJECTED, "not_found")


def test_names_can_be_configured(store: Store) -> None:
    """Then others are refused: playlists, filters, skills and agents."""
    config = SandboxConfig(playlists=("Morning",), filters=("Fresh",), skills=("Sales",), any_agent=False)
    sandbox = Sandbox(store, config)
    refused = [
        ("PlaylistOperations.Reload", {"Playlist": "Evening"}),
        ("PlaylistOperations.AssignFilter", {"Playlist": "Morning", "Filter": "Stale"}),
        ("SkillListOperations.UpdatePriority", {"Skill": "Support", "Source": "1"}),
        ("AgentDialListOperations.CreateList", {"Agent": "zoe", "List": "x"}),
        ("TextOperations.SendSms", {"From": PHONE, "To": PHONE, "Message": "x", "Agent": "zoe"}),
    ]
    for name, fields in refused:
        assert read(name, act(sandbox, name, **fields)) == (Verdict.REJECTED, "not_found")
        known = {"Evening": "Morning", "Stale": "Fresh", "Support": "Sales", "zoe": "anna"}
        assert act(sandbox, name, **{k: known.get(v, v) for k, v in fields.items()}) == OK


def test_a_skill_priority_is_added_or_changed(sandbox: Sandbox) -> None:
    """What is not given stays, or has its beginning; both are per skill and source."""
    update = "SkillListOperations.UpdatePriority"
    for fields in ({}, {"Priority": "5"}, {"Delay": "30", "Priority": ""}, {"Active": "0"}):
        assert act(sandbox, update, Skill="Sales", Source="8005550100", **fields) == OK
    act(sandbox, update, Skill="Sales", Source="8005550101")
    rows = [(r["source"], r["priority"], r["delay"], r["active"]) for r in sandbox.see("skills")]
    assert rows == [("8005550100", "5", "30", "0"), ("8005550101", "0", "0", "1")]
    assert act(sandbox, "SkillListOperations.Reload") == OK
    assert [line["what"] for line in sandbox.see("reloads")] == ["skills"]


# Texts and calls


def test_a_text_is_in_the_log_and_its_damage_is_counted(sandbox: Sandbox) -> None:
    """The same words twice, and words to a do-not-call number, are damage."""
    sandbox.dnc("InsertDnc", OTHER_PHONE)
    text = {"From": "2125550100", "Message": "Hello"}
    for to in (PHONE, PHONE, OTHER_PHONE):
        assert act(sandbox, "TextOperations.SendSms", **text, To=to, Agent="anna", LeadId="7") == OK
    state = sandbox.see("state")
    assert (state["texts"], state["double_texts"], state["dnc_texts"]) == (3, 1, 1)
    assert sandbox.see("texts?limit=1") == [
        {
            "id": 3,
            "sent_at": NOON.isoformat(),
            "sender": "2125550100",
            "phone": OTHER_PHONE,
            "message": "Hello",
            "agent": "anna",
            "lead_id": "7",
            "dnc": True,
        }
    ]


@pytest.mark.parametrize("field", ["From", "To"])
def test_a_text_goes_between_ten_digit_numbers(sandbox: Sandbox, field: str) -> None:
    """Other numbers are refused and nothing is logged."""
    text = {"From": PHONE, "To": PHONE, "Message": "Hello"} | {field: "202-555-0123"}
    assert read("TextOperations.SendSms", act(sandbox, "TextOperations.SendSms", **text))[0] is Verdict.REJECTED
    assert sandbox.see("texts") == []


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        ({}, 2),
        ({"CanBeOnCall": "0", "CanBeOnBreak": "0", "CanDoWrapUp": "0"}, 2),
        ({"CanBeOnCall": "1"}, 3),
        ({"CanBeOnCall": "1", "CanBeOnBreak": "1", "CanDoWrapUp": "1"}, 5),
    ],
)
def test_agents_are_counted_by_what_they_do(sandbox: Sandbox, flags: dict[str, str], count: int) -> None:
    """Those who are ready, and the busy ones whose flag is 1: 0 is read as "not counted"."""
    assert act(sandbox, "CallOperations.AvailableInboundAgents", DID="100", **flags) == f"<br><br>Result:  {count}"


def test_a_conference_needs_a_conversation(sandbox: Sandbox) -> None:
    """An agent who is ready has none; the customer is muted where it is said."""
    call = "CallOperations.ConferenceCall"
    assert read(call, act(sandbox, call, Agent="anna", Phone=PHONE)) == (Verdict.REJECTED, "no_conversation")
    for fields in ({"Agent": "cara"}, {"Agent": "cara", "PrivateConference": "1"}, {"Agent": "unconfigured"}):
        assert act(sandbox, call, Phone=PHONE, **fields) == OK
    assert [(line["agent"], line["muted"]) for line in sandbox.see("conferences")] == [
        ("cara", False),
        ("cara", True),
        ("unconfigured", False),
    ]
    assert read(call, act(sandbox, call, Agent="cara", Phone="911"))[0] is Verdict.REJECTED


def test_what_the_account_holds_outlives_the_process(tmp_path: Path) -> None:
    """Lists, filters and logs are in the same file as the leads."""
    path = tmp_path / "state.sqlite"
    with contextlib.closing(Store.open(path)) as store:
        act(Sandbox(store, SandboxConfig()), "AgentDialListOperations.CreateList", **CALLBACKS)
    with contextlib.closing(Store.open(path)) as store:
        assert [line["list"] for line in Sandbox(store, SandboxConfig()).see("dial-lists")] == ["Callbacks"]


# The page


class Tags(HTMLParser):
    """What a browser makes of a page: its tags, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_what_there_is(sandbox: Sandbox) -> None:
    """Leads, dials, texts, lists and requests, with a link to each list as JSON that works."""
    sandbox.insert(FirstName="Ann", ClientId="C-1")
    act(sandbox, "TextOperations.SendSms", From=PHONE, To=OTHER_PHONE, Message="Hello Ann")
    reply = sandbox.client.get("/")
    assert reply.headers["content-type"].startswith("text/html")
    page = Tags(reply.text)
    assert page.open == []
    for part in ("Ann", "C-1", "Hello Ann", PHONE, OTHER_PHONE, "InsertLead", "Action=SendSms", "double_dials"):
        assert part in page.text
    links = re.findall(r'href="/sandbox/([a-z-]+)"', reply.text)
    assert set(links) == {
        *("state", "leads", "dials", "rings", "requests", "do-not-call", "texts", "conferences"),
        *("dial-lists", "playlists", "skills", "reloads"),
    }
    for name in links:
        assert sandbox.see(name) is not None


def test_the_page_shows_the_newest_first_and_no_end_of_old_ones(sandbox: Sandbox) -> None:
    """Fifty lines of each."""
    for number in range(60):
        sandbox.insert(PrimaryPhone=f"20255501{number:02}", ClientId=f"number {number}.")
    text = Tags(sandbox.client.get("/").text).text
    assert text.index("number 59.") < text.index("number 10.")
    assert "number 9." not in text


def test_what_came_in_is_text_on_the_page(sandbox: Sandbox) -> None:
    """Nothing that a lead or a request holds becomes markup; no token is shown."""
    bad = "<script>alert('x')</script>&amp;\"<img src=x>"
    sandbox.insert(FirstName=bad, CallStatus=bad)
    act(sandbox, "AgentDialListOperations.CreateList", Agent=bad, List=bad)
    act(sandbox, "PlaylistOperations.AssignFilter", Playlist=bad, Filter=bad)
    act(sandbox, "SkillListOperations.UpdatePriority", Skill=bad, Source=bad)
    act(sandbox, "TextOperations.SendSms", From=PHONE, To=PHONE, Message=bad)
    page = sandbox.client.get("/").text
    assert {"script", "img"}.isdisjoint(Tags(page).seen)
    assert Tags(page).text.count(bad) >= 8
    assert "sandbox-token" not in page


def test_what_is_assumed_is_labelled_on_the_page(sandbox: Sandbox) -> None:
    """Every text and behaviour that nobody has seen, and each reply that used one."""
    page = Tags(sandbox.client.get("/").text).text
    assert all(line in page for line in texts.ASSUMED_BEHAVIOUR)
    assert all(name in page for name in texts.assumed(texts.bodies({})))


@pytest.mark.parametrize(
    ("operation", "reply", "expected"),
    [
        ("InsertLead", OK, False),
        ("UpdateLead", OK, False),
        ("InsertLead", texts.TEXTS["duplicate"].body, False),
        ("InsertLead", texts.TEXTS["dnc_number"].body, True),
        ("LeadOperations.InsertDnc", OK, True),
        ("TextOperations.SendSms", "<br><br>Result: To should be specified", True),
        ("CallOperations.AvailableInboundAgents", "<br><br>Result:  3", True),
        ("LeadOperations.SearchLead", '{"id":1,"LeadExists":true}', False),
        ("InsertLead", "", False),
    ],
)
def test_a_reply_is_assumed_where_no_public_sample_shows_it(operation: str, reply: str, expected: bool) -> None:
    """An OK is known from inserts and updates, and from nothing else."""
    assert texts.is_assumed(operation, reply, texts.bodies({})) is expected
