"""Payloads: row keys that stay the same for good, claims, and bodies as any form encoder writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import phone
from given import INSERT, TARGET, TEXT, UPDATE, checked, plan, text_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import payloads
from pipeline.payloads import Payloads, Target
from schemas.catalogue import CATALOGUE

POLICY = "\n[policy]\n"


def built(toml: str, columns: Mapping[str, Sequence[str]], target: Target = TARGET) -> Payloads:
    """The payloads of the rows of one list."""
    return payloads.build(plan(toml, *columns), checked(toml, columns).frame, target)


def sent(made: Payloads, row: int = 0) -> dict[str, str]:
    """The parameters of one body."""
    pairs = parse_qsl(made.body[row].as_py(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def key_of(*parts: str) -> str:
    """Row key, version 1, as it is documented: SHA-256 over each part after its length in bytes."""
    text = b"".join(b"%d:%s" % (len(part.encode()), part.encode()) for part in parts)
    return hashlib.sha256(text).hexdigest()[:32]


ONE = {"Phone": ["2025550101"]}
ID = INSERT + 'ClientId = "Id"\nSubcampaign = "Sub"\n'


# --- keys


def test_row_keys_of_version_1_never_change() -> None:
    """A golden key: the ledger of every account out there is made of these."""
    assert payloads.KEY_VERSION == 1
    columns = {"Phone": ["2025550101", "2025550101"], "Id": ["", "Zoë-17"], "Sub": ["", "North"]}
    assert built(ID, columns).row_key.to_pylist() == [
        key_of(TARGET.url, "acc-1", "InsertLead", "Spring", "", "", "2025550101"),
        key_of(TARGET.url, "acc-1", "InsertLead", "Spring", "North", "Zoë-17", "2025550101"),
    ]
    assert built(INSERT, ONE).row_key.to_pylist() == ["6fdfa26155d00f1d58aa3f11787eec40"]


def test_the_key_of_an_update_is_what_it_looks_up() -> None:
    """An update's key has the search field and its value in the place of the phone, and not the values it sets."""
    columns = {"By": ["ClientId", "Phone", "LeadId"], "Id": ["17", "2025550101", "17"], "City": ["a", "b", "c"]}
    made = built(UPDATE, columns)
    assert made.row_key.to_pylist() == [
        key_of(TARGET.url, "acc-1", "UpdateLead", "", "", "", identifier)
        for identifier in ("ClientId:17", "Phone:2025550101", "LeadId:17")
    ]
    assert made.row_key.equals(built(UPDATE, {**columns, "City": ["x", "y", "z"]}).row_key)


def test_whatever_makes_another_delivery_makes_another_key() -> None:
    """Base URL, account, campaign, subcampaign, ClientId and phone each change the key; other values don't."""
    columns = {"Phone": ["2025550101"], "Id": ["17"], "Sub": ["North"]}
    keys = [
        built(ID, columns).row_key[0],
        built(ID, columns, replace(TARGET, url="http://127.0.0.1:8765/HttpImport/InjectLead.php")).row_key[0],
        built(ID, columns, replace(TARGET, account="acc-2")).row_key[0],
        built(ID.replace("Spring", "Autumn"), columns).row_key[0],
        built(ID, {**columns, "Sub": ["South"]}).row_key[0],
        built(ID, {**columns, "Id": ["18"]}).row_key[0],
        built(ID, {**columns, "Id": [""]}).row_key[0],
        built(ID, {**columns, "Phone": ["2025550102"]}).row_key[0],
    ]
    assert len({key.as_py() for key in keys}) == len(keys)
    more = built(ID + 'City = "City"\n[policy]\ndialing = "immediate"', {**columns, "City": ["Bath"]})
    assert more.row_key[0] == keys[0]


def test_parts_of_a_key_do_not_run_together() -> None:
    """Text that moves from one part to the next makes another key."""
    target = Target("u", "a")
    operation = CATALOGUE["InsertLead"]

    def key(campaign: str, subcampaign: str) -> str:
        columns = {"Campaign": pa.array([campaign]), "Subcampaign": pa.array([subcampaign])}
        return str(payloads.row_keys(operation, columns, target, None, 1)[0])

    assert key("ab", "c") != key("a", "bc")
    assert key("a1:b", "") != key("a", "b")


def test_occurrences_get_keys_of_their_own() -> None:
    """The first occurrence has the plain key, so that keeping repeats or not makes no difference to it."""
    columns = {"Phone": ["2025550101"] * 3}
    bound, frame = plan(INSERT, "Phone"), checked(INSERT, columns).frame
    repeated = payloads.Repeated(payloads.base_keys(bound, frame, TARGET), np.array([1, 2, 3]))
    made = payloads.build(bound, frame, TARGET, repeated)
    plain = (TARGET.url, "acc-1", "InsertLead", "Spring", "", "", "2025550101")
    assert made.row_key.to_pylist() == [key_of(*plain), key_of(*plain, "2"), key_of(*plain, "3")]


# --- claims


def test_an_insert_claims_its_phone_and_its_client_id() -> None:
    """An insert claims the phone, and the ClientId where the mapping gives one."""
    made = built(ID, {"Phone": ["2025550101", "2025550102"], "Id": ["17", ""], "Sub": ["", ""]})
    assert made.phone.to_pylist() == ["2025550101", "2025550102"]
    assert made.identifier.to_pylist() == ["ClientId:17", ""]
    assert built(INSERT, ONE).identifier.to_pylist() == [""]


def test_an_update_claims_what_it_looks_up() -> None:
    """An update by phone claims that phone; another one the phone that it sets, if any."""
    toml = UPDATE + 'PrimaryPhone = "New"\n'
    columns = {"By": ["Phone", "LeadId", "LeadId"], "Id": ["2025550101", "4", "5"], "City": [""] * 3}
    made = built(toml, {**columns, "New": ["2025550102", "2025550103", ""]})
    assert made.phone.to_pylist() == ["2025550101", "2025550103", ""]
    assert made.identifier.to_pylist() == ["Phone:2025550101", "LeadId:4", "LeadId:5"]
    assert built(UPDATE, {**columns, "City": ["x"] * 3}).phone.to_pylist() == ["2025550101", "", ""]


# --- bodies


def test_a_body_has_fixed_then_policy_then_fields() -> None:
    """Parameters come in one order, empty ones are left out, and custom names are sent with double underscores."""
    toml = INSERT + '"adv_Policy Number" = "Policy"\nCity = "City"\nNotes = "Notes"'
    made = built(
        toml, {"Phone": ["(202) 555-0101"] * 2, "Policy": ["a&b=c", ""], "City": ["", "Bath"], "Notes": ["é", ""]}
    )
    key = made.row_key[0].as_py()
    assert made.body[0].as_py() == (
        f"ImportOnly=1&Campaign=Spring&PrimaryPhone=2025550101&ClientId={key}&Notes=%C3%A9&adv_Policy__Number=a%26b%3Dc"
    )
    assert list(sent(made, 1)) == ["ImportOnly", "Campaign", "PrimaryPhone", "ClientId", "City"]
    search = 'operation = "LeadOperations.SearchLead"\n[fields]\nSearchField = "By"\nIdentifier = "Id"'
    looked_up = built(search, {"By": ["Phone"], "Id": ["2025550101"]})
    assert looked_up.body[0].as_py() == "Action=SearchLead&SearchField=Phone&Identifier=2025550101"
    assert looked_up.client_id.to_pylist() == [""]
    assert looked_up.sha256[0].as_py() == hashlib.sha256(looked_up.body[0].as_py().encode()).hexdigest()


@pytest.mark.parametrize("toml", [INSERT, UPDATE])
def test_no_credentials_in_a_body(toml: str) -> None:
    """Neither the account nor any credential is in a payload, which is written to disk."""
    columns = ONE if toml is INSERT else {"By": ["LeadId"], "Id": ["4"], "City": ["Bath"]}
    made = built(toml, columns, Target(TARGET.url, "the-account"))
    assert not {"token", "accid"} & set(sent(made))
    assert "the-account" not in made.body[0].as_py()


def test_an_insert_without_client_id_is_sent_with_its_key() -> None:
    """Row by row, where no ClientId is given the key stands in for it, unless the policy goes without."""
    columns = {"Phone": ["2025550101", "2025550102"], "Id": ["17", ""], "Sub": ["", ""]}
    made = built(ID, columns)
    assert made.client_id.to_pylist() == ["17", made.row_key[1].as_py()]
    assert [sent(made, row)["ClientId"] for row in (0, 1)] == made.client_id.to_pylist()
    none = built(ID + POLICY + 'client_id = "none"', columns)
    assert none.client_id.to_pylist() == ["17", ""]
    assert "ClientId" not in sent(none, 1)
    assert none.row_key.equals(made.row_key)
    assert "ClientId" not in sent(built(INSERT + POLICY + 'client_id = "none"', ONE))


def test_an_update_never_sets_a_client_id_by_itself() -> None:
    """Only what is settled by search needs a ClientId; an update would overwrite one."""
    made = built(UPDATE, {"By": ["LeadId"], "Id": ["4"], "City": ["Bath"]})
    assert sent(made) == {"SearchField": "LeadId", "Identifier": "4", "City": "Bath"}
    assert made.client_id.to_pylist() == [""]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {"ImportOnly": "1"}),
        ('dialing = "timezone-checked"', {"ImportOnly": "0", "timezone": "1"}),
        ('dialing = "immediate"', {"ImportOnly": "0", "timezone": "0"}),
        ("allow_dialing_dups = true", {"ImportOnly": "1", "AllowDialingDups": "1"}),
        ("dial_non_callables = true", {"ImportOnly": "1", "DialNonCallables": "1"}),
    ],
)
def test_the_policy_decides_about_calls(policy: str, expected: dict[str, str]) -> None:
    """What the policy says is sent with every insert, and with nothing that has no such parameter."""
    made = sent(built(INSERT + POLICY + policy, ONE))
    assert {k: v for k, v in made.items() if k not in ("Campaign", "PrimaryPhone", "ClientId")} == expected
    update = built(UPDATE + POLICY + policy, {"By": ["LeadId"], "Id": ["4"], "City": ["Bath"]})
    assert list(sent(update)) == ["SearchField", "Identifier", "City"]


def test_no_rows_make_no_payloads() -> None:
    """An empty frame gives columns without elements."""
    for toml, headers in ((INSERT, ("Phone",)), (UPDATE, ("By", "Id", "City"))):
        made = built(toml, dict.fromkeys(headers, ()))
        assert {len(getattr(made, column.name)) for column in fields(Payloads)} == {0}
        assert not len(payloads.key_identities(made.row_key))


def test_a_form_without_parameters_is_empty() -> None:
    """No parameters, or only empty ones, make an empty body."""
    assert payloads.form({}, 2).to_pylist() == ["", ""]
    assert payloads.form({"A": pa.array(["", "x"])}, 2).to_pylist() == ["", "A=x"]


def test_columns_in_pieces_make_the_same_payloads() -> None:
    """A frame whose columns Arrow holds in pieces gives what a whole one does."""
    one = checked(INSERT + 'City = "City"', {"Phone": ["2025550101"], "City": ["a & b"]}).frame
    two = checked(INSERT + 'City = "City"', {"Phone": ["2025550102"], "City": ["plain"]}).frame
    bound = plan(INSERT + 'City = "City"', "Phone", "City")
    whole = payloads.build(bound, pd.concat([one, two]), TARGET)
    assert whole.body.to_pylist() == [payloads.build(bound, f, TARGET).body[0].as_py() for f in (one, two)]


FIELDS = ("City", "adv_é & ü", "Notes")


@given(st.lists(st.tuples(*(st.text() for _ in FIELDS))), st.text())
@settings(max_examples=100)
def test_bodies_are_what_urlencode_writes(rows: list[tuple[str, ...]], fixed: str) -> None:
    """For any text at all, the body is the one that the standard library makes, without the empty values."""
    columns = {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(FIELDS)}
    bodies = payloads.form({"Fixed one": fixed, **columns}, len(rows)).to_pylist()
    expected = [
        urlencode({"Fixed one": fixed, **{n: v for n, v in zip(FIELDS, row, strict=True) if v}}) for row in rows
    ]
    assert bodies == expected


@pytest.mark.parametrize(
    ("toml", "columns"),
    [
        (INSERT + 'ClientId = "Id"', {"Phone": [phone(1), phone(2), phone(1)], "Id": ["", "7", "7"]}),
        (UPDATE, {"By": ["LeadId", "ClientId", "LeadId"], "Id": ["4", "4", "4"], "City": ["a", "b", ""]}),
    ],
    ids=["insert", "update"],
)
def test_payloads_tell_the_identities_of_their_rows(toml: str, columns: Mapping[str, Sequence[str]]) -> None:
    """What repeats by its cells repeats by its payload, as the report has it: with null where there is nothing."""
    made, frame, operation = built(toml, columns), checked(toml, columns).frame, plan(toml, *columns).operation
    named = getattr(made, operation.duplicates_by or "")
    told = pa.chunked_array(pc.if_else(pc.equal(named, ""), None, named))
    own = payloads.identities(operation, {name: pa.array(frame[name]) for name in frame.columns}, len(frame))
    assert payloads.identities_told(told).tolist() == own.tolist()
    assert own[0] == own[2] != own[1]


@given(st.lists(st.text(alphabet="0123456789 é", max_size=20)))
def test_identities_tell_phones_apart(phones: list[str]) -> None:
    """One text has one identity, different texts have different ones, and nothing has none."""
    operation = CATALOGUE["InsertLead"]
    columns = {"PrimaryPhone": pa.array(phones, pa.string())}
    found = payloads.identities(operation, columns, len(phones)).tolist()
    assert len(set(zip(phones, found, strict=True))) == len(set(phones)) == len(set(found))
    assert all((number == 0) == (not phone) for number, phone in zip(found, phones, strict=True))


def test_what_has_no_phone_at_all_repeats_nobody() -> None:
    """A null is no number, whatever stands beside it."""
    columns = {"PrimaryPhone": pa.array(["2025550101", None, ""], pa.string())}
    assert payloads.identities(CATALOGUE["InsertLead"], columns, 3).tolist() == [2025550101, 0, 0]


def test_identities_follow_the_operation() -> None:
    """Repeats are counted by phone, by identifier, or not at all."""
    columns = {"SearchField": pa.array(["LeadId", "ClientId"]), "Identifier": pa.array(["4", "4"])}
    by_identifier = payloads.identities(CATALOGUE["UpdateLead"], columns, 2)
    assert len(set(by_identifier)) == 2
    assert list(payloads.identities(CATALOGUE["LeadOperations.SearchLead"], columns, 2)) == [0, 0]
    assert list(payloads.identities(CATALOGUE["InsertLead"], {"PrimaryPhone": pa.array(["2025550101"])}, 1)) == [
        2025550101
    ]


def test_frames_are_text() -> None:
    """What goes into payloads is text under Arrow, so that nothing was turned into a number on the way."""
    assert set(checked(INSERT, ONE).frame.dtypes) == {TEXT}
    assert text_frame(ONE)["Phone"].dtype == TEXT
