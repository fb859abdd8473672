"""Click-to-FindMe: what a call may hold, what its reply means, and that no phone rings twice or unasked."""

from __future__ import annotations

import asyncio
import json
import queue
import random
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pyarrow as pa
import pytest
from conftest import Account, Leads, Result, by_day, phone, write, write_csv
from hypothesis import given
from hypothesis import strategies as st

from pipeline import mappings, run, screen, settings
from pipeline.clean import CleanOptions, clean
from pipeline.files import GivenFile
from pipeline.job import Job, Summary, World
from pipeline.model import Reply, UserError
from pipeline.people import Consent
from pipeline.replies import judge, normalise
from pipeline.sandbox.config import FindMeConfig
from pipeline.sandbox.dialogtech import ASSUMED
from pipeline.wire import Wire
from schemas.dialedin import DIALEDIN
from schemas.dialogtech import CLICK_TO_FIND_ME_LIST, DIALOGTECH
from schemas.spec import Range, Verdict

RECORDED = Path(__file__).parent / "replies" / "dialogtech"
KEY = "k3y/with+signs&more"
AGENTS = "2025550190|8005550191"

MAPPING = """
operation = "ClickToFindMe.List"
[fields]
phone_to_call = "Phone"
list = "Agents"
[policy]
suppress = "none"
"""


# --- the declaration

PAIR, FLAG = ("1", "2"), ("0", "1")
DOCUMENTED = {
    "list": None,
    "phone_to_call": None,
    "first_callerid": None,
    "second_callerid": None,
    "type": PAIR,
    "page": 255,
    "no_answer_email": None,
    "no_answer_sms": None,
    "no_answer_url": None,
    "no_answer_phone": None,
    "dtmf_only": FLAG,
    "screen_prompt": None,
    "usr_findme_type": PAIR,
    "loop_count": Range(1, 5),
    "randomize": FLAG,
    "record": FLAG,
    "no_intro": FLAG,
    "use_screen": FLAG,
    "screen_method": ("0", "1", "2"),
    "holdmusic": None,
    "usr_audio_prompt_set_id": None,
    "holdrepeat": ("0", "1", "2"),
    "timeout": Range(10, 60),
    "whisper_phrase": None,
    "nextaction": tuple("1234567"),
    "nextactionitem": None,
    "ref": 255,
}


def test_every_parameter_of_the_vendors_tables_is_declared() -> None:
    """With its choices, range or length; dtmf_only by its notes, 0 and 1, and not by its column, 1 and 2."""
    declared = {f.name: f.choices or f.number or f.max_length for f in CLICK_TO_FIND_ME_LIST.fields}
    assert declared == DOCUMENTED
    assert {f.name for f in CLICK_TO_FIND_ME_LIST.fields if f.required} == {"list", "phone_to_call"}
    assert CLICK_TO_FIND_ME_LIST.fixed == {"action": "clickto.findme"}


LONG = "x" * 256
# What is given besides list and phone_to_call, and the field and rule that are told; None: the row is valid.
ROWS: tuple[tuple[dict[str, str], tuple[str, str] | None], ...] = (
    ({}, None),
    ({"phone_to_call": ""}, ("phone_to_call", "missing")),
    ({"list": ""}, ("list", "missing")),
    ({"list": "2025550190,x"}, ("list", "bad_phone")),
    ({"phone_to_call": "8005550191"}, ("phone_to_call", "toll_free_phone")),
    ({"first_callerid": "8005550191"}, None),
    ({"second_callerid": "9005550191"}, ("second_callerid", "premium_phone")),
    ({"page": LONG[1:]}, None),
    ({"page": LONG}, ("page", "too_long")),
    ({"ref": LONG[1:]}, None),
    ({"ref": LONG}, ("ref", "too_long")),
    *(({"loop_count": str(n)}, None if 1 <= n <= 5 else ("loop_count", "out_of_range")) for n in (0, 1, 5, 6)),
    *(({"timeout": str(n)}, None if 10 <= n <= 60 else ("timeout", "out_of_range")) for n in (9, 10, 60, 61)),
    ({"type": "3"}, ("type", "not_allowed")),
    ({"usr_findme_type": "0"}, ("usr_findme_type", "not_allowed")),
    ({"screen_method": "3"}, ("screen_method", "not_allowed")),
    ({"holdrepeat": "3"}, ("holdrepeat", "not_allowed")),
    ({"nextaction": "8"}, ("nextaction", "not_allowed")),
    *(({name: "2"}, (name, "bad_flag")) for name in ("dtmf_only", "randomize", "record", "no_intro", "use_screen")),
    ({"no_answer_email": "desk@example.com", "type": "2"}, None),
    ({"no_answer_email": "desk", "type": "2"}, ("no_answer_email", "bad_email")),
    ({"no_answer_url": "ftp://example.test", "type": "2"}, ("no_answer_url", "bad_format")),
    ({"no_answer_email": "desk@example.com"}, ("no_answer_email", "not_applicable")),
    ({"no_answer_sms": phone(1), "type": "1"}, ("no_answer_sms", "not_applicable")),
    ({"no_answer_url": "http://example.test"}, ("no_answer_url", "not_applicable")),
    ({"no_answer_phone": phone(1)}, ("no_answer_phone", "not_applicable")),
    ({"screen_prompt": "Name?"}, None),
    ({"screen_prompt": "Name?", "type": "2"}, ("screen_prompt", "not_applicable")),
    ({"use_screen": "0", "type": "2"}, ("use_screen", "not_applicable")),
    ({"nextaction": "1", "type": "2"}, ("nextaction", "not_applicable")),
    ({"nextactionitem": "7", "type": "2"}, ("nextactionitem", "not_applicable")),
    ({"whisper_phrase": "Hot"}, ("whisper_phrase", "not_applicable")),
    ({"whisper_phrase": "Hot", "use_screen": "1"}, ("whisper_phrase", "not_applicable")),
    ({"whisper_phrase": "Hot", "use_screen": "no"}, None),
    *(({"nextaction": n}, ("nextactionitem", "missing") if n in "2456" else None) for n in "1234567"),
    *(({"nextaction": n, "nextactionitem": "7"}, None) for n in "1234567"),
)


def test_every_gate_and_limit_is_told_by_its_code_and_field(leads: Leads, home: Path) -> None:
    """A row is refused for the one rule that it breaks, and passes at the ends of every range."""
    columns = list(DOCUMENTED)
    fields = "\n".join(f'{name} = "{name}"' for name in columns)
    write(home / "all.toml", f'operation = "ClickToFindMe.List"\n[fields]\n{fields}\n')
    rows = [{"list": AGENTS, "phone_to_call": phone(at), **given} for at, (given, _) in enumerate(ROWS)]
    write_csv(home / "all.csv", [columns, *([row.get(name, "") for name in columns] for row in rows)])
    result = leads("check", "all.csv", "-m", "all.toml", "--json")
    told = [[(p["field"], p["rule"]) for p in row["problems"]] for row in result.rows]
    assert told == [[] if problem is None else [problem] for _, problem in ROWS]
    assert [row["status"] for row in result.rows] == ["invalid" if problem else "valid" for _, problem in ROWS]


# --- the numbers


def cleaned(cleaner: str, value: str) -> tuple[str, list[str], list[str]]:
    """(value, rules of the repairs, rules of the problems)"""
    done = clean(cleaner, "list", pa.array([value]), CleanOptions())
    return done.values[0].as_py(), done.repairs["rule"].to_pylist(), done.problems["rule"].to_pylist()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("2025550190", "2025550190"),
        (AGENTS, AGENTS),
        ("202-555-0190, (800) 555-0191", AGENTS),
        ("2025550190;8005550191.0", AGENTS),
        (" 2025550190 |\n+1 800 555 0191 | ", AGENTS),
        ("2025550190|2025550190", "2025550190|2025550190"),
        ("", ""),
    ],
)
def test_a_list_of_numbers_is_joined_by_pipes(raw: str, value: str) -> None:
    """However the numbers are written and kept apart; who stands there twice is rung twice."""
    repairs = [] if raw == value else ["phone_list"]
    assert cleaned("phone_list", raw) == (value, repairs, [])


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("|", "bad_phone"),
        ("2025550190,5", "bad_phone"),
        ("2025550190 2025550191", "two_phones"),
        ("2025550190|9005550191", "premium_phone"),
        ("2025550190|+44 20 7946 0000", "foreign_phone"),
        ("2025550190|4165550101", "phone_region"),
        ("#REF!", "cell_error"),
    ],
)
def test_one_bad_number_spoils_the_list(raw: str, problem: str) -> None:
    """It is refused as it stands: leaving one out might leave the wrong one."""
    assert cleaned("phone_list", raw) == (raw, [], [problem])


def test_an_office_may_have_a_toll_free_number() -> None:
    """A customer has none; the number of a list, or a caller id, may be one."""
    assert cleaned("office_phone", "+1 (800) 555-0191") == ("8005550191", ["phone_format"], [])
    assert cleaned("us_phone", "8005550191")[2] == ["toll_free_phone"]


# --- replies

ACCEPTED, REJECTED, CREDENTIALS = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.CREDENTIALS
UNREADABLE = (Verdict.IN_DOUBT, "unreadable_reply")
REPLIES = {
    "connected.xml": (ACCEPTED, "ok"),
    "connected_compact.xml": (ACCEPTED, "ok"),
    "connected.txt": (ACCEPTED, "ok"),
    "call_connected.txt": (ACCEPTED, "ok"),
    "success.txt": (ACCEPTED, "ok"),
    "failed.xml": (REJECTED, "not_connected"),
    "failed.txt": (REJECTED, "not_connected"),
    "failed_unknown.txt": (REJECTED, "not_connected"),
    "invalid_account.xml": (CREDENTIALS, "credentials"),
    "invalid_account.txt": (CREDENTIALS, "credentials"),
    "success_other_words.xml": UNREADABLE,
    "success_and_more.xml": UNREADABLE,
    "success_in_lines.txt": UNREADABLE,
    "failed_other_words.xml": UNREADABLE,
    "other_words.txt": UNREADABLE,
    "not_success.txt": UNREADABLE,
    "two_results.xml": UNREADABLE,
    "nested.xml": UNREADABLE,
    "other_root.xml": UNREADABLE,
    "cut_off.xml": UNREADABLE,
    "entity.xml": UNREADABLE,
    "external_entity.xml": UNREADABLE,
    "parameter_entity.xml": UNREADABLE,
    "billion_laughs.xml": UNREADABLE,
    "unknown_encoding.xml": UNREADABLE,
    "page.html": UNREADABLE,
    "empty.txt": (Verdict.IN_DOUBT, "empty_reply"),
}


def read(body: str, operation: object = CLICK_TO_FIND_ME_LIST) -> tuple[Verdict, str, str | None]:
    got = judge(operation, Reply(200, body, "text/xml"), datetime(2026, 3, 2, tzinfo=UTC))  # type: ignore[arg-type]
    return got.verdict, got.code, got.result


def recorded(name: str) -> str:
    return (RECORDED / name).read_bytes().decode()


def test_every_recorded_reply_is_a_case() -> None:
    """No file is forgotten, and no case lacks its file."""
    assert {path.name for path in RECORDED.iterdir()} == set(REPLIES)


@pytest.mark.parametrize("name", REPLIES)
def test_recorded_replies(name: str) -> None:
    """Each recorded body has its verdict and code; tricks with entities are in doubt like any unreadable reply."""
    assert read(recorded(name))[:2] == REPLIES[name]


def test_every_rule_decides_a_recorded_reply() -> None:
    """No rule stands behind another that takes everything from it."""
    rules = CLICK_TO_FIND_ME_LIST.replies
    marked = replace(CLICK_TO_FIND_ME_LIST, replies=tuple(replace(r, code=str(i)) for i, r in enumerate(rules)))
    assert {read(recorded(name), marked)[1] for name in REPLIES} >= {str(i) for i in range(len(rules))}


@pytest.mark.parametrize(
    "body",
    [
        "<response/>",
        "<response>success</response>",
        "<response><result>success</result>NOT<result_description>Call Connected</result_description></response>",
        '<response xmlns="u"><result>success</result></response>',
        "<a>" * 100_000,
        "<response>" + "<a>" * 50_000 + "</a>" * 50_000 + "</response>",
        f"<response><result>{'success' * 50_000}</result></response>",
        "\ud800" + recorded("connected.xml"),
        recorded("connected.xml") * 2,
    ],
    ids=lambda body: body[:30],
)
def test_xml_of_another_form_is_in_doubt(body: str) -> None:
    """However deep, long or odd: it is unreadable, and nothing worse happens."""
    assert read(body) == (*UNREADABLE, None)


def test_a_dtd_elsewhere_is_not_fetched() -> None:
    """It says how the reply is built, which nobody asks: nothing listens at its address."""
    doctype = '<!DOCTYPE response SYSTEM "http://127.0.0.1:9/response.dtd">'
    assert read(doctype + recorded("connected_compact.xml"))[0] is ACCEPTED


@pytest.mark.parametrize(("name", "sid"), [("connected.xml", "181127fc48636186"), ("failed.xml", "181127fa636be04c")])
def test_the_number_of_a_call_is_kept(name: str, sid: str) -> None:
    """It is how the vendor's support finds the call, whatever came of it."""
    assert json.loads(read(recorded(name))[2] or "") == {"sid": sid}


@pytest.mark.parametrize("name", [name for name in REPLIES if name.endswith(".xml")])
def test_xml_that_is_cut_off_is_in_doubt(name: str) -> None:
    """Every beginning of a reply of XML, but for white space at its end."""
    body = recorded(name).rstrip()
    assert {read(body[:end])[0] for end in range(len(body))} == {Verdict.IN_DOUBT}


_PARTS = st.sampled_from(
    [normalise(recorded(name)) for name in REPLIES] + ["success", "Call Connected", "<", "&", "\n"]
)


@given(st.text() | st.lists(_PARTS | st.text(max_size=5)).map("".join))
def test_only_known_words_accept(body: str) -> None:
    """Any text at all has some verdict, and none but the recorded ones is accepted."""
    known = {normalise(recorded(name)).casefold() for name, (verdict, _) in REPLIES.items() if verdict is ACCEPTED}
    known |= {"success: call connected"}
    if read(body)[0] is ACCEPTED:
        assert normalise(body).casefold() in known


def test_a_reply_of_xml_says_nothing_to_other_operations() -> None:
    """Only what is declared to answer in XML is read so."""
    assert read(recorded("connected.xml"), replace(CLICK_TO_FIND_ME_LIST, xml_reply=None))[:2] == UNREADABLE


# --- loads into the sandbox


def findme(account: Account, **more: str) -> dict[str, str]:
    """The environment that points at the account's DialogTech."""
    url = account.url.replace("/HttpImport/", "/dialogtech/")
    return {"DIALOGTECH_BASE_URL": url, "DIALOGTECH_KEY": KEY, "LEADS_RATE": "0"} | more


@pytest.fixture
def rung(start_account: Callable[..., Account]) -> Callable[..., Account]:
    """Starts an account whose DialogTech answers at once, to the tests' key."""

    def start(plan: dict[str, list[str]] | None = None, **given: object) -> Account:
        answering = {"key": KEY, "ring_seconds": 0.0} | given
        return start_account(find_me=FindMeConfig(**answering), plan=plan or {})  # type: ignore[arg-type]

    return start


def call(
    leads: Leads,
    home: Path,
    account: Account,
    rows: list[tuple[str, str]],
    *flags: object,
    toml: str = MAPPING,
    env: dict[str, str] | None = None,
) -> Result:
    """A load of (customer, agents)."""
    write(home / "findme.toml", toml)
    write_csv(home / "hot.csv", [["Phone", "Agents"], *rows])
    given = env or findme(account)
    return leads("load", "hot.csv", "-m", "findme.toml", "--json", "--max-contacts", 50, *flags, env=given)


def test_a_load_rings_the_customer_and_an_agent(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """Once each; the row's key goes along as ref, and the number of the call into the report."""
    account = rung()
    result = call(leads, home, account, [("(202) 555-0101", "202-555-0190, 8005550191"), (phone(2), AGENTS)])
    assert (result.code, set(result.fates.values())) == (0, {"accepted"})
    rings = account.see("rings")
    by_number = [(ring["number"], ring["part"], ring["leg"]) for ring in rings]
    assert sorted(by_number) == sorted(
        [(number, "phone_to_call", 1) for number in (phone(1), phone(2))] + 2 * [("2025550190", "list", 2)]
    )
    for row in result.rows:
        (ring,) = (ring for ring in rings if ring["number"] == row["phone"])
        assert ring["ref"] == row["row_key"] == row["client_id"]
        assert json.loads(row["result"]) == {"sid": ring["sid"]}
    assert {request["method"] for request in account.see("requests")} == {"POST"}


def test_nobody_is_rung_a_second_time_for_the_same_list(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """The ledger skips who was connected, also where the key was changed meanwhile; --again rings them once more."""
    account = rung()
    rows = [(phone(1), AGENTS), (phone(1), AGENTS)]
    assert call(leads, home, account, rows).fates == {2: "accepted", 3: "skipped/duplicate_in_file"}
    pair = {"DIALOGTECH_ACCESS_KEY": "sandbox-access", "DIALOGTECH_SECRET_ACCESS_KEY": "sandbox-secret"}
    changed = {name: value for name, value in findme(account, **pair).items() if name != "DIALOGTECH_KEY"}
    assert call(leads, home, account, rows[:1], env=changed).fates == {2: "skipped/already_loaded"}
    assert len(account.see("rings")) == 2
    assert call(leads, home, account, rows[:1], "--again", env=changed).fates == {2: "accepted"}
    assert len(account.see("rings")) == 4


@pytest.mark.parametrize("fault", ["stored_reset", "stored_close", "stored_504", "stored_truncated", "stored_empty"])
def test_a_call_in_doubt_is_never_made_again(
    leads: Leads, home: Path, rung: Callable[..., Account], fault: str
) -> None:
    """It is unknown, and stays so in the next load; `reconcile` and `resume` ring nobody either."""
    account = rung({phone(1): [fault]})
    first = call(leads, home, account, [(phone(1), AGENTS)])
    assert (first.code, first.rows[0]["status"], first.rows[0]["attempts"]) == (5, "unknown", 1)
    again = call(leads, home, account, [(phone(1), AGENTS)])
    assert again.fates == {2: "unknown/in_doubt_elsewhere"}
    for command in ("reconcile", "resume"):
        went_on = leads(command, first.json["run_id"], "--max-contacts", 50, "--json", env=findme(account))
        assert went_on.rows[0]["status"] == "unknown"
    assert len(account.see("rings")) == 2


def test_what_never_left_is_sent_again(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """A proxy that asks to slow down has let nothing through."""
    account = rung({phone(1): ["http_429"]})
    result = call(leads, home, account, [(phone(1), AGENTS)])
    assert (result.rows[0]["status"], result.rows[0]["attempts"]) == ("accepted", 2)
    assert len(account.see("rings")) == 2


@pytest.mark.parametrize("plain_text", [False, True])
def test_a_first_leg_that_nobody_answers_is_rejected(
    leads: Leads, home: Path, rung: Callable[..., Account], plain_text: bool
) -> None:
    """In XML and in plain text; the agents are left alone."""
    account = rung(plain_text=plain_text, unanswered=frozenset({phone(1)}))
    result = call(leads, home, account, [(phone(1), AGENTS), (phone(2), AGENTS)])
    assert (result.code, result.fates) == (1, {2: "rejected/not_connected", 3: "accepted"})
    assert {ring["number"]: ring["answered"] for ring in account.see("rings")} == {
        phone(1): False,
        phone(2): True,
        "2025550190": True,
    }


@pytest.mark.parametrize("plain_text", [False, True])
def test_a_wrong_key_ends_the_run(leads: Leads, home: Path, rung: Callable[..., Account], plain_text: bool) -> None:
    """INVALID ACCOUNT is about the credentials, whatever the row."""
    account = rung(plain_text=plain_text)
    rows = [(phone(at), AGENTS) for at in range(30)]
    result = call(leads, home, account, rows, env=findme(account, DIALOGTECH_KEY="wrong"))
    assert result.code == 77
    assert {row["code"] for row in result.rows if row["status"] == "failed"} == {"credentials"}
    assert account.see("rings") == []


def test_what_to_do_next_is_about_this_vendor(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """Its own variables where the key is wrong; and no look-up is promised where none can tell."""
    account = rung({phone(1): ["stored_reset"]})
    write(home / "findme.toml", MAPPING)
    write_csv(home / "hot.csv", [["Phone", "Agents"], (phone(1), AGENTS)])
    doubt = leads("load", "hot.csv", "-m", "findme.toml", "--max-contacts", 1, env=findme(account))
    assert "no search settles what is unknown" in doubt.out
    write_csv(home / "hot.csv", [["Phone", "Agents"], *((phone(at), AGENTS) for at in range(2, 9))])
    wrong = findme(account, DIALOGTECH_KEY="wrong")
    refused = leads("load", "hot.csv", "-m", "findme.toml", "--max-contacts", 9, env=wrong)
    assert "mend DIALOGTECH_KEY or DIALOGTECH_ACCESS_KEY and DIALOGTECH_SECRET_ACCESS_KEY" in refused.out


def test_the_shipped_mapping_rings(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """With a suppress file where its user is; without one it refuses."""
    account = rung()
    write_csv(home / "hot.csv", [["Name", "Phone", "Agent Phones"], ("Ada", phone(1), "2025550190, 8005550191")])
    given = ("load", "hot.csv", "-m", "find_me", "--max-contacts", 1, "--json")
    assert leads(*given, env=findme(account)).code == 4
    write_csv(home / "dnc.csv", [["n"], [phone(2)]])
    assert leads(*given, env=findme(account)).fates == {2: "accepted"}
    assert [ring["number"] for ring in account.see("rings")] == ["2025550190", phone(1)]


def test_nobody_answered_and_is_called_once_more_on_request(
    leads: Leads, home: Path, rung: Callable[..., Account]
) -> None:
    """`retry` needs the operator's word again, and goes by what has been delivered meanwhile."""
    account = rung(unanswered=frozenset({phone(1)}))
    first = call(leads, home, account, [(phone(1), AGENTS), (phone(2), AGENTS)])
    again = ("retry", first.json["run_id"], "--only", "rejected", "--json")
    assert leads(*again, "--max-contacts", 0, env=findme(account)).code == 2
    assert len(account.see("rings")) == 3
    assert leads(*again, "--max-contacts", 1, env=findme(account)).fates == {2: "rejected/not_connected"}
    assert [ring["number"] for ring in account.see("rings")[3:]] == [phone(1)]


def test_the_doctor_looks_at_this_vendor(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """Its address and its credentials; no call is made to try them."""
    account = rung()
    write(home / "findme.toml", MAPPING)
    told = leads("doctor", "-m", "findme.toml", "--json", env=findme(account))
    checks = {check["name"]: check for check in told.json["checks"]}
    assert told.code == 0
    assert "DIALOGTECH_KEY" in checks["credentials"]["message"]
    assert (checks["login"]["level"], account.see("requests")) == ("warn", [])
    assert secret_in(home, told.out, told.err) == []


def test_the_pair_of_access_keys_opens_as_well(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """One without the other does not: the error names the other way, and what is missing."""
    account = rung()
    base = {"DIALOGTECH_BASE_URL": findme(account)["DIALOGTECH_BASE_URL"], "DIALOGTECH_ACCESS_KEY": "sandbox-access"}
    refused = call(leads, home, account, [(phone(1), AGENTS)], env=base)
    assert refused.code == 2
    assert "DIALOGTECH_KEY" in refused.err
    assert "DIALOGTECH_SECRET_ACCESS_KEY" in refused.err
    pair = base | {"DIALOGTECH_SECRET_ACCESS_KEY": "sandbox-secret"}
    assert call(leads, home, account, [(phone(1), AGENTS)], env=pair).fates == {2: "accepted"}


# --- people


@pytest.mark.parametrize(
    ("toml", "flags", "words"),
    [
        (MAPPING, (), "--max-contacts"),
        (MAPPING, ("--max-contacts", 1), "2 people"),
        (MAPPING.replace('suppress = "none"', ""), ("--max-contacts", 9), "suppress"),
    ],
)
def test_no_phone_rings_without_the_operators_word(
    leads: Leads, home: Path, rung: Callable[..., Account], toml: str, flags: tuple[object, ...], words: str
) -> None:
    """How many at most, and who must not be rung: both are said, or nothing goes."""
    account = rung()
    write(home / "findme.toml", toml)
    write_csv(home / "hot.csv", [["Phone", "Agents"], (phone(1), AGENTS), (phone(2), AGENTS)])
    result = leads("load", "hot.csv", "-m", "findme.toml", *flags, env=findme(account))
    assert result.code == 2
    assert words in result.err
    assert account.see("requests") == []


def test_whoever_is_suppressed_is_not_rung(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """As the customer, as an agent of the list, or as the one to whom a call goes that nobody takes."""
    account = rung()
    toml = MAPPING.replace("[policy]", 'no_answer_phone = "Else"\ntype = { value = "2" }\n[policy]')
    write(home / "findme.toml", toml.replace('"none"', '"dnc.csv"'))
    write_csv(home / "dnc.csv", [["n"], [phone(1)], ["(303) 555-0150"], [phone(250)]])
    rows = [(phone(1), AGENTS, ""), (phone(2), f"{AGENTS}, {phone(150)}", ""), (phone(3), AGENTS, phone(250))]
    write_csv(home / "hot.csv", [["Phone", "Agents", "Else"], *rows, (phone(4), AGENTS, "")])
    expected = dict.fromkeys((2, 3, 4), "skipped/suppressed")
    checked = leads("check", "hot.csv", "-m", "findme.toml", "--json")
    assert checked.fates == expected | {5: "valid"}
    given = ("--max-contacts", 1, "--json")
    assert leads("load", "hot.csv", "-m", "findme.toml", *given, env=findme(account)).fates == expected | {
        5: "accepted"
    }
    assert {ring["number"] for ring in account.see("rings")} == {phone(4), "2025550190"}


# --- on the wire


class Vendor(httpx.AsyncBaseTransport):
    """Keeps each request; answers it, or fails."""

    def __init__(self, answer: Callable[[], httpx.Response]) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return self._answer()

    def sent(self) -> list[dict[str, str]]:
        return [dict(parse_qsl(request.content.decode(), keep_blank_values=True)) for request in self.requests]


def connected() -> httpx.Response:
    return httpx.Response(200, text=recorded("connected.xml"))


def load(home: Path, vendor: Vendor, header: list[str], rows: list[list[str]], fields: str = "") -> Summary:
    """A load whose requests go to `vendor` instead of over a network."""
    path = write(home / "findme.toml", MAPPING.replace("[policy]", f"{fields}\n[policy]"))
    mapping, _, text = mappings.read(str(path), None)
    job = Job(
        command="load",
        files=(GivenFile(str(write_csv(home / "hot.csv", [header, *rows]))),),
        mapping=mapping,
        mapping_path=path,
        mapping_text=text,
        settings=settings.resolve({"rate": 0.0})[0],
        consent=Consent(50, dial_non_callables=False),
    )
    with screen.progress(quiet=False) as watcher:
        return run.load(job, World(lambda: vendor, by_day, random.Random(0), watcher))


@pytest.fixture
def key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALOGTECH_KEY", KEY)


def secret_in(folder: Path, *texts: str) -> list[str]:
    """Where the key stands, in whatever spelling."""
    spelled = [KEY.encode(), b"k3y%2Fwith", b"k3y/with", b"k3y%2fwith"]
    places = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    places |= {text[:40]: text.encode() for text in texts}
    return [place for place, content in places.items() if any(one in content for one in spelled)]


def test_exactly_the_documented_parameters_are_sent(home: Path, key: None, capfd: pytest.CaptureFixture[str]) -> None:
    """In the body of a POST, with the key; the URL holds nothing, and nothing that is kept or said holds the key."""
    vendor = Vendor(connected)
    fields = "\n".join(f'{name} = "{name}"' for name in ("type", "timeout", "page", "ref", "no_answer_sms"))
    header = ["Phone", "Agents", "type", "timeout", "page", "ref", "no_answer_sms", "no_answer_url"]
    row = [phone(1), AGENTS, "2", "20", "a & b", "L-1", phone(5), "http://127.0.0.1/x?y=1"]
    load(home, vendor, header, [row], fields + '\nno_answer_url = "no_answer_url"')
    assert vendor.sent() == [
        {
            "action": "clickto.findme",
            "list": AGENTS,
            "phone_to_call": phone(1),
            **dict(zip(header[2:], row[2:], strict=True)),
            "key": KEY,
        }
    ]
    (request,) = vendor.requests
    assert (request.method, str(request.url)) == ("POST", "https://secure.dialogtech.com/ibp_api.php")
    assert secret_in(home, *capfd.readouterr()) == []


def test_a_get_is_asked_for_and_warned_of(
    home: Path, key: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The key is then in the URL, as in the vendor's sample, and in nothing that this tool writes."""
    monkeypatch.setenv("DIALOGTECH_METHOD", "GET")
    vendor = Vendor(connected)
    summary = load(home, vendor, ["Phone", "Agents"], [[phone(1), AGENTS]])
    (request,) = vendor.requests
    assert (request.method, request.content) == ("GET", b"")
    assert dict(request.url.params)["key"] == KEY
    assert dict(request.url.params)["list"] == AGENTS
    assert summary.counts["accepted"] == 1
    out, err = capfd.readouterr()
    assert "dialogtech_method is GET" in err
    assert any("dialogtech_method is GET" in note for note in summary.notes)
    assert secret_in(home, out, err) == []
    assert not any(b"phone_to_call=" in path.read_bytes() for path in home.rglob("run.log.jsonl"))


def test_get_works_against_the_sandbox(leads: Leads, home: Path, rung: Callable[..., Account]) -> None:
    """Over a real connection, as the vendor's sample does it."""
    account = rung()
    result = call(leads, home, account, [(phone(1), AGENTS)], env=findme(account, DIALOGTECH_METHOD="GET"))
    assert result.fates == {2: "accepted"}
    assert [request["method"] for request in account.see("requests")] == ["GET"]
    assert secret_in(home, result.out, result.err) == []


def test_a_get_that_fits_in_no_url_has_not_left() -> None:
    """What can't be written as a URL is known not to be delivered."""
    vendor = Vendor(connected)
    wire = Wire(url="https://x.test/", credentials={}, transport=vendor, timeout_seconds=1, method="GET")
    with pytest.raises(httpx.ConnectError, match="use POST"):
        asyncio.run(wire.post(b"a=" + b"x" * 70_000))
    assert vendor.requests == []


@pytest.mark.parametrize("method", ["get", "PUT"])
def test_another_method_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """There are two, by these names."""
    monkeypatch.setenv("DIALOGTECH_METHOD", method)
    with pytest.raises(UserError, match="DIALOGTECH_METHOD"):
        settings.resolve({})


def test_forms_are_posted_where_nothing_else_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable says nothing; another vendor's calls are posted whatever is set."""
    monkeypatch.setenv("DIALOGTECH_METHOD", "")
    assert settings.method(settings.resolve({})[0], DIALOGTECH) == "POST"
    monkeypatch.setenv("DIALOGTECH_METHOD", "GET")
    assert settings.method(settings.resolve({})[0], DIALEDIN) == "POST"


def timed_out() -> httpx.Response:
    raise httpx.ReadTimeout("no complete reply in time")


@pytest.mark.parametrize(
    ("agents", "seconds", "loops", "expected"),
    [
        ("2025550190", "", "", 30 + 60),
        (AGENTS, "", "", 2 * 30 + 60),
        (AGENTS, "10", "", 2 * 10 + 60),
        (f"{AGENTS}|{phone(9)}", "60", "5", 3 * 60 * 5 + 60),
    ],
)
def test_a_call_is_waited_for_as_long_as_it_may_ring(
    home: Path, key: None, agents: str, seconds: str, loops: str, expected: int
) -> None:
    """timeout times numbers times loop_count, and a margin; each row its own. Then it is in doubt."""
    vendor = Vendor(timed_out)
    fields = 'timeout = "Seconds"\nloop_count = "Loops"'
    rows = [[phone(1), agents, seconds, loops], [phone(2), "2025550190", "10", "1"]]
    summary = load(home, vendor, ["Phone", "Agents", "Seconds", "Loops"], rows, fields)
    waited = {form["phone_to_call"]: request for form, request in zip(vendor.sent(), vendor.requests, strict=True)}
    assert {who: request.extensions["timeout"]["read"] for who, request in waited.items()} == {
        phone(1): expected,
        phone(2): 70,
    }
    assert {request.extensions["timeout"]["connect"] for request in vendor.requests} == {10}
    assert (len(vendor.requests), summary.codes) == (2, {"unknown/read_timeout": 2})


def test_a_longer_timeout_of_the_run_counts(home: Path, key: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """--timeout is never cut by what an operation says."""
    monkeypatch.setenv("LEADS_TIMEOUT", "400")
    vendor = Vendor(connected)
    load(home, vendor, ["Phone", "Agents"], [[phone(1), AGENTS]])
    assert vendor.requests[0].extensions["timeout"]["read"] == 400


def test_a_ref_of_ones_own_is_sent_and_told_apart(home: Path, key: None) -> None:
    """Where it is mapped, it goes as it is; a row without one carries its key."""
    vendor = Vendor(connected)
    load(home, vendor, ["Phone", "Agents", "Id"], [[phone(1), AGENTS, "same"], [phone(2), AGENTS, "same"],
                                                    [phone(3), AGENTS, ""]], 'ref = "Id"')  # fmt: skip
    refs = {form["phone_to_call"]: form["ref"] for form in vendor.sent()}
    assert (refs[phone(1)], refs[phone(2)]) == ("same", "same")
    assert len(refs[phone(3)]) == 32


def test_the_account_has_a_name_of_its_users_choice(home: Path, key: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger goes by it: another account knows nothing of what the first was told."""
    vendor = Vendor(connected)
    rows = [[phone(1), AGENTS]]
    assert load(home, vendor, ["Phone", "Agents"], rows).target == "account default at secure.dialogtech.com"
    assert load(home, vendor, ["Phone", "Agents"], rows).counts["skipped"] == 1
    monkeypatch.setenv("DIALOGTECH_ACCOUNT", "east")
    assert load(home, vendor, ["Phone", "Agents"], rows).counts["accepted"] == 1
    assert len(vendor.requests) == 2


# --- the sandbox


@contextmanager
def posted_to() -> Iterator[tuple[str, queue.Queue[tuple[str, str]]]]:
    """An address of this machine, and what is posted to it: (content type, text)."""
    told: queue.Queue[tuple[str, str]] = queue.Queue()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = {}
            while (line := self.rfile.readline().strip()) != b"":
                name, _, value = line.decode().partition(":")
                head[name.lower()] = value.strip()
            told.put((head["content-type"], self.rfile.read(int(head["content-length"])).decode()))
            self.wfile.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/none", told
        finally:
            server.shutdown()
            thread.join()


def asked(account: Account, **fields: str) -> str:
    form = {"key": KEY, "action": "clickto.findme", "list": AGENTS, "phone_to_call": phone(1)} | fields
    return httpx.post(f"{account.url}../dialogtech/ibp_api.php", data=form, verify=False).text


def test_the_sandbox_tells_the_no_answer_url(rung: Callable[..., Account]) -> None:
    """With type=2, where nobody on the list answers in any of the rounds, and with what became of each attempt."""
    account = rung(unanswered=frozenset(AGENTS.split("|")))
    with posted_to() as (url, told):
        assert "<result>failed</result>" in asked(account, type="2", loop_count="2", no_answer_url=url)
        kind, text = told.get(timeout=10)
    assert kind == "text/xml"
    assert f"<phone_to_call>{phone(1)}</phone_to_call>" in text
    assert text.count("<call_result>No Answer</call_result>") == 4
    assert [(r["part"], r["answered"]) for r in account.see("rings")] == [("list", False)] * 4


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/x", "https://127.0.0.1/x", "http://example.test/x", "http://127.0.0.1.example.test/", "x"]
)
def test_the_sandbox_posts_to_this_machine_alone(rung: Callable[..., Account], url: str) -> None:
    """It reaches nobody else, whatever a list says."""
    account = rung(unanswered=frozenset(AGENTS.split("|")))
    assert "failed" in asked(account, type="2", no_answer_url=url)
    assert account.see("state")["no_answer_posts"] == 0


def test_the_sandboxs_replies_are_the_vendors(rung: Callable[..., Account]) -> None:
    """Byte for byte those of its page, but for the number of the call."""
    account = rung(unanswered=frozenset({phone(1)}))
    for name, who in (("connected.xml", phone(2)), ("failed.xml", phone(1))):
        body = asked(account, phone_to_call=who)
        sid = account.see("rings")[-1]["sid"]
        known = "181127fc48636186" if name == "connected.xml" else "181127fa636be04c"
        assert body.replace(sid, known) == recorded(name)


def test_the_sandbox_keeps_its_caller_waiting(rung: Callable[..., Account]) -> None:
    """The reply comes after the first leg: as long as it rings."""
    account = rung(ring_seconds=0.05)
    reply = httpx.post(
        f"{account.url}../dialogtech/ibp_api.php",
        data={"key": KEY, "action": "clickto.findme", "list": AGENTS, "phone_to_call": phone(1)},
        verify=False,
    )
    assert reply.elapsed.total_seconds() >= 0.05


@pytest.mark.parametrize("missing", ["action", "list", "phone_to_call"])
def test_the_sandbox_fails_what_lacks_a_parameter(rung: Callable[..., Account], missing: str) -> None:
    """And rings nobody."""
    account = rung()
    assert "<result>failed</result>" in asked(account, **{missing: ""})
    assert account.see("rings") == []


def test_what_the_sandbox_assumes_is_said(rung: Callable[..., Account]) -> None:
    """Beside what is assumed about DialedIn."""
    assert set(ASSUMED) < set(rung().see("state")["assumed_behaviour"])
