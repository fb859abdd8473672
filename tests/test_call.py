"""`leads call`: one call by hand, through the same line as a list."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BOTH, Account, Leads, in_state, phone, state_now, write, write_csv

from pipeline import lock, records
from schemas.catalogue import CATALOGUE

CONTACTS = [name for name, operation in CATALOGUE.items() if operation.frees_people or operation.contacts("immediate")]


@BOTH
def test_a_call_is_validated_recorded_and_told(leads: Leads, home: Path, account: Account) -> None:
    """Its row has the report's columns, its run a folder, and the journal the request."""
    result = leads("call", "InsertLead", "Campaign=Demo", "PrimaryPhone=(202) 555-0142", "--json", env=account.env)
    assert result.code == 0
    assert (result.json["status"], result.json["phone"], result.json["row"]) == ("accepted", "2025550142", 1)
    assert [repair["rule"] for repair in result.json["repairs"]] == ["phone_format"]
    assert set(account.leads()) == {"2025550142"}
    (stored,) = account.leads().values()
    assert stored["Campaign"] == "Demo"
    story = leads("explain", result.json["run_id"], "--row", 1, "--json").json
    assert [request["code"] for request in story["requests"]] == ["ok"]
    assert in_state("SELECT status FROM sends") == [("accepted",)]


def test_an_inserted_lead_is_imported_only_unless_it_is_said_otherwise(leads: Leads, account: Account) -> None:
    """ImportOnly is 1 by itself; with ImportOnly=0 the hour is checked unless timezone=0 is given, too."""
    fields = ("Campaign=Demo", "--yes")
    leads("call", "InsertLead", f"PrimaryPhone={phone(1)}", *fields, env=account.env)
    assert account.dials() == []
    leads("call", "InsertLead", f"PrimaryPhone={phone(2)}", "ImportOnly=0", "timezone=0", *fields, env=account.env)
    assert [dial["phone"] for dial in account.dials()] == [phone(2)]
    sent = [request for request in account.see("requests") if request["operation"] == "InsertLead"]
    assert len(sent) == 2


@pytest.mark.parametrize("operation", sorted(CONTACTS))
def test_nobody_is_reached_without_an_answer(
    leads: Leads, account: Account, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What rings, texts, joins or frees people asks first; where nobody answers, nothing is sent."""
    with open("/dev/null", encoding="utf-8") as nobody:  # noqa: PTH123 a device
        monkeypatch.setattr("sys.stdin", nobody)
        names = CATALOGUE[operation]
        fields = [f"{field.name}={example(field)}" for field in names.fields if field.required]
        if names.dialing:
            fields.append("ImportOnly=0")
        env = account.env | {"DIALOGTECH_KEY": "sandbox-key", "DIALOGTECH_BASE_URL": account.url}
        result = leads("call", operation, *fields, env=env)
    assert result.code == 2
    assert "--yes" in result.err
    assert account.requests == 0


def example(field) -> str:
    if field.choices:
        return field.choices[0]
    if field.number:
        return str(field.number.least)
    return "2025550142" if field.cleaner != "text" else "Demo"


def test_a_call_is_never_skipped(leads: Leads, account: Account) -> None:
    """The vendor decides about duplicates: the same call goes out as often as it is made."""
    call = ("call", "InsertLead", "Campaign=Demo", f"PrimaryPhone={phone(1)}", "--json")
    assert [leads(*call, env=account.env).json["status"] for _ in range(2)] == ["accepted", "duplicate"]
    assert account.requests == 2


def test_a_doubt_where_the_lead_was_there_before_stays_one(leads: Leads, start_account: Callable[..., Account]) -> None:
    """A search would find the lead of the first call, and say nothing of the second."""
    account = start_account(plan={phone(1): ["none", "reset"]})
    call = ("call", "InsertLead", "Campaign=Demo", f"PrimaryPhone={phone(1)}", "DuplicatesCheck=1", "--settle", "0.1")
    assert leads(*call, "--json", env=account.env).json["status"] == "accepted"
    second = leads(*call, "--json", env=account.env)
    assert (second.code, second.json["status"]) == (5, "unknown")
    third = leads(*call, "--json", env=account.env)
    assert (third.json["status"], third.json["code"]) == ("unknown", "in_doubt_elsewhere")


def test_a_doubt_of_a_first_call_is_looked_up(leads: Leads, start_account: Callable[..., Account]) -> None:
    """As in a list."""
    account = start_account(plan={phone(1): ["stored_reset"]})
    fields = ("Campaign=Demo", f"PrimaryPhone={phone(1)}")
    result = leads("call", "InsertLead", *fields, "--settle", "0.1", "--json", env=account.env)
    assert (result.json["status"], result.json["reconciled"]) == ("accepted", True)


def test_an_invalid_call_is_told_and_not_sent(leads: Leads, account: Account) -> None:
    """By the same schema; no file to mend is made of it."""
    result = leads("call", "InsertLead", "Campaign=Demo", "PrimaryPhone=12", "--json", env=account.env)
    assert (result.code, result.json["code"]) == (1, "bad_phone")
    assert account.requests == 0
    assert list(Path("runs").glob("*/rejected*")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["InsertLaed"], "did you mean 'InsertLead'"),
        (["InsertLead", "Campain=Demo"], "did you mean 'Campaign'"),
        (["InsertLead", "Campaign=Demo"], "needs PrimaryPhone"),
        (["InsertLead", "hunter2-secret"], "argument 1 is not of the form Field=Value"),
        (["InsertLead", "Campaign=A", "Campaign=B"], "given twice"),
        (["InsertLead", "Campaign=A", f"PrimaryPhone={phone(1)}", "ImportOnly=maybe"], "give 0 or 1"),
    ],
)
def test_what_cannot_be_called_is_named(leads: Leads, account: Account, arguments: list[str], words: str) -> None:
    """One line that says what and where; what may be a secret is not repeated."""
    result = leads("call", *arguments, env=account.env)
    assert (result.code, account.requests) == (2, 0)
    assert words in result.err
    assert "hunter2" not in result.err


@BOTH
def test_a_call_goes_on_beside_a_run_and_is_not_taken_for_dead(home: Path, leads: Leads, account: Account) -> None:
    """Whoever begins a run gives up on what dead runs left, and leaves a living call alone."""
    leads("call", "InsertLead", "Campaign=Demo", f"PrimaryPhone={phone(1)}", env=account.env)
    state = state_now()
    in_state("UPDATE sends SET state = 'sending', status = NULL")
    ((scope,),) = in_state("SELECT account FROM sends")
    with lock.beside(state, scope), lock.nobody_beside(state, scope) as alone:
        assert not alone
        assert records.bury(state, scope, 1, all_dead=alone) == 0
    with lock.nobody_beside(state, scope) as alone:
        assert alone
        assert records.bury(state, scope, 1, all_dead=alone) == 1


@BOTH
def test_a_call_is_made_while_a_run_holds_the_account(home: Path, leads: Leads, account: Account) -> None:
    """It takes no lock."""
    with lock.held(state_now(), f"sandbox@{account.url}", "another"):
        result = leads("call", "InsertLead", "Campaign=Demo", f"PrimaryPhone={phone(1)}", env=account.env)
    assert result.code == 0


def test_a_do_not_call_mark_may_be_set_for_whoever_was_forgotten(leads: Leads, home: Path, account: Account) -> None:
    """No list of people who must not be called holds back what protects them."""
    listed = write_csv(home / "dnc.csv", [["Phone"], [phone(1)]])
    write(
        home / "m.toml",
        'operation = "LeadOperations.InsertDnc"\n[fields]\nNumber = "Phone"\n[policy]\nsuppress = "dnc.csv"\n',
    )
    result = leads("load", listed, "-m", "m.toml", "--json", env=account.env)
    assert result.json["counts"] == {"accepted": 1}


def test_operations_and_fields_complete_in_the_shell(leads: Leads) -> None:
    """As click does it for bash, zsh and fish."""
    env = {"_LEADS_COMPLETE": "bash_complete", "COMP_WORDS": "leads call InsertLead Prim", "COMP_CWORD": "3"}
    assert "PrimaryPhone=" in leads(env=env).out
    env = {"_LEADS_COMPLETE": "bash_complete", "COMP_WORDS": "leads call Lead", "COMP_CWORD": "2"}
    assert "LeadOperations.SearchLead" in leads(env=env).out


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_operation_shows_an_example_that_is_one(leads: Leads, name: str) -> None:
    """The mapping parses, and the call names real fields and all that are required."""
    told = leads("operations", name, "--json").json
    call = told["example_call"]
    assert call.startswith(f"leads call {name} ")
    assert all(f"{field.name}=" in call for field in CATALOGUE[name].fields if field.required)
    assert told["example_mapping"].startswith(f'operation = "{name}"')
    assert len(told["rules"]) == len(CATALOGUE[name].rules)
    assert json.dumps(told)
