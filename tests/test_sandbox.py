from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sandboxed import CREDENTIALS, DUPLICATE, NOON, OK, OTHER_PHONE, PHONE, Sandbox, verdict

from pipeline.model import UserError
from pipeline.sandbox import texts
from pipeline.sandbox.app import create_app
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.faults import FAULTS, Phase
from pipeline.sandbox.php import mangled, pairs, request_fields
from pipeline.sandbox.profiles import DEFAULT, PROFILES, Profile, profile_named
from pipeline.sandbox.serve import exports, listening, running, serve
from pipeline.sandbox.state import Store
from schemas.spec import Verdict


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path / "state.sqlite")) as opened:
        yield opened


@pytest.fixture
def sandbox(store: Store) -> Sandbox:
    return Sandbox(store, SandboxConfig())


# PHP


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Policy Number", ("Policy_Number", False)),
        ("a.b c", ("a_b_c", False)),
        (" x", ("x", False)),
        ("x[]", ("x", True)),
        ("x.y[k]", ("x_y", True)),
        ("x[y", ("x_y", False)),
        ("adv_Policy__Number", ("adv_Policy__Number", False)),
    ],
)
def test_names_are_mangled_as_php_does(name: str, expected: tuple[str, bool]) -> None:
    """Spaces and dots become underscores, a pair of brackets makes an array."""
    assert mangled(name) == expected


def test_the_last_of_a_repeated_name_wins() -> None:
    """A name that comes twice has its last value, an empty one too."""
    assert request_fields(pairs("a=1&a=2&b=1&b="), ()) == {"a": "2", "b": ""}


def test_an_array_hides_the_field() -> None:
    """`x[]` replaces an earlier `x`, and a later `x` replaces the array."""
    assert request_fields(pairs("x=1&x[]=2&y[]=1&y=2&[]=3"), ()) == {"y": "2"}


def test_the_body_wins_over_the_query(sandbox: Sandbox) -> None:
    """A value in the POST body replaces the one in the URL; fields only in the URL still count."""
    query = CREDENTIALS | {"Campaign": "Demo", "PrimaryPhone": PHONE, "City": "Boston"}
    sandbox.client.post("/HttpImport/InjectLead.php", params=query, data={"City": "Salem"})
    assert (sandbox.only_lead()["City"], sandbox.only_lead()["PrimaryPhone"]) == ("Salem", PHONE)


def test_get_multipart_and_raw_utf8_are_read(sandbox: Sandbox) -> None:
    """A GET, a multipart form and an urlencoded body of raw UTF-8 each store their lead."""
    url, lead = "/HttpImport/InjectLead.php", CREDENTIALS | {"Campaign": "Demo"}
    sandbox.client.get(url, params=lead | {"PrimaryPhone": "2025550101", "City": "Española"})
    parts = {name: (None, value) for name, value in (lead | {"PrimaryPhone": "2025550102"}).items()}
    sandbox.client.post(url, files=parts | {"City": (None, "Española")})
    raw = "token=sandbox-token&accid=sandbox&Campaign=Demo&PrimaryPhone=2025550103&City=Española"
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    sandbox.client.post(url, content=raw.encode(), headers=form)
    assert [lead["City"] for lead in sandbox.see("leads")] == ["Española"] * 3


def test_a_json_body_is_no_form(sandbox: Sandbox) -> None:
    """A body that is no form has no fields, so that it has no credentials either."""
    reply = sandbox.client.post("/HttpImport/InjectLead.php", json=CREDENTIALS)
    assert reply.text == "<br><br>Result: GroupId should be specified"


# Inserting


def test_an_accepted_insert_answers_the_public_bytes(sandbox: Sandbox) -> None:
    """HTTP 200, text/html, two spaces before OK, and no LeadId."""
    reply = sandbox.post("InjectLead", Campaign="Demo", PrimaryPhone=PHONE)
    assert (reply.status_code, reply.content) == (200, OK.encode())
    assert reply.headers["content-type"].startswith("text/html")


def test_a_duplicate_answers_the_public_bytes(sandbox: Sandbox) -> None:
    """A phone that its campaign has is refused inside a 200, and nothing is stored or dialed."""
    sandbox.insert()
    reply = sandbox.post("InjectLead", Campaign="Demo", PrimaryPhone=PHONE)
    assert (reply.status_code, reply.content) == (200, DUPLICATE.encode())
    assert len(sandbox.see("leads")) == len(sandbox.see("dials")) == 1


@pytest.mark.parametrize(
    ("check", "same", "other_subcampaign", "other_campaign"),
    [
        ("", False, False, True),
        ("0", False, False, True),
        ("1", True, True, True),
        ("2", False, False, False),
        ("3", False, True, True),
        ("9", False, False, True),
    ],
)
def test_duplicates_check_has_four_scopes(
    sandbox: Sandbox, check: str, same: bool, other_subcampaign: bool, other_campaign: bool
) -> None:
    """0 and anything unknown look in the campaign, 1 nowhere, 2 everywhere, 3 in the subcampaign."""
    places = (("Demo", "East"), ("Demo", "West"), ("Spring Renewals", "East"))
    stored = []
    for number, (campaign, subcampaign) in enumerate(places):
        phone = str(2025550100 + number)
        sandbox.insert(PrimaryPhone=phone, Subcampaign="East")
        again = {"Campaign": campaign, "Subcampaign": subcampaign, "DuplicatesCheck": check}
        reply = sandbox.insert(PrimaryPhone=phone, **again)
        assert reply in (OK, DUPLICATE)
        stored.append(reply == OK)
    assert stored == [same, other_subcampaign, other_campaign]


@pytest.mark.parametrize(
    ("fields", "name", "read_as"),
    [
        ({"Campaign": ""}, "missing_campaign", (Verdict.REJECTED, "missing_campaign")),
        ({"Campaign": "demo"}, "unknown_campaign", (Verdict.REJECTED, "unknown_campaign")),
        ({"PrimaryPhone": ""}, "no_data_to_import", (Verdict.REJECTED, "no_data")),
        ({"token": "wrong"}, "bad_token", (Verdict.CREDENTIALS, "credentials")),
        ({"token": ""}, "bad_token", (Verdict.CREDENTIALS, "credentials")),
        ({"accid": "wrong"}, "bad_accid", (Verdict.CREDENTIALS, "credentials")),
        ({"accid": ""}, "missing_accid", (Verdict.CREDENTIALS, "credentials")),
    ],
)
def test_an_insert_that_cannot_be_is_refused(
    sandbox: Sandbox, fields: dict[str, str], name: str, read_as: tuple[Verdict, str]
) -> None:
    """Each refusal has its text, which the sending side's rules can read, and stores nothing."""
    reply = sandbox.insert(**fields)
    assert reply == texts.TEXTS[name].body
    assert verdict(reply) == read_as
    assert sandbox.see("leads") == []


def test_any_campaign_can_be_accepted(store: Store) -> None:
    """With the switch on, a campaign needn't be configured."""
    assert Sandbox(store, SandboxConfig(any_campaign=True)).insert(Campaign="Autumn") == OK


def test_unknown_and_misspelt_fields_vanish(sandbox: Sandbox) -> None:
    """A field that isn't a column, or is in the wrong case, is dropped and the lead is accepted."""
    assert sandbox.insert(firstname="Ann", Shoe="42", Attempt="7", LastName="Lee") == OK
    lead = sandbox.only_lead()
    assert (lead["FirstName"], lead["LastName"], lead["Attempt"]) == ("", "Lee", 1)
    assert lead.keys().isdisjoint({"firstname", "Shoe"})


def test_custom_fields_have_their_spaces_back(sandbox: Sandbox) -> None:
    """`__` is a space, one underscore stays, and a space that PHP turned into `_` isn't one any more."""
    sandbox.insert(adv_Policy__Number="17", adv_plan_code="P1", **{"adv_Policy Date": "x"})
    assert sandbox.only_lead()["CustomFields"] == {
        "Policy Number": "17",
        "plan_code": "P1",
        "Policy_Date": "x",
    }


def test_custom_fields_are_known_per_campaign(store: Store) -> None:
    """Where a campaign's custom fields are declared, other names and other cases vanish."""
    sandbox = Sandbox(store, SandboxConfig(custom_fields={"Demo": ("Policy Number",)}))
    sandbox.insert(adv_Policy__Number="17", adv_policy__number="18", adv_Other="x")
    sandbox.insert(Campaign="Spring Renewals", adv_Other="x")
    custom = [lead["CustomFields"] for lead in sandbox.see("leads")]
    assert custom == [{"Policy Number": "17"}, {"Other": "x"}]


# Dialing


@pytest.mark.parametrize(
    ("fields", "dials"),
    [({}, 1), ({"ImportOnly": "0"}, 1), ({"ImportOnly": "1"}, 0), ({"timezone": "1"}, 1)],
)
def test_an_inserted_lead_is_hot_unless_imported_only(sandbox: Sandbox, fields: dict[str, str], dials: int) -> None:
    """A call goes out for every lead without ImportOnly=1."""
    sandbox.insert(**fields)
    assert sandbox.dialed() == [PHONE] * dials
    assert sandbox.only_lead()["WasDialed"] is bool(dials)


def test_the_dial_log_says_what_was_dialed_and_when(sandbox: Sandbox) -> None:
    """A dial names its lead, phone and time, and whether the hour was looked at."""
    sandbox.insert(timezone="1")
    assert sandbox.see("dials") == [
        {
            "id": 1,
            "lead_id": 1,
            "phone": PHONE,
            "campaign": "Demo",
            "dialed_at": NOON.isoformat(),
            "timezone_checked": True,
            "dnc": False,
            "duplicate": False,
        }
    ]


@pytest.mark.parametrize(("allow", "double_dials"), [("0", 0), ("1", 1)])
def test_a_stored_duplicate_is_dialed_only_with_allow_dialing_dups(
    sandbox: Sandbox, allow: str, double_dials: int
) -> None:
    """A replay with DuplicatesCheck=1 is stored twice, and with AllowDialingDups=1 it rings twice."""
    for _ in range(2):
        sandbox.insert(ClientId="17", DuplicatesCheck="1", AllowDialingDups=allow)
    state = sandbox.see("state")
    assert (state["stored_twice"], state["double_dials"]) == (1, double_dials)


def test_leads_of_different_clients_are_not_stored_twice(sandbox: Sandbox) -> None:
    """One phone under two ClientIds is two leads, and no damage."""
    sandbox.insert(ClientId="17", DuplicatesCheck="1")
    sandbox.insert(ClientId="18", DuplicatesCheck="1")
    assert (sandbox.see("state")["leads"], sandbox.see("state")["stored_twice"]) == (2, 0)


def test_a_do_not_call_number_is_refused(sandbox: Sandbox) -> None:
    """An insert of a number from the do-not-call table stores and dials nothing."""
    sandbox.dnc("InsertDnc")
    assert verdict(sandbox.insert()) == (Verdict.REJECTED, "dnc")
    assert sandbox.see("leads") == sandbox.see("dials") == []


def test_dial_non_callables_calls_a_do_not_call_number(sandbox: Sandbox) -> None:
    """With DialNonCallables=1 the number is dialed, and counted as damage."""
    sandbox.dnc("InsertDnc")
    assert sandbox.insert(DialNonCallables="1") == OK
    assert sandbox.see("state")["dnc_dials"] == 1


# Updating


def test_an_update_changes_the_lead_and_never_dials(sandbox: Sandbox) -> None:
    """Known fields are changed, unknown ones omitted, and nobody is called."""
    sandbox.insert(ClientId="17", FirstName="Ann", adv_Plan="A", ImportOnly="1")
    fields = {"FirstName": "Bea", "firstname": "x", "adv_Plan": "B", "ImportOnly": "0"}
    assert sandbox.update(SearchField="ClientId", Identifier="17", **fields) == OK
    lead = sandbox.only_lead()
    assert (lead["FirstName"], lead["CustomFields"], lead["ClientId"]) == ("Bea", {"Plan": "B"}, "17")
    assert sandbox.dialed() == []


def test_an_update_of_unknown_fields_alone_is_ok_and_changes_nothing(sandbox: Sandbox) -> None:
    """Fields that aren't found are omitted, even where none is left."""
    sandbox.insert()
    before = sandbox.only_lead()
    assert sandbox.update(SearchField="Phone", Identifier=PHONE, Shoe="42") == OK
    assert sandbox.only_lead() == before


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"SearchField": "ClientId", "Identifier": "17", "City": "Salem"}, "lead_not_found"),
        ({"SearchField": "ClientId", "Identifier": "17"}, "no_data_to_update"),
        ({"SearchField": "clientid", "Identifier": "17", "City": "Salem"}, "bad_search_field"),
        ({"SearchField": "ClientId", "City": "Salem"}, "missing_identifier"),
        ({"SearchField": "ClientId", "Identifier": "17", "Campaign": "None"}, "unknown_campaign"),
    ],
)
def test_an_update_that_cannot_be_is_refused(sandbox: Sandbox, fields: dict[str, str], name: str) -> None:
    """Each refusal has its text, and no lead is created."""
    reply = sandbox.update(**fields)
    assert reply == texts.TEXTS[name].body
    assert verdict(reply)[0] is Verdict.REJECTED
    assert sandbox.see("leads") == []


def test_an_update_by_phone_changes_all_matches(sandbox: Sandbox) -> None:
    """Several leads of one phone are all changed: assumed, and the worst case for a careless caller."""
    for campaign in sandbox.config.campaigns:
        sandbox.insert(Campaign=campaign)
    sandbox.update(SearchField="Phone", Identifier=PHONE, Rep="north")
    assert [lead["Rep"] for lead in sandbox.see("leads")] == ["north", "north"]


def test_campaign_in_an_update_moves_the_lead(sandbox: Sandbox) -> None:
    """Campaign and Subcampaign are fields like any other, so that an update moves the lead."""
    sandbox.insert()
    sandbox.update(SearchField="LeadId", Identifier="1", Campaign="Spring Renewals", Subcampaign="East")
    assert sandbox.search("Phone", PHONE, Campaign="Demo") == {"id": 0, "LeadExists": False}
    found = sandbox.search("Phone", PHONE, Campaign="Spring Renewals", Subcampaign="East")
    assert found == {"id": 1, "LeadExists": True}


def test_a_callback_is_kept_with_the_lead(sandbox: Sandbox) -> None:
    """Callback fields are stored by an insert and replaced by an update."""
    sandbox.insert(CallbackAgent="north", CallbackDate="08/23/2030 14:20:00")
    sandbox.update(SearchField="Phone", Identifier=PHONE, CallbackAgent="south")
    assert sandbox.only_lead()["Callback"] == {
        "CallbackAgent": "south",
        "CallbackDate": "08/23/2030 14:20:00",
    }


# Searching


def test_a_plain_search_answers_compact_json(sandbox: Sandbox) -> None:
    """Detailed=0 is bare JSON without blanks or <br>, as text/html."""
    sandbox.insert()
    reply = sandbox.post("LeadOperations", Action="SearchLead", SearchField="Phone", Identifier=PHONE)
    assert reply.content == b'{"id":1,"LeadExists":true}'
    assert reply.headers["content-type"].startswith("text/html")


def test_a_search_that_finds_nothing_says_so(sandbox: Sandbox) -> None:
    """Both shapes say that no lead was found, and no error."""
    assert sandbox.search("Phone", PHONE) == {"id": 0, "LeadExists": False}
    assert sandbox.search("Phone", PHONE, Detailed="1") == {"Leads": []}


def test_a_detailed_search_answers_every_lead_of_the_phone(sandbox: Sandbox) -> None:
    """Detailed=1 lists all leads that match, with the columns of the vendor's reports."""
    sandbox.insert(Campaign="Spring Renewals", ClientId="17", adv_Plan="A")
    sandbox.insert(ClientId="18", ImportOnly="1")
    first, second = sandbox.search("Phone", PHONE, Detailed="1")["Leads"]
    assert (first["id"], first["ClientId"], first["Campaign"]) == (1, "17", "Spring Renewals")
    assert first["CustomFields"] == {"Plan": "A"}
    assert (second["id"], second["ClientId"], second["WasDialed"]) == (2, "18", False)
    assert {"SecondaryPhone", "CallType", "Date", "LastUpdated", "Notes"} <= second.keys()


@pytest.mark.parametrize(
    ("search_field", "identifier"),
    [("Phone", "202-555-0123"), ("ClientId", "a17"), ("ClientId", "A17 "), ("LeadId", "01"), ("LeadId", "x")],
)
def test_an_identifier_is_matched_as_it_is(sandbox: Sandbox, search_field: str, identifier: str) -> None:
    """Dashes, case, blanks and leading zeros all make another identifier."""
    sandbox.insert(ClientId="A17")
    assert sandbox.search(search_field, identifier) == {"id": 0, "LeadExists": False}


def test_a_search_without_its_field_is_refused(sandbox: Sandbox) -> None:
    """A SearchField that doesn't exist is an error, and not "not found"."""
    reply = sandbox.post("LeadOperations", Action="SearchLead", SearchField="Email", Identifier="x")
    assert reply.text == texts.TEXTS["bad_search_field"].body


# Do-not-call numbers


def test_insert_dnc_marks_existing_leads_and_delete_dnc_does_not_restore_them(sandbox: Sandbox) -> None:
    """The mark stays on the lead after its number has left the table; only new leads go in again."""
    sandbox.insert()
    assert sandbox.dnc("InsertDnc") == sandbox.dnc("InsertDnc") == OK
    assert sandbox.dnc("DeleteDnc") == OK
    assert (sandbox.only_lead()["CallStatus"], sandbox.only_lead()["Dnc"]) == ("DNC", True)
    assert sandbox.insert(Campaign="Spring Renewals") == OK


@pytest.mark.parametrize("action", ["InsertDnc", "DeleteDnc"])
def test_a_dnc_number_has_ten_digits(sandbox: Sandbox, action: str) -> None:
    """Any other number is refused and not stored."""
    assert sandbox.dnc(action, "202-555-0123") == "<br><br>Result: Number should be a 10-digit phone number"
    assert sandbox.see("state")["do_not_call_numbers"] == 0


def test_an_unknown_action_is_refused(sandbox: Sandbox) -> None:
    """Actions match in their case, and an unknown one isn't repeated in the log."""
    assert sandbox.dnc("insertdnc") == texts.TEXTS["bad_action"].body
    assert sandbox.see("requests")[0]["operation"] == "LeadOperations"


# Switches


def test_overlong_values_are_cut_by_default(sandbox: Sandbox) -> None:
    """A value is cut to its column; Notes has no end."""
    sandbox.insert(State="Texas", Notes="n" * 5000)
    assert (sandbox.only_lead()["State"], len(sandbox.only_lead()["Notes"])) == ("Te", 5000)


def test_overlong_values_can_be_refused(store: Store) -> None:
    """With overlong="error" the insert is refused; an account's own lengths count."""
    sandbox = Sandbox(store, SandboxConfig(overlong="error", lengths={"City": 4}))
    assert sandbox.insert(City="Salem") == texts.TEXTS["overlong"].body
    assert sandbox.insert(City="Rome") == OK


def test_characters_outside_latin_can_be_lost(store: Store) -> None:
    """With latin_only they are stored as question marks, in custom fields too."""
    sandbox = Sandbox(store, SandboxConfig(latin_only=True))
    sandbox.insert(FirstName="Zoë 李", adv_Plan="Ж")
    assert (sandbox.only_lead()["FirstName"], sandbox.only_lead()["CustomFields"]) == ("Zoë ?", {"Plan": "?"})


def test_markup_can_be_refused_with_a_page(store: Store) -> None:
    """With refuse_html a value that looks like markup gets an HTML page, which is no verdict."""
    sandbox = Sandbox(store, SandboxConfig(refuse_html=True))
    assert verdict(sandbox.insert(Notes="<b>call</b>"))[0] is Verdict.IN_DOUBT
    assert sandbox.insert(Notes="1 < 2 & 3") == OK


def test_texts_can_be_replaced(store: Store) -> None:
    """A wording that nobody has seen is a setting, and the state shows it as assumed."""
    sandbox = Sandbox(store, SandboxConfig(texts={"lead_not_found": OK}))
    assert sandbox.update(SearchField="ClientId", Identifier="17", City="Salem") == OK
    assert sandbox.see("state")["assumed_texts"]["lead_not_found"]["body"] == OK


def test_texts_and_profiles_that_do_not_exist_are_named() -> None:
    """A wrong name is the user's error, and the right ones are listed."""
    with pytest.raises(UserError, match=r"'lead_lost'.*lead_not_found"):
        texts.bodies({"lead_lost": OK})
    with pytest.raises(UserError, match=r"'fast'.*hostile-proxy"):
        profile_named("fast")
    assert profile_named("slow") is PROFILES["slow"]


def test_only_public_texts_are_unmarked() -> None:
    """What no public client shows is marked as assumed; OK and the duplicate are known."""
    assert set(texts.TEXTS) - set(texts.assumed(texts.bodies({}))) == {"ok", "duplicate"}


# Faults and latency


def faulty(name: str) -> Profile:
    return replace(DEFAULT, name="faulty", faults={name: 1.0})


@pytest.mark.parametrize(("name", "stored"), [("http_502", 0), ("stored_502", 1)])
def test_a_fault_strikes_before_or_after_the_store(store: Store, name: str, stored: int) -> None:
    """The caller sees the same; whether the lead is there depends on the phase."""
    sandbox = Sandbox(store, SandboxConfig(profile=faulty(name)))
    reply = sandbox.post("InjectLead", Campaign="Demo", PrimaryPhone=PHONE)
    assert (reply.status_code, "502 Bad Gateway" in reply.text) == (502, True)
    assert (len(sandbox.see("leads")), sandbox.see("requests")[0]["fault"]) == (stored, name)


def test_the_hostile_proxy_turns_some_requests_away(store: Store) -> None:
    """429 and 503 ask for a second's patience and store nothing; everything else is answered as usual."""
    sandbox = Sandbox(store, SandboxConfig(profile=PROFILES["hostile-proxy"], seed=1))
    replies = [sandbox.post("InjectLead", Campaign="Demo", PrimaryPhone=str(2025550100 + n)) for n in range(60)]
    turned_away = [reply for reply in replies if reply.status_code != 200]
    assert {reply.status_code for reply in turned_away} == {429, 503}
    assert {reply.headers["retry-after"] for reply in turned_away} == {"1"}
    assert sandbox.see("state")["leads"] == len(replies) - len(turned_away)


def test_a_seed_repeats_its_faults() -> None:
    """Two sandboxes of one seed go wrong at the same requests, another seed at others."""
    profile = PROFILES["dialer-down"]

    def faults(seed: int) -> list[str | None]:
        rng = random.Random(seed)
        return [profile.choose_fault(rng) for _ in range(200)]

    assert faults(1) == faults(1) != faults(2)
    assert set(faults(1)) == {None, "curl_7"}


def test_an_unreachable_dialer_is_read_as_not_delivered() -> None:
    """CURL error[7] is known not to have arrived."""
    (name,) = PROFILES["dialer-down"].faults
    fault = FAULTS[name]
    assert fault.phase is Phase.BEFORE_STORE
    assert fault.answer
    assert verdict(fault.answer.body) == (Verdict.NOT_DELIVERED, "dialer_unreachable")


def test_the_default_profile_makes_no_faults() -> None:
    """No limit of the vendor is known, so that none is invented."""
    assert (dict(DEFAULT.faults), DEFAULT.latency_seconds, DEFAULT.max_parallel) == ({}, 0, None)


def at_once(store: Store, config: SandboxConfig, phones: list[str]) -> None:
    async def insert_all() -> None:
        transport = httpx.ASGITransport(create_app(config, store))
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            forms = (CREDENTIALS | {"Campaign": "Demo", "PrimaryPhone": phone} for phone in phones)
            await asyncio.gather(*(client.post("/HttpImport/InjectLead.php", data=form) for form in forms))

    asyncio.run(insert_all())


def test_the_gauge_sees_parallel_work_and_outlives_its_process(store: Store) -> None:
    """The most requests at once, and those for a phone that was under way already, are in the state."""
    at_once(store, SandboxConfig(), [PHONE, PHONE, OTHER_PHONE])
    state = Sandbox(store, SandboxConfig()).see("state")
    assert (state["max_in_flight"], state["same_phone_in_flight"]) == (3, 1)


def test_requests_beyond_the_cap_queue(store: Store) -> None:
    """With max_parallel=1 all are taken in, and all are answered."""
    at_once(store, SandboxConfig(profile=replace(DEFAULT, max_parallel=1)), [PHONE, OTHER_PHONE])
    counts = store.counts()
    assert (counts["leads"], store.gauge("max_in_flight")) == (2, 2)


def test_latency_stays_within_its_jitter() -> None:
    """The slow profile takes 150 to 250 ms."""
    rng = random.Random(1)
    delays = [PROFILES["slow"].delay_seconds(rng) for _ in range(500)]
    assert 0.15 <= min(delays) < 0.16
    assert 0.24 < max(delays) <= 0.25


# State


def test_the_request_log_has_no_token(sandbox: Sandbox, tmp_path: Path) -> None:
    """The log says what came and what was answered; a token is in no file, right or wrong."""
    sandbox.insert(ClientId="17", token="wrong-token")
    sandbox.insert(ClientId="17")
    assert sandbox.see("requests")[1] == {
        "id": 2,
        "received_at": NOON.isoformat(),
        "method": "POST",
        "script": "InjectLead.php",
        "operation": "InsertLead",
        "parameters": {"Campaign": "Demo", "PrimaryPhone": PHONE, "ClientId": "17"},
        "phone": PHONE,
        "client_id": "17",
        "http_status": 200,
        "reply": OK,
        "fault": None,
    }
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert PHONE.encode() in kept
    assert b"wrong-token" not in kept
    assert b"sandbox-token" not in kept


def test_the_request_log_names_searches_and_updates(sandbox: Sandbox) -> None:
    """A lookup is logged under the phone or ClientId that it looks up."""
    sandbox.search("Phone", PHONE)
    sandbox.update(SearchField="ClientId", Identifier="17", City="Salem")
    logged = [(line["operation"], line["phone"], line["client_id"]) for line in sandbox.see("requests")]
    assert logged == [("LeadOperations.SearchLead", PHONE, ""), ("UpdateLead", "", "17")]


def test_lists_can_be_limited_to_their_end(sandbox: Sandbox) -> None:
    """?limit=N shows the last N lines, oldest first; what is no number is refused."""
    for number in range(4):
        sandbox.insert(PrimaryPhone=str(2025550100 + number))
    for name in ("leads", "dials", "requests"):
        assert [line["id"] for line in sandbox.see(f"{name}?limit=2")] == [3, 4]
    assert sandbox.client.get("/sandbox/leads?limit=-1").status_code == 400


def test_the_front_page_points_at_the_state(sandbox: Sandbox) -> None:
    """Whoever opens the address in a browser finds the four pages."""
    page = sandbox.client.get("/").text
    assert all(f"/sandbox/{name}" in page for name in ("state", "leads", "dials", "requests"))


def test_the_state_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """Leads are people's data."""
    Store.open(tmp_path / "state.sqlite").close()
    assert (tmp_path / "state.sqlite").stat().st_mode & 0o077 == 0


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A database that isn't a sandbox's, a file that is none and a missing folder are the user's errors."""
    other, text = tmp_path / "other.sqlite", tmp_path / "leads.csv"
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE ledger (row_key TEXT)")
    text.write_text("Phone,City\n" * 200)
    for path in (other, text, tmp_path / "missing" / "state.sqlite"):
        before = path.exists() and path.read_bytes()
        with pytest.raises(UserError, match=re.escape(str(path))):
            Store.open(path)
        assert (path.exists() and path.read_bytes()) == before


# The process

PROGRAM = """
import sys
from pathlib import Path
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.serve import serve
serve(SandboxConfig(port=int(sys.argv[1]), state_path=Path(sys.argv[2])))
"""


@contextlib.contextmanager
def process(state: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", PROGRAM, str(port), str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as child:
        try:
            lines = [child.stdout.readline().strip() for _ in range(3)]
            assert lines[1:] == ["export DIALEDIN_TOKEN=sandbox-token", "export DIALEDIN_ACCID=sandbox"]
            yield child, lines[0].removeprefix("export DIALEDIN_BASE_URL=")
        finally:
            child.kill()


def inserted(url: str, phone: str) -> str:
    form = CREDENTIALS | {"Campaign": "Demo", "PrimaryPhone": phone}
    return httpx.post(f"{url}InjectLead.php", data=form, trust_env=False).text


def state_of(url: str) -> dict:
    return httpx.get(f"{url}../sandbox/state", trust_env=False).json()


def test_a_killed_sandbox_goes_on_where_it_was(tmp_path: Path) -> None:
    """After SIGKILL, a new process on the same port and file knows the leads, dials and requests."""
    state = tmp_path / "state.sqlite"
    with process(state) as (child, url):
        assert inserted(url, PHONE) == OK
        child.send_signal(signal.SIGKILL)
        child.wait()
    with process(state, httpx.URL(url).port) as (_, same_url):
        assert same_url == url
        assert inserted(url, PHONE) == DUPLICATE
        counts = state_of(url)
    assert (counts["leads"], counts["dials"], counts["requests"]) == (1, 1, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_sandbox_cleanly(tmp_path: Path, number: int) -> None:
    """SIGTERM and SIGINT end it with 0, even where a client keeps its connection open."""
    with process(tmp_path / "state.sqlite") as (child, url), httpx.Client(trust_env=False) as client:
        client.get(f"{url}../")
        child.send_signal(number)
        assert child.wait() == 0


def test_a_port_in_use_is_one_clear_line() -> None:
    """The error names the port and the way out, before anything else has happened."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} is in use.*--port 0"):
            serve(SandboxConfig(port=port))


def test_an_address_that_is_not_ours_is_one_clear_line() -> None:
    """A host that can't be listened on is named."""
    with pytest.raises(UserError, match=r"can't listen on 192\.0\.2\.1 port 0"):
        serve(SandboxConfig(host="192.0.2.1"))


def test_a_sandbox_in_a_thread_has_the_temporary_state_of_its_own() -> None:
    """`running` serves on a free port of the loopback, and each one starts empty."""
    for _ in range(2):
        with running(SandboxConfig()) as url:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/HttpImport/", url)
            assert inserted(url, PHONE) == OK
            assert state_of(url)["leads"] == 1


def test_replies_do_not_wait_for_acknowledgements() -> None:
    """The socket says that it is TCP: where it doesn't, asyncio leaves Nagle's 40 ms in every reply."""
    with listening(SandboxConfig()) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_token_brought_along_is_not_printed() -> None:
    """It might open something, so that it is in no output and no repr."""
    config = SandboxConfig(token="brought-along", accid="it's mine")
    lines = exports(config, "http://127.0.0.1:1/HttpImport/")
    assert "brought-along" not in lines + repr(config)
    assert "\nexport DIALEDIN_ACCID='it'\"'\"'s mine'\n" in lines
