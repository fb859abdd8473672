"""UpsertLead: a row is looked up first, then inserted or updated; from the file to the account."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Account, Leads, RawVendor, Result, http_reply, phone, write
from given import TARGET, checked, plan

from pipeline import journal, payloads, statedb
from pipeline.model import Payload, UserError

MAPPING = """
operation = "UpsertLead"
unmapped = "ignore"
[source]
clear_token = "<clear>"
[fields]
ClientId = "Id"
PrimaryPhone = "Phone"
FirstName = "First"
City = "City"
adv_Plan = "Plan"
DuplicatesCheck = { value = "1" } # the vendor stores whatever comes: a blind repeat does visible damage
Campaign = { value = "Demo" }
"""
BY_PHONE = MAPPING.replace('ClientId = "Id"\n', "")
HEADER = "Id,Phone,First,City,Plan\n"
Load = Callable[..., Result]


@pytest.fixture
def load(leads: Leads, home: Path, account: Account) -> Load:
    """Loads rows under HEADER with MAPPING, unless another is given, into the account, unless another is given."""

    def run(rows: str, *args: object, mapping: str = MAPPING, into: Account | RawVendor = account) -> Result:
        write(home / "up.toml", mapping)
        write(home / "a.csv", HEADER + rows)
        return leads("load", "a.csv", "-m", "up.toml", "--json", "--settle", 0, *args, env=into.env)

    return run


def stored(account: Account, *names: str) -> list[tuple[str, ...]]:
    """These columns of all leads, in the order in which they were stored."""
    return [tuple(str(lead[name]) for name in names) for lead in account.see("leads")]


def found(**lead: object) -> str:
    """The answer of a search that finds one lead."""
    return json.dumps({"Leads": [{"id": 7, "PrimaryPhone": phone(1)} | lead]})


def operations(account: Account) -> list[str]:
    return [request["operation"] for request in account.see("requests")]


# Nobody, one


def test_nobody_is_inserted_and_one_is_updated(load: Load, account: Account) -> None:
    """A new lead has all of its row; one that is there is changed by the cells that are not empty, and by no others."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1", FirstName="Old", City="Bath", Rep="ann")
    result = load(f"C-1,{phone(1)},New,,gold\nC-2,{phone(2)},Ada,Salem,\n")
    assert (result.code, result.fates) == (0, {2: "accepted/updated", 3: "accepted/inserted"})
    first, second = (account.leads()[phone(number)] for number in (1, 2))
    assert (first["FirstName"], first["City"], first["Rep"]) == ("New", "Bath", "ann")
    assert first["CustomFields"] == {"Plan": "gold"}
    assert (second["ClientId"], second["FirstName"], second["City"]) == ("C-2", "Ada", "Salem")
    assert (second["Campaign"], second["CustomFields"]) == ("Demo", {})
    assert account.dials() == []


def test_the_report_says_what_was_found_and_counts_no_searches(load: Load, account: Account) -> None:
    """`attempts` are inserts and updates; `result` holds the lead as it was before its update, `lead_id` its id."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1", FirstName="Old")
    told = load(f"C-1,{phone(1)},New,,\nC-2,{phone(2)},Ada,,\n").by_row
    assert [told[row]["attempts"] for row in (2, 3)] == [1, 1]
    assert [told[row]["lead_id"] for row in (2, 3)] == ["1", None]
    assert json.loads(told[2]["result"])["Leads"][0]["FirstName"] == "Old"
    assert told[3]["result"] is None
    assert {told[row]["reply"] for row in (2, 3)} == {"Result: OK"}
    assert {told[row]["operation"] for row in (2, 3)} == {"UpsertLead"}


def test_each_request_of_a_row_can_be_read(leads: Leads, load: Load, account: Account) -> None:
    """The journal has the search, and the insert or update, under the vendor's names for them."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1")
    load(f"C-1,{phone(1)},New,,\nC-2,{phone(2)},Ada,,\nC-1,{phone(1)},,,\n")

    def requests(row: int) -> list[tuple[str, str]]:
        told = leads("explain", "--row", row, "--json").json["requests"]
        return [(request["operation"], request["code"]) for request in told]

    assert requests(2) == [("LeadOperations.SearchLead", "found"), ("UpdateLead", "ok")]
    assert requests(3) == [("LeadOperations.SearchLead", "not_found"), ("InsertLead", "ok")]


def test_a_row_that_changes_nothing_is_looked_up_and_left(leads: Leads, load: Load, account: Account) -> None:
    """A lead that is there needs no update from a row that has nothing but what it is looked up by."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1", FirstName="Old")
    before = account.leads()
    result = load(f"C-1,{phone(1)},,,\n", mapping=BY_PHONE)
    assert (result.code, result.fates) == (0, {2: "accepted/unchanged"})
    assert (result.by_row[2]["attempts"], result.by_row[2]["lead_id"]) == (0, "1")
    assert account.leads() == before
    (request,) = leads("explain", "--row", 2, "--json").json["requests"]
    assert request["operation"] == "LeadOperations.SearchLead"


def test_a_lead_found_by_its_id_gets_a_new_phone(load: Load, account: Account) -> None:
    """What a lead is not looked up by is a value like any other."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1", FirstName="Ada")
    assert load(f"C-1,{phone(2)},,,\n").fates == {2: "accepted/updated"}
    assert stored(account, "ClientId", "PrimaryPhone", "FirstName") == [("C-1", phone(2), "Ada")]


def test_a_lead_found_by_its_phone_keeps_its_own_id(load: Load, account: Account) -> None:
    """The row key stands in for a ClientId where a lead is inserted; it never replaces one that is there."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1", FirstName="Old")
    result = load(f",{phone(1)},New,,\n,{phone(2)},Ada,,\n", mapping=BY_PHONE)
    assert result.fates == {2: "accepted/updated", 3: "accepted/inserted"}
    assert stored(account, "ClientId", "FirstName") == [("C-1", "New"), (result.by_row[3]["row_key"], "Ada")]


def test_a_lead_found_by_its_phone_may_get_another_id(load: Load, account: Account) -> None:
    """A ClientId that the mapping has is a value, where it is not what the lead is looked up by."""
    account.insert(phone(1), Campaign="Demo", ClientId="old")
    mapping = MAPPING + 'SearchField = { value = "Phone" }\n'
    for client_id in ("C-1", "C-2", "C-1"):
        assert load(f"{client_id},{phone(1)},,,\n", mapping=mapping).fates == {2: "accepted/updated"}
        assert stored(account, "ClientId") == [(client_id,)]


def test_the_phone_of_another_lead_is_a_duplicate(load: Load, account: Account) -> None:
    """Nobody has the row's ClientId, and the vendor refuses its phone: nothing is stored, nobody is changed."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1", FirstName="Old")
    mapping = MAPPING.replace('DuplicatesCheck = { value = "1" }', "")
    result = load(f"C-2,{phone(1)},New,,\n", mapping=mapping)
    assert (result.code, result.fates) == (0, {2: "duplicate/duplicate_phone"})
    assert stored(account, "ClientId", "FirstName") == [("C-1", "Old")]


def test_a_refusal_of_either_step_is_the_rows(
    load: Load, account: Account, raw_vendor: Callable[..., RawVendor]
) -> None:
    """What the vendor refuses for good is rejected, and in the rejected file, whichever step it was."""
    inserted = load(f"C-1,{phone(1)},Ada,,\n", mapping=MAPPING.replace('"Demo"', '"Nowhere"'))
    assert (inserted.code, inserted.fates) == (1, {2: "rejected/unknown_campaign"})

    def answer(form: dict[str, str]) -> bytes:
        is_search = form.get("Action") == "SearchLead"
        return http_reply(found() if is_search else "<br><br>Result: CURL error[500]: Lead not found.")

    updated = load(f",{phone(1)},Ada,,\n", mapping=BY_PHONE, into=raw_vendor(answer))
    assert (updated.code, updated.fates) == (1, {2: "rejected/not_found"})
    assert [len(result.json["rejected"]) for result in (inserted, updated)] == [1, 1]


def test_people_are_told_what_it_is_made_of(leads: Leads) -> None:
    """Its steps, their scripts and sources, and what a doubt about its insert leads to."""
    told = leads("operations", "UpsertLead").out
    for words in ("LeadOperations.php", "InjectLead.php", "UpdateLead.php", "a search or an update is sent again"):
        assert words in told
    made_of = leads("operations", "UpsertLead", "--json").json["made_of"]
    assert made_of == ["LeadOperations.SearchLead", "InsertLead", "UpdateLead"]
    assert leads("operations", "InsertLead", "--json").json["made_of"] == []


# Clearing


def test_the_clear_token_clears_and_an_insert_sends_nothing_empty(load: Load, account: Account) -> None:
    """On a lead that is there the field is emptied; a new lead goes without it."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1", FirstName="Old", City="Bath")
    assert load(f"C-1,{phone(1)},,<clear>,\nC-2,{phone(2)},Ada,<clear>,\n").fates == {
        2: "accepted/updated",
        3: "accepted/inserted",
    }
    assert stored(account, "FirstName", "City") == [("Old", ""), ("Ada", "")]


@pytest.mark.parametrize("field", ["Subcampaign", "DuplicatesCheck", "ClientId", "PrimaryPhone", "SearchField"])
def test_what_an_update_does_not_send_can_not_be_cleared(field: str) -> None:
    """Such a row is invalid rather than cleared in silence by half."""
    columns = {"Id": ["C-1"], "Phone": [phone(1)], "First": ["x"], "City": ["y"], "Plan": [""], "Other": ["<clear>"]}
    fields = [line for line in MAPPING.splitlines() if not line.startswith(field)]
    toml = "\n".join([*fields, f'{field} = "Other"'])
    problems = checked(toml, columns).problems.to_pylist()
    assert (field, "not_clearable") in {(problem["field"], problem["rule"]) for problem in problems}


# By what a lead is looked up


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('ClientId = "Id"', {"ClientId:C-1"}),
        ("", {f"Phone:{phone(1)}"}),
        ('ClientId = "Id"\nSearchField = { value = "Phone" }', {f"Phone:{phone(1)}"}),
        ('ClientId = "Id"\nSearchField = "By"', {f"Phone:{phone(1)}"}),
    ],
)
def test_a_mapping_for_inserts_is_enough(lines: str, expected: set[str]) -> None:
    """ClientId where that is mapped, else the phone, unless the mapping says which."""
    toml = f"""
operation = "UpsertLead"
unmapped = "ignore"
[fields]
PrimaryPhone = "Phone"
Campaign = {{ value = "Demo" }}
{lines}
"""
    columns = {"Id": ["C-1"], "Phone": ["(202) 555-0101"], "By": ["Phone"]}
    done = checked(toml, columns)
    assert done.problems.num_rows == 0
    assert set(payloads.build(plan(toml, *columns), done.frame, TARGET).identifier.to_pylist()) == expected


@pytest.mark.parametrize(("by", "about"), [("ClientId", "ClientId:C-1"), ("Phone", f"Phone:{phone(1)}")])
@pytest.mark.parametrize("sub", ["", "a"])
def test_the_key_of_a_row_stays_as_it_is(by: str, about: str, sub: str) -> None:
    """Ledgers hold these keys: campaign and what the lead is looked up by count, subcampaign and ClientId don't."""
    toml = MAPPING + f'SearchField = {{ value = "{by}" }}\nSubcampaign = {{ value = "{sub}" }}\n'
    columns = {"Id": ["C-1"], "Phone": [phone(1)], "First": ["x"], "City": [""], "Plan": [""]}
    parts = (TARGET.url, TARGET.account, "UpsertLead", "Demo", "", "", about)
    text = "".join(f"{len(part)}:{part}" for part in parts)
    made = payloads.build(plan(toml, *columns), checked(toml, columns).frame, TARGET)
    assert made.row_key.to_pylist() == [hashlib.sha256(text.encode()).hexdigest()[:32]]


def test_a_row_without_what_it_is_looked_up_by_is_invalid(load: Load, account: Account) -> None:
    """It is not looked up by something else instead: who it is about is not to be guessed."""
    assert load(f",{phone(1)},Ada,,\n").fates == {2: "invalid/missing"}
    by_lead_id = MAPPING + 'SearchField = { value = "LeadId" }\n'
    refused = load(f"C-1,{phone(1)},Ada,,\n", mapping=by_lead_id)
    assert (refused.code, "[fields] SearchField: must be one of ClientId, Phone" in refused.err) == (2, True)
    assert account.requests == 0


def test_a_mapping_that_lacks_what_leads_are_looked_up_by_is_refused() -> None:
    """Where it says ClientId, it must have one."""
    toml = BY_PHONE + 'SearchField = { value = "ClientId" }\n'
    with pytest.raises(UserError, match="SearchField looks leads up by ClientId: add that under"):
        plan(toml, "Phone", "First", "City", "Plan")
    with pytest.raises(UserError, match="UpsertLead needs PrimaryPhone: add it under"):
        plan(BY_PHONE.replace('PrimaryPhone = "Phone"\n', ""), "First", "City", "Plan")


# Where it is looked for

HERE = {"Campaign": "Demo", "Subcampaign": "a"}


@pytest.mark.parametrize(
    ("check", "there", "fate"),
    [
        ("", HERE, "updated"),
        ("", HERE | {"Subcampaign": "b"}, "updated"),
        ("", HERE | {"Campaign": "Spring Renewals"}, "inserted"),
        ("0", HERE | {"Subcampaign": "b"}, "updated"),
        ("1", HERE | {"Campaign": "Spring Renewals"}, "inserted"),
        ("2", HERE | {"Campaign": "Spring Renewals"}, "updated"),
        ("3", HERE, "updated"),
        ("3", HERE | {"Subcampaign": "b"}, "inserted"),
        ("3", HERE | {"Campaign": "Spring Renewals"}, "inserted"),
    ],
)
def test_a_lead_is_looked_for_where_it_would_be_a_duplicate(
    load: Load, account: Account, check: str, there: dict[str, str], fate: str
) -> None:
    """In the campaign, in all, or in the subcampaign, as DuplicatesCheck says; an update never moves a lead."""
    account.insert(phone(1), FirstName="Old", **there)
    line = f'DuplicatesCheck = {{ value = "{check}" }}' if check else ""
    mapping = BY_PHONE.replace(next(x for x in BY_PHONE.splitlines() if "DuplicatesCheck" in x), line)
    result = load(f",{phone(1)},New,,\n", mapping=mapping + 'Subcampaign = { value = "a" }\n')
    assert result.fates == {2: f"accepted/{fate}"}
    first, *rest = stored(account, "Campaign", "Subcampaign", "FirstName")
    assert first == (there["Campaign"], there["Subcampaign"], "New" if fate == "updated" else "Old")
    assert rest == ([] if fate == "updated" else [("Demo", "a", "New")])


# Several


def twins(account: Account) -> None:
    """Two leads with one phone in one campaign."""
    for client_id in ("T-1", "T-2"):
        account.insert(phone(1), Campaign="Demo", ClientId=client_id, FirstName="Old", DuplicatesCheck="1")


def test_several_matches_are_left_alone(leads: Leads, load: Load, account: Account) -> None:
    """The row is skipped, with the leads in `result` and their ids in the message; the summary says what to do."""
    twins(account)
    result = load(f",{phone(1)},New,,\n", mapping=BY_PHONE)
    assert (result.code, result.fates) == (0, {2: "skipped/several_matches"})
    told = result.by_row[2]
    assert (told["attempts"], told["lead_id"]) == (0, None)
    assert [lead["id"] for lead in json.loads(told["result"])["Leads"]] == [1, 2]
    assert told["message"] == "2 leads match (1, 2): none was changed"
    assert stored(account, "FirstName") == [("Old",), ("Old",)]
    assert "--update-all" in leads("show").out
    again = load(f",{phone(1)},New,,\n", mapping=BY_PHONE)
    assert again.fates == {2: "skipped/several_matches"}  # it was not delivered, so the ledger does not skip it


def test_all_matches_are_updated_where_that_is_asked_for(load: Load, account: Account) -> None:
    """One outcome for the row; every lead has its values and keeps its own ClientId."""
    twins(account)
    result = load(f",{phone(1)},New,,\n,{phone(2)},Ada,,\n", "--update-all", mapping=BY_PHONE)
    assert result.fates == {2: "accepted/updated", 3: "accepted/inserted"}
    assert (result.by_row[2]["attempts"], result.by_row[2]["lead_id"]) == (2, None)
    assert stored(account, "ClientId", "FirstName")[:2] == [("T-1", "New"), ("T-2", "New")]
    assert json.loads((result.folder / "manifest.json").read_text())["options"]["update_all"] is True


def test_the_worst_of_several_updates_is_the_rows_outcome(load: Load, start_account: Callable[..., Account]) -> None:
    """The lead that could not be changed is named; the other one is changed all the same."""
    faults = ["none", "none", "none", "curl_7", "curl_7", "none"]
    account = start_account(plan={phone(1): faults})
    twins(account)
    result = load(f",{phone(1)},New,,\n", "--update-all", "--attempts", 2, mapping=BY_PHONE, into=account)
    assert result.fates == {2: "failed/dialer_unreachable"}
    assert result.by_row[2]["message"].startswith("lead 1: ")
    assert result.by_row[2]["attempts"] == 3
    assert stored(account, "FirstName") == [("Old",), ("New",)]


def test_only_operations_that_look_up_first_update_all(leads: Leads, home: Path, account: Account) -> None:
    """The flag is refused where it would mean nothing; nothing is sent."""
    write(home / "a.csv", f"Phone\n{phone(1)}\n")
    write(home / "m.toml", 'operation = "InsertLead"\n[fields]\nPrimaryPhone = "Phone"\nCampaign = { value = "Demo" }')
    result = leads("load", "a.csv", "-m", "m.toml", "--update-all", env=account.env)
    assert (result.code, account.requests) == (2, 0)
    assert "--update-all: InsertLead looks no leads up before it sends" in result.err


# The ledger, and order


def test_the_latest_payload_of_a_lead_is_not_sent_again(load: Load, account: Account) -> None:
    """The same row twice is sent once; a changed one goes, and so does one that was changed back; --again sends all."""
    cities = ("Bath", "Bath", "Salem", "Bath", "Bath")
    fates = [load(f"C-1,{phone(1)},Ada,{city},\n").fates[2] for city in cities]
    assert fates == [
        "accepted/inserted",
        "skipped/already_loaded",
        "accepted/updated",
        "accepted/updated",
        "skipped/already_loaded",
    ]
    assert stored(account, "City") == [("Bath",)]
    assert load(f"C-1,{phone(1)},Ada,Bath,\n", "--again").fates == {2: "accepted/updated"}


def test_a_lead_in_each_campaign_has_a_ledger_of_its_own(load: Load, account: Account) -> None:
    """What one campaign got neither skips nor supersedes what is for the other."""
    other = MAPPING.replace('"Demo"', '"Spring Renewals"')
    rows = f"C-1,{phone(1)},Ada,,\n"
    assert load(rows).fates == load(rows, mapping=other).fates == {2: "accepted/inserted"}
    assert load(rows).fates == load(rows, mapping=other).fates == {2: "skipped/already_loaded"}


def test_a_subcampaign_that_changes_and_changes_back_is_sent(load: Load, account: Account) -> None:
    """It is no part of what tells one lead from another, so that the latest payload is the latest."""
    fates = []
    for sub, city in (("a", "Bath"), ("b", "Salem"), ("a", "Bath")):
        mapping = MAPPING + f'Subcampaign = {{ value = "{sub}" }}\n'
        fates.append(load(f"C-1,{phone(1)},Ada,{city},\n", mapping=mapping).fates[2])
    assert fates == ["accepted/inserted", "accepted/updated", "accepted/updated"]
    assert stored(account, "City", "Subcampaign") == [("Bath", "a")]


@pytest.mark.parametrize("mapping", [MAPPING, BY_PHONE])
def test_rows_of_one_lead_keep_their_order(load: Load, account: Account, mapping: str) -> None:
    """The first inserts, the others update, one at a time and in the order of the file, however many go at once."""
    rows = "".join(f"C-{number % 3},{phone(number % 3)},N{number},,\n" for number in range(24))
    result = load(rows, mapping=mapping + '[policy]\nduplicates_in_file = "keep"\n')
    assert set(result.json["codes"]) == {"accepted/inserted", "accepted/updated"}
    assert (len(stored(account, "id")), account.see("state")["stored_twice"]) == (3, 0)
    assert {lead["PrimaryPhone"]: lead["FirstName"] for lead in account.see("leads")} == {
        phone(number): f"N{number + 21}" for number in range(3)
    }
    assert account.see("state")["same_phone_in_flight"] == 0


def test_repeats_in_a_file_are_told_by_the_field_that_repeats(load: Load, account: Account) -> None:
    """A row of a lead that an earlier row names is skipped, or a problem of that field where the policy says so."""
    rows = f"C-1,{phone(1)},Ada,,\nC-1,{phone(2)},Ben,,\nC-2,{phone(1)},Cy,,\n"
    assert load(rows, "--limit", 0).fates[3] == "skipped/duplicate_in_file"
    result = load(rows, mapping=MAPPING + '[policy]\nduplicates_in_file = "error"\n')
    assert result.fates == {2: "invalid/duplicate_in_file", 3: "invalid/duplicate_in_file", 4: "accepted/inserted"}
    (problem,) = result.by_row[2]["problems"]
    assert (problem["field"], problem["value"]) == ("ClientId", "C-1")


# People


def test_who_is_inserted_may_be_dialed_and_who_is_updated_is_not(load: Load, home: Path, account: Account) -> None:
    """A run that may dial needs the same words as one of inserts; suppressed numbers are left alone."""
    account.insert(phone(1), Campaign="Demo", ClientId="C-1")
    write(home / "dnc.csv", f"{phone(3)}\n")
    mapping = MAPPING + '[policy]\ndialing = "immediate"\nsuppress = "dnc.csv"\n'
    rows = "".join(f"C-{number},{phone(number)},Ada,,\n" for number in (1, 2, 3))
    write(home / "up.toml", mapping)
    refused = load(rows, mapping=mapping)
    assert (refused.code, refused.out) == (2, "")
    assert "--max-contacts" in refused.err
    assert load(rows, "--max-contacts", 1, mapping=mapping).code == 2
    result = load(rows, "--max-contacts", 2, mapping=mapping)
    assert result.fates == {2: "accepted/updated", 3: "accepted/inserted", 4: "skipped/suppressed"}
    assert [dial["phone"] for dial in account.dials()] == [phone(2)]


# When something goes wrong


@pytest.mark.parametrize("fault", ["stored_reset", "stored_504", "stored_empty", "stored_curl_28", "stored_html"])
def test_an_insert_that_may_have_arrived_is_looked_up(
    load: Load, start_account: Callable[..., Account], fault: str
) -> None:
    """It is there: accepted, reconciled, and stored once, though the vendor would have stored it twice."""
    account = start_account(plan={phone(1): ["none", fault]})
    result = load(f",{phone(1)},Ada,,\n", mapping=BY_PHONE, into=account)
    assert (result.code, result.fates) == (0, {2: "accepted/inserted"})
    told = result.by_row[2]
    assert (told["reconciled"], told["attempts"], told["lead_id"]) == (True, 1, "1")
    assert stored(account, "FirstName") == [("Ada",)]


@pytest.mark.parametrize("fault", ["reset", "http_502", "http_429", "curl_7", "close"])
def test_an_insert_that_did_not_arrive_is_sent_again(
    load: Load, start_account: Callable[..., Account], fault: str
) -> None:
    """At once where nothing was delivered, after two looks where that was in doubt; it is stored once."""
    account = start_account(plan={phone(1): ["none", fault]})
    result = load(f",{phone(1)},Ada,,\n", mapping=BY_PHONE, into=account)
    assert result.fates == {2: "accepted/inserted"}
    assert result.by_row[2]["attempts"] == 2
    assert stored(account, "FirstName") == [("Ada",)]


@pytest.mark.parametrize(("fault", "code"), [("http_502", "http_502"), ("reset", "no_reply"), ("curl_7", None)])
def test_without_an_answer_of_the_search_nothing_is_sent(
    load: Load, start_account: Callable[..., Account], fault: str, code: str | None
) -> None:
    """The row is failed with what the search met, after its attempts; and it is sent by the next load."""
    account = start_account(plan={phone(1): ["none", fault, fault]})
    account.insert(phone(1), Campaign="Demo", FirstName="Old")
    result = load(f",{phone(1)},New,,\n", "--attempts", 2, mapping=BY_PHONE, into=account)
    told = result.by_row[2]
    assert (result.code, told["status"], told["attempts"], told["first_sent_at"]) == (1, "failed", 0, None)
    assert code is None or told["code"] in (code, "connection_reset")
    assert stored(account, "FirstName") == [("Old",)]
    assert load(f",{phone(1)},New,,\n", mapping=BY_PHONE, into=account).fates == {2: "accepted/updated"}


@pytest.mark.parametrize(
    "answer",
    [
        found(PrimaryPhone=phone(2)),
        found(PrimaryPhone=None),
        found(id=None),
        found(id=True),
        '{"id":7,"LeadExists":true}',
        json.dumps({"Leads": [{"id": 7, "PrimaryPhone": phone(1)}, {"id": 8, "PrimaryPhone": phone(2)}]}),
    ],
    ids=["another phone", "no phone", "no id", "id that is none", "no details", "one of two"],
)
def test_an_answer_that_may_be_about_others_changes_nobody(
    load: Load, raw_vendor: Callable[..., RawVendor], answer: str
) -> None:
    """An update by id changes whomever the id names: a lead that does not show the row's own phone is not touched."""
    vendor = raw_vendor(lambda _: http_reply(answer))
    result = load(f",{phone(1)},New,,\n", mapping=BY_PHONE, into=vendor)
    assert (result.code, result.fates) == (1, {2: "failed/unclear_match"})
    assert [form["Action"] for form in vendor.forms] == ["SearchLead"]


def test_a_phone_that_the_vendor_writes_otherwise_is_the_same(load: Load, raw_vendor: Callable[..., RawVendor]) -> None:
    """Digits count, not what stands between them."""

    def answer(form: dict[str, str]) -> bytes:
        is_search = form.get("Action") == "SearchLead"
        return http_reply(found(PrimaryPhone="+1 (202) 555-0101") if is_search else "<br><br>Result:  OK")

    vendor = raw_vendor(answer)
    assert load(f",{phone(1)},New,,\n", mapping=BY_PHONE, into=vendor).fates == {2: "accepted/updated"}
    update = vendor.forms[1]
    assert {name: update[name] for name in update if name not in ("token", "accid")} == {
        "SearchField": "LeadId",
        "Identifier": "7",
        "FirstName": "New",
    }


def test_an_update_that_may_have_arrived_is_repeated(load: Load, start_account: Callable[..., Account]) -> None:
    """Repeating it changes nothing; one that never gets an answer is unknown, and settled by the next load."""
    account = start_account(plan={phone(1): ["none", "none", "stored_502", "none", "none", "reset", "reset"]})
    account.insert(phone(1), Campaign="Demo", FirstName="Old")
    first = load(f",{phone(1)},New,,\n", "--attempts", 2, mapping=BY_PHONE, into=account)
    assert first.fates == {2: "accepted/updated"}
    assert first.by_row[2]["attempts"] == 2
    second = load(f",{phone(1)},Newer,,\n", "--attempts", 2, mapping=BY_PHONE, into=account)
    assert (second.code, second.by_row[2]["status"]) == (5, "unknown")
    third = load(f",{phone(1)},Newer,,\n", mapping=BY_PHONE, into=account)
    assert (third.code, third.fates) == (0, {2: "accepted/updated"})
    assert stored(account, "FirstName") == [("Newer",)]


def test_refused_credentials_are_noticed_by_the_search(load: Load, start_account: Callable[..., Account]) -> None:
    """Nothing is sent with them; the run halts as any other."""
    account = start_account(token="another")
    rows = "".join(f"C-{number},{phone(number)},Ada,,\n" for number in range(100))
    result = load(rows, "--concurrency", 4, into=account)
    assert result.code == 77
    assert set(operations(account)) == {"LeadOperations.SearchLead"}
    assert len(operations(account)) <= 4


# Runs that ended, and runs that go on


def dies_while_sending(row: dict[str, Any], account: Account, digest: str = "another") -> None:
    """What a run that was killed leaves: this row, which was being sent."""
    state = statedb.engine(os.environ["LEADS_STATE"])
    scope = journal.Scope("earlier", f"sandbox@{account.url}", "UpsertLead")
    identifier = f"Phone:{row['phone']}"
    payload = Payload(0, 2, row["row_key"], row["phone"], identifier, row["client_id"], b"", digest)

    async def begin() -> None:
        with journal.open_journal(state, scope) as written:
            assert await written.begin(payload, 0)

    asyncio.run(begin())


@pytest.mark.parametrize("there", [0, 1, 2])
@pytest.mark.parametrize("again", [(), ("--again",)])
def test_a_row_that_a_dead_run_was_sending_begins_anew(
    leads: Leads, load: Load, account: Account, there: int, again: tuple[str, ...]
) -> None:
    """Nobody there, and again nobody: inserted once. There, with whatever values: updated. Several: left alone."""
    rows = f",{phone(1)},New,,\n"
    (row,) = load(rows, "--limit", 0, mapping=BY_PHONE).rows
    dies_while_sending(row, account)
    for client_id in ("x", "y")[:there]:
        account.insert(phone(1), Campaign="Demo", ClientId=client_id, FirstName="Old", DuplicatesCheck="1")
    before = account.requests
    result = load(rows, *again, mapping=BY_PHONE)
    assert result.fates == {2: ["accepted/inserted", "accepted/updated", "skipped/several_matches"][there]}
    assert (
        operations(account)[before:]
        == [
            ["LeadOperations.SearchLead", "LeadOperations.SearchLead", "InsertLead"],
            ["LeadOperations.SearchLead", "UpdateLead"],
            ["LeadOperations.SearchLead"],
        ][there]
    )
    assert stored(account, "FirstName") == [[("New",)], [("New",)], [("Old",), ("Old",)]][there]


def test_a_doubt_is_settled_when_its_run_goes_on(
    leads: Leads, load: Load, start_account: Callable[..., Account]
) -> None:
    """The insert was stored, and no look could tell: reconciling finds a lead and brings it up to date."""
    account = start_account(plan={phone(1): ["none", "stored_reset", "http_502"]})
    result = load(f",{phone(1)},Ada,,\n", "--attempts", 1, mapping=BY_PHONE, into=account)
    assert (result.code, result.by_row[2]["status"]) == (5, "unknown")
    settled = leads("reconcile", "--json", env=account.env)
    assert (settled.code, settled.fates) == (0, {2: "accepted/updated"})
    assert settled.by_row[2]["attempts"] == 2
    assert stored(account, "FirstName") == [("Ada",)]


def test_a_run_that_goes_on_still_updates_all(leads: Leads, load: Load, start_account: Callable[..., Account]) -> None:
    """The flag is the run's, and so is a doubt about one of several updates."""
    account = start_account(plan={phone(1): ["none", "none", "none", "none", "reset"]})
    twins(account)
    result = load(f",{phone(1)},New,,\n", "--update-all", "--attempts", 1, mapping=BY_PHONE, into=account)
    assert result.by_row[2]["status"] == "unknown"
    assert stored(account, "FirstName") == [("New",), ("Old",)]
    settled = leads("resume", "--json", env=account.env)
    assert settled.fates == {2: "accepted/updated"}
    assert stored(account, "FirstName") == [("New",), ("New",)]


def test_a_doubt_does_not_undo_what_was_delivered_later(
    leads: Leads, load: Load, start_account: Callable[..., Account]
) -> None:
    """A row in doubt that a later run has overtaken is skipped when its own run goes on."""
    account = start_account(plan={phone(1): ["none", "stored_reset", "http_502"]})
    first = load(f",{phone(1)},Old,,\n", "--attempts", 1, mapping=BY_PHONE, into=account)
    write(Path("b.csv"), HEADER + f",{phone(1)},New,,\n")
    later = leads("load", "b.csv", "-m", "up.toml", "--json", "--settle", 0, env=account.env)
    assert later.fates == {2: "accepted/updated"}
    resumed = leads("resume", first.json["run_id"], "--json", env=account.env)
    assert resumed.fates == {2: "skipped/superseded"}
    assert stored(account, "FirstName") == [("New",)]


# Reading back


def test_what_was_inserted_and_what_was_updated_can_be_read_back(
    load: Load, start_account: Callable[..., Account]
) -> None:
    """Leads are found as the rows found them, and compared with what was sent to them; codes stay as they were."""
    account = start_account(latin_only=True)
    account.insert(phone(1), Campaign="Demo", Subcampaign="x", ClientId="C-1", FirstName="Old", Rep="ann")
    rows = f",{phone(1)},New,,gold\n,{phone(2)},Ada,,\n,{phone(3)},\u738b,,\n"
    mapping = BY_PHONE + 'Subcampaign = { value = "y" }\n[policy]\nclient_id = "none"\n'
    result = load(rows, "--verify", "100%", mapping=mapping, into=account)
    assert result.fates == {2: "accepted/updated", 3: "accepted/inserted", 4: "accepted/stored_differently"}
    assert result.json["read_back"] == {"matches": 2, "differs": 1}


def test_a_false_ok_is_found_by_reading_back(load: Load, start_account: Callable[..., Account]) -> None:
    """The vendor said OK to the insert and stored nothing."""
    account = start_account(plan={phone(1): ["none", "false_ok"]})
    result = load(f",{phone(1)},Ada,,\n", "--canary", 1, mapping=BY_PHONE, into=account)
    assert (result.code, result.fates) == (3, {2: "failed/false_ok"})
