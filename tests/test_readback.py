"""Read-back: which rows are looked up, and what the answer says of what the vendor has stored."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from conftest import Account, phone
from hypothesis import given
from hypothesis import strategies as st

from pipeline.doubt import search_form
from pipeline.model import Judgement, Payload, Reply, UserError
from pipeline.readback import Difference, Finding, Kind, Reading, Sample, compare
from pipeline.replies import judge
from schemas.catalogue import CATALOGUE
from schemas.dialedin import INSERT_LEAD, SEARCH_LEAD, UPDATE_LEAD
from schemas.spec import Effect, Field, Operation

NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
MATCHES, DIFFERS, MISSING, UNCLEAR = Finding.MATCHES, Finding.DIFFERS, Finding.MISSING, Finding.UNCLEAR
DROPPED, TRUNCATED, REPLACED, CHANGED = Kind.DROPPED, Kind.TRUNCATED, Kind.REPLACED, Kind.CHANGED
LEAD = {"Campaign": "Spring Renewals", "PrimaryPhone": phone(1), "ClientId": "c-1"}


def payload(sent: Mapping[str, str]) -> Payload:
    """The row's payload as it went out."""
    body = urlencode({**LEAD, **sent}).encode()
    return Payload(0, 2, "0" * 32, LEAD["PrimaryPhone"], "ClientId:c-1", "c-1", body, "")


def answer(body: str) -> Judgement:
    """What the reply to the search means."""
    return judge(SEARCH_LEAD, Reply(200, body), NOW)


def read(sent: Mapping[str, str], *leads: Mapping[str, Any], operation: Operation = INSERT_LEAD) -> Reading:
    """The row read back, where a search finds these leads under its ClientId and phone."""
    found = json.dumps({"Leads": [{"id": 4711, **LEAD, **lead} for lead in leads]})
    return compare(operation, payload(sent), answer(found))


def kinds(reading: Reading) -> dict[str, Kind]:
    """What became of each field that differs."""
    assert (reading.finding is DIFFERS) == bool(reading.differences)
    return {difference.field: difference.kind for difference in reading.differences}


# --- the sample


@pytest.mark.parametrize(
    ("text", "accepted", "size"),
    [
        ("50", 1000, 50),
        ("50", 50, 50),
        ("50", 7, 7),
        (" 50 ", 1000, 50),
        ("0", 1000, 0),
        ("50", 0, 0),
        ("5%", 1000, 50),
        ("5%", 1001, 51),
        ("5%", 1, 1),
        ("5%", 0, 0),
        ("7%", 100, 7),
        ("0%", 1000, 0),
        ("100%", 1000, 1000),
    ],
)
def test_a_sample_is_a_number_or_a_share(text: str, accepted: int, size: int) -> None:
    """A number is taken as far as there are rows; a share is rounded up, exactly."""
    assert Sample.parse(text).size(accepted) == size


@pytest.mark.parametrize(
    "text", ["", "%", "-1", "1.5", "101%", "5%%", "5 %", "all", "1e3", "²", "\u0665", "+5", "9" * 5000, "50\n1"]
)
def test_other_samples_are_refused(text: str) -> None:
    """What is neither a whole number nor 0% to 100% is a mistake in usage."""
    with pytest.raises(UserError, match="give a number of accepted rows"):
        Sample.parse(text)


@given(st.integers(0, 300), st.integers(0, 300), st.booleans(), st.integers())
def test_a_sample_is_chosen_among_all_rows(number: int, total: int, share: bool, seed: int) -> None:
    """As many different positions as its size, in order; and the same chance chooses the same."""
    sample = Sample.parse(f"{min(number, 100)}%" if share else str(number))
    chosen = sample.choose(total, random.Random(seed))
    assert chosen == sorted(set(chosen)) == sample.choose(total, random.Random(seed))
    assert len(chosen) == sample.size(total)
    assert set(chosen) <= set(range(total))
    assert bool(chosen) == (number > 0 and total > 0)


# --- without a lead of ours


@pytest.mark.parametrize("body", ['{"Leads":[]}', '{"Leads":null}', "{}", '{"id":0,"LeadExists":false}'])
def test_a_clear_answer_that_nobody_is_there(body: str) -> None:
    """The OK was false."""
    reading = compare(INSERT_LEAD, payload({}), answer(body))
    assert reading == Reading(MISSING)
    assert reading.message == "the vendor said OK, and a search does not find the lead"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<br><br>Result:  OK",
        "<br><br>Result: CURL error[28]: timed out",
        "<br><br>Result: Invalid token",
        '{"id":4711,"LeadExists":true}',
        '{"Leads":[{"ClientId":"c-1"',
        '{"Leads":[{"id":4711}]}',
        json.dumps({"Leads": [{**LEAD, "PrimaryPhone": phone(2)}]}),
        json.dumps({"Leads": [{**LEAD, "ClientId": "c-2"}]}),
    ],
)
def test_what_tells_nothing_is_unclear(body: str) -> None:
    """No answer, no details, and leads that may not be ours neither confirm a row nor miss it."""
    reading = compare(INSERT_LEAD, payload({"City": "Reno"}), answer(body))
    assert reading == Reading(UNCLEAR)
    assert reading.message == "a search gave no clear answer, so what is stored is not known"


# --- what is compared


def test_a_lead_that_is_stored_as_sent_matches() -> None:
    """What the lead shows beyond what was sent is no difference."""
    reading = read({"City": "Reno", "Notes": "a\nb"}, {"City": "Reno", "Notes": "a\nb", "State": "NV", "Attempt": 0})
    assert reading == Reading(MATCHES)
    assert reading.message == "stored as it was sent"


def test_a_documented_column_that_is_not_shown_is_not_judged() -> None:
    """Which columns an answer shows is not known; one that it shows as nothing is dropped."""
    assert read({"City": "Reno"}, {"State": "NV"}).finding is MATCHES
    assert read({"City": "Reno"}, {"City": {"Id": 5, "Name": "Reno"}}).finding is MATCHES
    assert read({"City": "Reno"}, {"City": None}).differences == (Difference("City", "Reno", "", DROPPED),)
    assert kinds(read({"City": "Reno"}, {"City": ""})) == {"City": DROPPED}


def test_a_field_that_the_document_does_not_list_must_be_there() -> None:
    """Custom fields and the account's own columns that the lead doesn't show were dropped without a word."""
    reading = read({"adv_Policy__Number": "P-1", "SecondaryPhone": phone(2)}, {"City": "Reno"})
    assert reading.differences == (
        Difference("adv_Policy__Number", "P-1", None, DROPPED),
        Difference("SecondaryPhone", phone(2), None, DROPPED),
    )


@pytest.mark.parametrize("operation", [INSERT_LEAD, UPDATE_LEAD], ids=lambda o: o.name)
def test_instructions_are_not_compared(operation: Operation) -> None:
    """What says how to go about it is no column, whatever the lead shows under its name."""
    orders = {f.name: "1" for f in operation.fields if not f.stored}
    assert read(orders, {}, operation=operation).finding is MATCHES
    assert read(orders, dict.fromkeys(orders, "other"), operation=operation).finding is MATCHES
    fixed = replace(operation, fixed=MappingProxyType({"Action": "Insert"}))
    assert read({"Action": "Insert"}, {}, operation=fixed).finding is MATCHES


@pytest.mark.parametrize("operation", CATALOGUE.values(), ids=lambda o: o.name)
def test_what_is_no_column_is_declared_so(operation: Operation) -> None:
    """What the policy sets, what is looked up, and whatever goes with a call that stores nothing."""
    for field in operation.fields:
        reads, sought = operation.effect is Effect.READ, field.name in (operation.identifier or ())
        assert not (field.stored and (field.from_policy or reads or sought)), field.name


def test_the_columns_of_a_lead_are_declared_so() -> None:
    """The rest of an insert's fields are what a lead shows, and nothing else is."""
    assert {f.name for f in INSERT_LEAD.fields if f.stored} == {
        *("Campaign", "Subcampaign", "PrimaryPhone", "ClientId", "FirstName", "LastName", "Address", "City", "State"),
        *("ZipCode", "Rep", "CallStatus", "Notes"),
    }
    assert Field(name="Company").stored


def test_a_value_that_was_cleared_on_purpose_must_be_gone() -> None:
    """A field that was sent empty is stored as nothing, or not at all."""
    sent = {"City": "", "adv_Plan": ""}
    assert read(sent, {"City": "", "Custom": {"Plan": None}}).finding is MATCHES
    assert read(sent, {}).finding is MATCHES
    assert kinds(read(sent, {"City": "Reno", "Custom": {"Plan": "A"}})) == {"City": CHANGED, "adv_Plan": CHANGED}


# --- where custom fields may be

PLACES: dict[str, Callable[[Mapping[str, str]], Mapping[str, Any]]] = {
    "beside the columns": dict,
    "in an object": lambda fields: {"CustomFields": dict(fields)},
    "deep": lambda fields: {"Details": [{"Group": "x"}, {"Tables": {"Custom": [dict(fields)]}}]},
    "one object each": lambda fields: {"Custom": [{name: value} for name, value in fields.items()]},
    "pairs": lambda fields: {"Custom": [{"Key": name, "Value": value} for name, value in fields.items()]},
}
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as sent": lambda name: name,
    "spaces": lambda name: name.replace("__", " "),
    "bare": lambda name: name.removeprefix("adv_"),
    "bare with spaces": lambda name: name.removeprefix("adv_").replace("__", " "),
    "other case": lambda name: name.upper(),
    "bare, other case": lambda name: name.removeprefix("adv_").replace("__", " ").lower(),
}
places = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
spellings = pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)


@places
@spellings
def test_a_custom_field_is_found_wherever_it_is_shown(
    place: Callable[[Mapping[str, str]], Mapping[str, Any]], spelling: Callable[[str], str]
) -> None:
    """How an answer nests and spells custom fields is not known, so each way that makes sense is read."""
    name = spelling("adv_Policy__Number")
    assert read({"adv_Policy__Number": "P-12"}, place({name: "P-12"})).finding is MATCHES
    assert kinds(read({"adv_Policy__Number": "P-12"}, place({name: "P-1"}))) == {"adv_Policy__Number": TRUNCATED}


def test_a_custom_field_with_the_name_of_a_column_is_not_taken_for_it() -> None:
    """The lead's own City says nothing of a custom City, nor one field that was sent of another."""
    sent = {"City": "Reno", "adv_City": "Reno", "SecondaryPhone": phone(2), "adv_SecondaryPhone": phone(2)}
    columns = {"City": "Reno", "SecondaryPhone": phone(2)}
    assert kinds(read(sent, columns)) == {"adv_City": DROPPED, "adv_SecondaryPhone": DROPPED}
    custom = {"City": "Reno", "SecondaryPhone": phone(2)}
    assert read(sent, {**columns, "CustomFields": custom}).finding is MATCHES


def test_the_same_case_comes_first() -> None:
    """Another case is looked at only where the name itself is not there."""
    shown = {"Custom": {"POLICY": "P-1", "Policy": "P-2"}}
    assert read({"adv_Policy": "P-2"}, shown).finding is MATCHES
    assert kinds(read({"adv_Policy": "P-1"}, shown)) == {"adv_Policy": CHANGED}


def test_a_field_that_is_shown_twice_is_stored_if_either_is_as_sent() -> None:
    """Where none is, the outermost is what is told."""
    shown = {"History": [{"Policy": "P-0"}], "Policy": "P-2"}
    assert read({"adv_Policy": "P-0"}, shown).finding is MATCHES
    assert read({"adv_Policy": "P-1"}, shown).differences == (Difference("adv_Policy", "P-1", "P-2", CHANGED),)


# --- what is a difference


@pytest.mark.parametrize("field", ["Notes", "adv_Notes"])
@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("a b", "  a b\t"),
        (" a b ", "a b"),
        ("a\r\nb\r\n", "a\nb"),
        ("a\nb", "a\r\nb"),
        ("17", 17),
        ("17.50", 17.5),
        ("-0.5", -0.5),
        ("true", True),
        ("false", False),
        ("José 😀", "José 😀"),
    ],
)
def test_what_is_no_difference(field: str, sent: str, stored: object) -> None:
    """Blanks around a value, how lines end, and whether JSON writes text or number."""
    body = json.dumps({"Leads": [{**LEAD, field: stored}]}).replace("17.5}", "17.50}")  # as the vendor may write it
    assert compare(INSERT_LEAD, payload({field: sent}), answer(body)).finding is MATCHES


@pytest.mark.parametrize("stored", [phone(2), int(phone(2)), f"1{phone(2)}", f"+1 ({phone(2)[:3]}) {phone(2)[3:]}"])
def test_phones_are_compared_by_their_digits(stored: object) -> None:
    """However they are written; and a phone that lost a digit differs."""
    assert read({"SecondaryPhone": phone(2)}, {"SecondaryPhone": stored}).finding is MATCHES
    assert kinds(read({"adv_Claim": phone(2)}, {"adv_Claim": f"1{phone(2)}"})) == {"adv_Claim": CHANGED}
    cut = read({"SecondaryPhone": phone(2)}, {"SecondaryPhone": phone(2)[:-1]})
    assert kinds(cut) == {"SecondaryPhone": TRUNCATED}


@pytest.mark.parametrize("field", ["Notes", "adv_Notes"])
@pytest.mark.parametrize(
    ("sent", "stored", "kind"),
    [
        ("Reno", "Ren", TRUNCATED),
        ("New York", "New ", TRUNCATED),
        ("a\r\nb", "a", TRUNCATED),
        ("What? No!", "What?", TRUNCATED),
        ("Łódź", "?ód?", REPLACED),  # outside Latin-1
        ("Łódź", "??d?", REPLACED),  # ASCII alone
        ("€ 5 Ł", "€ 5 ?", REPLACED),  # Windows' Latin
        ("€ 5 Ł", "? 5 ?", REPLACED),  # Latin-1
        ("Hi 😀!", "Hi ?!", REPLACED),
        ("Hi 😀!", "Hi ??!", REPLACED),  # UTF-16 has two halves
        ("Łódź Fabryczna", "?ód? Fab", TRUNCATED),
        ("Reno", "Las Vegas", CHANGED),
        ("Reno", "Reno NV", CHANGED),
        ("Reno", "RENO", CHANGED),
        ("Reno", "Re?o", CHANGED),
        ("José", "JosÃ©", CHANGED),
        ("02139", 2139, CHANGED),
        ("a  b", "a b", CHANGED),
    ],
)
def test_what_became_of_a_value(field: str, sent: str, stored: object, kind: Kind) -> None:
    """Each way not to be stored as sent has its name, in a column and in a custom field."""
    reading = read({field: sent}, {field: stored})
    assert reading.differences == (Difference(field, sent, str(stored), kind),)


def test_of_several_leads_the_best_match_decides() -> None:
    """An older lead with the same ClientId and phone may be there; the row is stored if any is as it was sent."""
    sent = {"City": "Reno", "State": "NV"}
    older, cut = {"City": "Elko", "State": "UT"}, {"City": "Ren", "State": "NV"}
    assert read(sent, older, sent, cut).finding is MATCHES
    assert kinds(read(sent, older, cut)) == {"City": TRUNCATED}
    someone = {**sent, "PrimaryPhone": phone(2)}
    assert kinds(read(sent, someone, cut)) == {"City": TRUNCATED}


# --- what is told


def test_a_reading_in_words_and_as_json() -> None:
    """Words name the fields and no values; JSON has both, in the order in which they were sent."""
    reading = read({"City": "Łódź", "adv_Policy__Number": "P-1", "Notes": "a"}, {"City": "?ód?", "Notes": "a"})
    assert reading.message == "stored differently: City (replaced), adv_Policy__Number (dropped)"
    assert reading.as_json() == (
        '{"finding":"differs","differences":['
        '{"field":"City","sent":"Łódź","stored":"?ód?","kind":"replaced"},'
        '{"field":"adv_Policy__Number","sent":"P-1","stored":null,"kind":"dropped"}]}'
    )
    assert read({}, {}).as_json() == '{"finding":"matches","differences":[]}'


def test_half_a_character_can_be_reported() -> None:
    """A vendor that cuts through a character gives a text that no database takes; the report holds a "?" there."""
    reading = read({"City": "a😀"}, {"City": "a\ud83d\0"})
    assert kinds(reading) == {"City": CHANGED}
    assert json.loads(reading.as_json())["differences"][0]["stored"] == "a?\0"
    assert "\0" not in reading.as_json()


# --- what must always hold

VALUES = st.text(st.characters(codec="utf-8"), max_size=12)
COLUMNS = ("FirstName", "LastName", "Address", "City", "State", "Rep", "CallStatus", "Notes", "Subcampaign")
OTHERS = ("adv_Policy__Number", "adv_City", "adv_plan", "Company", "Other")
SENT = st.dictionaries(st.sampled_from(COLUMNS + OTHERS), VALUES)


def stored(sent: Mapping[str, str], place: str, spelling: str) -> dict[str, Any]:
    """A lead that has all that was sent, with its custom fields somewhere under some name."""
    custom = {SPELLINGS[spelling](name): value for name, value in sent.items() if name.startswith("adv_")}
    columns = {name: value for name, value in sent.items() if not name.startswith("adv_")}
    return {**columns, **({"x": PLACES[place](custom)} if "bare" in spelling else PLACES[place](custom))}


anywhere = (st.sampled_from(sorted(PLACES)), st.sampled_from(sorted(SPELLINGS)))


@given(SENT, *anywhere)
def test_what_is_stored_as_sent_always_matches(sent: dict[str, str], place: str, spelling: str) -> None:
    """Whatever the values are, and wherever custom fields are shown."""
    assert read(sent, stored(sent, place, spelling)) == Reading(MATCHES)


@given(SENT, *anywhere, st.sampled_from(COLUMNS + OTHERS), VALUES.filter(lambda text: text.strip()), st.data())
def test_what_is_cut_always_differs(
    sent: dict[str, str], place: str, spelling: str, field: str, value: str, data: st.DataObject
) -> None:
    """A value that lost its end differs, it alone, as truncated, or dropped where nothing is left."""
    value = value.strip()
    kept = value[: data.draw(st.integers(0, len(value) - 1))]
    sent = {**sent, field: value}
    reading = read(sent, stored({**sent, field: kept}, place, spelling))
    [difference] = reading.differences
    assert (difference.field, difference.sent, difference.stored) == (field, value, kept)
    assert difference.kind is (TRUNCATED if kept.strip() else DROPPED)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(COLUMNS + OTHERS), inner),
)


@given(SENT, ANYTHING)
def test_any_lead_can_be_read(sent: dict[str, str], shown: Any) -> None:
    """Whatever the vendor shows, reading it back gives a finding and text that can be stored."""
    reading = read(sent, shown if isinstance(shown, dict) else {"x": shown})
    assert reading.finding in (MATCHES, DIFFERS)
    assert json.loads(reading.as_json())["finding"] == reading.finding
    assert len(reading.differences) <= len(sent)


# --- against an account


def test_an_account_that_drops_cuts_and_replaces(start_account: Callable[..., Account]) -> None:
    """A campaign without the custom field, a short column, and a column without Unicode are all found."""
    account = start_account(
        custom_fields={"Spring Renewals": ("Plan Name",)}, extra_columns=(), lengths={"City": 4}, latin_only=True
    )
    sent = {"City": "Reno Town", "LastName": "Łoś", "adv_Plan__Name": "Gold", "adv_Tier": "1", "FullName": "Jo"}
    row = payload({**sent, "Notes": "as it is", "ImportOnly": "1"})
    account.insert(LEAD["PrimaryPhone"], ClientId="c-1", Notes="as it is", **sent)
    reply = account.call("LeadOperations", **dict(parse_qsl(search_form(SEARCH_LEAD, row).decode())))
    assert kinds(compare(INSERT_LEAD, row, answer(reply))) == {
        "City": TRUNCATED,
        "LastName": REPLACED,
        "FullName": DROPPED,
        "adv_Tier": DROPPED,
    }
