"""Replies, one recorded body a file: what each means, and what must never be taken for a verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import Judgement, Reply
from pipeline.replies import REPLY_KEPT, judge, normalise, retry_after_seconds
from schemas import dialedin_actions as actions
from schemas.catalogue import CATALOGUE
from schemas.dialedin import DIALER_ERROR, INSERT_LEAD, RESULT_REPLIES, SEARCH_LEAD, UPDATE_LEAD
from schemas.spec import Grade, Operation, Verdict

RECORDED = Path(__file__).parent / "replies"
NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)

ACCEPTED, DUPLICATE, REJECTED = Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.REJECTED
CREDENTIALS, NOT_DELIVERED, IN_DOUBT = Verdict.CREDENTIALS, Verdict.NOT_DELIVERED, Verdict.IN_DOUBT

CASES = {
    "accepted_one_space.html": (ACCEPTED, "ok"),
    "accepted_two_spaces.html": (ACCEPTED, "ok"),
    "accepted_spaced_out.html": (ACCEPTED, "ok"),
    "accepted_and_more.html": (IN_DOUBT, "unreadable_reply"),
    "ok_cut_off.html": (IN_DOUBT, "truncated_reply"),
    "result_cut_off.html": (IN_DOUBT, "truncated_reply"),
    "duplicate.html": (DUPLICATE, "duplicate_phone"),
    "duplicate_other_words.html": (DUPLICATE, "duplicate_phone"),
    "duplicate_cut_off.html": (IN_DOUBT, "truncated_reply"),
    "bad_token.html": (CREDENTIALS, "credentials"),
    "dnc_number.html": (REJECTED, "dnc"),
    "do_not_call.html": (REJECTED, "dnc"),
    "unknown_campaign.html": (REJECTED, "unknown_campaign"),
    "unknown_campaign_security.html": (REJECTED, "unknown_campaign"),
    "lead_not_found.html": (REJECTED, "not_found"),
    "crash_one_line.html": (IN_DOUBT, "dialer_error"),
    "crash_several_lines.html": (IN_DOUBT, "dialer_error"),
    "crash_page.html": (IN_DOUBT, "dialer_error"),
    "curl_5.html": (NOT_DELIVERED, "dialer_unreachable"),
    "curl_6.html": (NOT_DELIVERED, "dialer_unreachable"),
    "curl_7.html": (NOT_DELIVERED, "dialer_unreachable"),
    "curl_35.html": (NOT_DELIVERED, "dialer_unreachable"),
    "curl_28.html": (IN_DOUBT, "dialer_timeout"),
    "curl_52.html": (IN_DOUBT, "dialer_connection"),
    "curl_55.html": (IN_DOUBT, "dialer_connection"),
    "curl_56.html": (IN_DOUBT, "dialer_connection"),
    "curl_502.html": (IN_DOUBT, "dialer_connection"),
    "curl_503.html": (IN_DOUBT, "dialer_connection"),
    "curl_504.html": (IN_DOUBT, "dialer_connection"),
    "curl_cut_off.html": (IN_DOUBT, "truncated_reply"),
    "missing_campaign.html": (REJECTED, "missing_campaign"),
    "missing_groupid.html": (CREDENTIALS, "credentials"),
    "signing_error.html": (REJECTED, "signing_error"),
    "no_data_to_import.html": (REJECTED, "no_data"),
    "no_data_to_update.html": (REJECTED, "no_data"),
    "reserved_words.html": (REJECTED, "reserved_words"),
    "gateway_token.html": (CREDENTIALS, "credentials"),
    "gateway_other.html": (REJECTED, "gateway_refused"),
    "gateway_page.html": (IN_DOUBT, "unreadable_reply"),
    "html_page.html": (IN_DOUBT, "unreadable_reply"),
    "php_warning_in_front.html": (IN_DOUBT, "unreadable_reply"),
    "empty.html": (IN_DOUBT, "empty_reply"),
}
SEARCHES = {
    "search_found.json": (ACCEPTED, "found"),
    "search_several.json": (ACCEPTED, "found"),
    "search_exists.json": (ACCEPTED, "found"),
    "search_not_there.json": (ACCEPTED, "not_found"),
    "search_no_leads.json": (ACCEPTED, "not_found"),
    "search_null.json": (ACCEPTED, "not_found"),
    "search_empty.json": (ACCEPTED, "not_found"),
    "search_cut_off.json": (IN_DOUBT, "truncated_reply"),
    "search_other_shape.json": (IN_DOUBT, "unreadable_reply"),
    "search_list_of_text.json": (IN_DOUBT, "unreadable_reply"),
    "search_ok.html": (IN_DOUBT, "unreadable_reply"),
    "search_bad_field.html": (REJECTED, "gateway_refused"),
}
# Nobody has seen these: what is recorded is what the rules expect (grade ?).
ACTIONS = {
    "number_already_listed.html": (actions.INSERT_DNC, DUPLICATE, "already_there"),
    "number_not_listed.html": (actions.DELETE_DNC, REJECTED, "not_found"),
    "agents_available.html": (actions.AVAILABLE_INBOUND_AGENTS, ACCEPTED, "available"),
    "agents_none_available.html": (actions.AVAILABLE_INBOUND_AGENTS, ACCEPTED, "none_available"),
    "agent_not_found.html": (actions.SEND_SMS, REJECTED, "not_found"),
    "playlist_does_not_exist.html": (actions.RELOAD_PLAYLIST, REJECTED, "not_found"),
    "no_active_call.html": (actions.CONFERENCE_CALL, REJECTED, "no_conversation"),
    "list_name_not_unique.html": (actions.ADD_PHONE, REJECTED, "name_not_unique"),
    "list_exists.html": (actions.CREATE_LIST, DUPLICATE, "list_exists"),
}
LEAD_IDS = {"search_found.json": "4711", "search_exists.json": "4711"}


def recorded(name: str) -> str:
    return (RECORDED / name).read_bytes().decode()


def read(operation: Operation, body: str, status: int = 200, retry_after: str = "") -> Judgement:
    return judge(operation, Reply(status, body, "text/html", retry_after), NOW)


# --- what each recorded reply means


def test_every_recorded_reply_is_a_case() -> None:
    """No file is forgotten, and no case lacks its file."""
    recorded_here = (path.name for path in RECORDED.iterdir() if path.is_file())
    assert sorted(recorded_here) == sorted([*CASES, *SEARCHES, *ACTIONS])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("operation", [INSERT_LEAD, UPDATE_LEAD], ids=lambda o: o.name)
def test_recorded_replies(operation: Operation, name: str) -> None:
    """Each recorded body has its verdict and code, and keeps its text."""
    body = recorded(name)
    got = read(operation, body)
    assert (got.verdict, got.code) == CASES[name]
    assert (got.http_status, got.reply) == (200, normalise(body)[:REPLY_KEPT])
    assert bool(got.message) == (got.verdict is not ACCEPTED)
    assert (got.result, got.lead_id, got.retry_after_seconds) == (None, None, None)


@pytest.mark.parametrize("name", SEARCHES)
def test_recorded_searches(name: str) -> None:
    """A search that ran is accepted, found or not; what was found is kept as it came, with its id where it is one."""
    body = recorded(name)
    got = read(SEARCH_LEAD, body)
    assert (got.verdict, got.code) == SEARCHES[name]
    assert got.result == (body if got.code == "found" else None)
    assert got.lead_id == LEAD_IDS.get(name)


@pytest.mark.parametrize("name", [name for name, (verdict, _) in CASES.items() if verdict is not ACCEPTED])
def test_a_search_can_be_refused_like_any_call(name: str) -> None:
    """Refusals and doubts mean the same for a search."""
    got = read(SEARCH_LEAD, recorded(name))
    assert (got.verdict, got.code) == CASES[name]


def test_json_is_an_answer_to_a_search_alone() -> None:
    """JSON that comes in reply to an insert is no verdict."""
    assert read(INSERT_LEAD, recorded("search_exists.json")).verdict is IN_DOUBT


@pytest.mark.parametrize("name", ACTIONS)
def test_recorded_replies_to_actions(name: str) -> None:
    """What an action is expected to say beyond an insert's words; to an insert it says nothing certain."""
    operation, verdict, code = ACTIONS[name]
    got = read(operation, recorded(name))
    assert (got.verdict, got.code) == (verdict, code)
    assert got.result == {"available": "3", "none_available": "0"}.get(code)
    assert read(INSERT_LEAD, recorded(name)).verdict is not ACCEPTED


@pytest.mark.parametrize("operation", actions.OPERATIONS, ids=lambda o: o.name)
@pytest.mark.parametrize("name", CASES)
def test_actions_are_expected_to_answer_as_an_insert(operation: Operation, name: str) -> None:
    """The same words mean the same."""
    got = read(operation, recorded(name))
    expected = CASES[name]
    if operation is actions.AVAILABLE_INBOUND_AGENTS and expected[0] is ACCEPTED:
        expected = (IN_DOUBT, "unreadable_reply")  # an OK does not say how many
    assert (got.verdict, got.code) == expected


@pytest.mark.parametrize("operation", actions.OPERATIONS, ids=lambda o: o.name)
def test_what_no_public_sample_shows_is_graded_so(operation: Operation) -> None:
    """No rule for the reply to an action is known."""
    assert {rule.grade for rule in operation.replies} == {Grade.UNKNOWN}
    assert DIALER_ERROR not in operation.replies


@pytest.mark.parametrize("operation", [op for op in CATALOGUE.values() if not op.xml_reply], ids=lambda o: o.name)
def test_every_rule_decides_a_recorded_reply(operation: Operation) -> None:
    """No rule stands behind another that takes everything from it, and each has an example."""
    marked = tuple(replace(rule, code=str(i)) for i, rule in enumerate(operation.replies))
    hit = {read(replace(operation, replies=marked), recorded(name)).code for name in (*CASES, *SEARCHES, *ACTIONS)}
    assert [rule for i, rule in enumerate(operation.replies) if str(i) not in hit] in ([], _shadowed(operation))


def _shadowed(operation: Operation) -> list[object]:
    """The rule for OK that an operation which asks for something replaces by its own."""
    accepting = [rule for rule in operation.replies if rule.pattern == RESULT_REPLIES[0].pattern]
    return [rule for rule in accepting if rule.verdict is ACCEPTED] if len(accepting) > 1 else []


# --- what is never a verdict


@pytest.mark.parametrize(
    "name",
    [name for name, (verdict, _) in (CASES | SEARCHES).items() if verdict in (ACCEPTED, DUPLICATE)],
)
def test_a_reply_that_is_cut_off_is_in_doubt(name: str) -> None:
    """Every beginning of a reply that accepts or suppresses, but for white space at its end, is in doubt."""
    operation, body = SEARCH_LEAD if name in SEARCHES else INSERT_LEAD, recorded(name)
    for end in range(len(body)):
        cut = body[:end]
        if normalise(cut) != normalise(body) and name != "duplicate_other_words.html":
            assert read(operation, cut).verdict is IN_DOUBT, cut
        assert read(operation, cut).verdict not in (REJECTED, CREDENTIALS, NOT_DELIVERED), cut


_WORDS = st.sampled_from(
    [normalise(recorded(name)) for name in CASES]
    + ["Result: OK", "duplicate", "token", "DNC", "campaign", "lead not found", "are the reserved words", "<br>", "\n"]
)


@given(
    st.lists(_WORDS | st.text(max_size=5)).map(" ".join),
    st.sampled_from(["<html><body>{}</body></html>", "<!DOCTYPE html>\n{}", "<?xml version='1.0'?><e>{}</e>"]),
    st.sampled_from(["", "<br><br>Result: CURL error[500]: ", "Result: CURL error[403]: ", "Result: "]),
)
def test_words_inside_a_page_are_no_verdict(words: str, page: str, before: str) -> None:
    """Whatever a page says, by itself or behind a wrapped error, it decides nothing."""
    assert read(INSERT_LEAD, before + page.format(words)).verdict is IN_DOUBT


@given(st.text() | st.lists(_WORDS | st.text(max_size=5)).map("".join))
def test_only_the_exact_words_accept(body: str) -> None:
    """No text but the documented one is accepted, and any text at all has some verdict."""
    got = read(INSERT_LEAD, body)
    assert (got.verdict is ACCEPTED) == (normalise(body).casefold() == "result: ok")
    assert got.reply is not None
    assert len(got.reply) <= REPLY_KEPT
    got.reply.encode()


@pytest.mark.parametrize(
    "body",
    [
        "Result: OK\0",
        "Result: OK\ud800",
        "Result: NOT OK",
        "Result:OK",
        "OK",
        "Result: OKAY",
        "1",
        "true",
        "null",
        "[]",
    ],
)
def test_what_only_resembles_an_ok(body: str) -> None:
    """A text that differs by one character from the one that accepts doesn't."""
    assert read(INSERT_LEAD, body).verdict is not ACCEPTED
    assert read(SEARCH_LEAD, body).verdict is not ACCEPTED


@pytest.mark.parametrize(
    "body",
    [
        '{"a":' * 100_000,
        '{"id": ' + "9" * 5000 + ', "LeadExists": true}',
        '{"LeadExists": true',
        '{"LeadExists": "true"}',
        '{"LeadExists": 1}',
        '{"Leads": {}}',
        '{"Leads": [{}, 5]}',
        '{"Leads": "none"}',
        '{"id": 5}',
    ],
)
def test_json_that_says_nothing(body: str) -> None:
    """A search result that can't be read, or has another shape, is in doubt."""
    assert read(SEARCH_LEAD, body).verdict is IN_DOUBT


@pytest.mark.parametrize(
    ("lead_id", "expected"),
    [(4711, "4711"), ("a-1", "a-1"), (None, None), (True, None), (1.5, None), ({}, None), ("\ud800\0", "?\ufffd")],
)
def test_an_id_is_a_number_or_a_text(lead_id: object, expected: str | None) -> None:
    """Ids of other kinds are not kept, and what no database takes is replaced."""
    body = json.dumps({"Leads": [{"id": lead_id}]})
    got = read(SEARCH_LEAD, body)
    assert (got.code, got.lead_id, got.result) == ("found", expected, body)


def test_an_id_of_several_leads_is_none() -> None:
    """Where a search finds several leads, no id stands for the row."""
    assert read(SEARCH_LEAD, recorded("search_several.json")).lead_id is None


# --- the HTTP status


def statuses() -> Iterator[tuple[int, str, str, Verdict, str]]:
    ok, page = recorded("accepted_two_spaces.html"), recorded("html_page.html")
    for status in (200, 201, 299):
        yield status, ok, "", ACCEPTED, "ok"
    yield 204, "", "", IN_DOUBT, "empty_reply"
    yield 100, ok, "", IN_DOUBT, "http_100"
    for status in (301, 302, 303, 307, 308):
        yield status, ok, "", Verdict.MISCONFIGURED, "redirected"
    for status in (400, 403, 404, 405, 407, 410, 413, 499):
        yield status, ok, "", Verdict.MISCONFIGURED, f"http_{status}"
    yield 401, "", "", CREDENTIALS, "credentials"
    yield 401, ok, "", CREDENTIALS, "credentials"
    yield 401, page, "", Verdict.MISCONFIGURED, "http_401"
    for status in (408, 500, 501, 502, 503, 504, 520, 599):
        yield status, ok, "", IN_DOUBT, f"http_{status}"
    yield 503, ok, "soon", IN_DOUBT, "http_503"
    yield 503, page, "7", Verdict.THROTTLED, "throttled"
    yield 429, page, "", Verdict.THROTTLED, "throttled"
    yield 429, page, "7", Verdict.THROTTLED, "throttled"
    yield 502, page, "7", IN_DOUBT, "http_502"


@pytest.mark.parametrize(("status", "body", "retry_after", "verdict", "code"), list(statuses()))
def test_the_status_is_looked_at_first(status: int, body: str, retry_after: str, verdict: Verdict, code: str) -> None:
    """Beyond 2xx the body decides nothing, except that a page behind a 401 says nothing about the account."""
    for operation in (INSERT_LEAD, SEARCH_LEAD):
        if (operation, verdict) == (SEARCH_LEAD, ACCEPTED):
            continue
        got = read(operation, body, status, retry_after)
        assert (got.verdict, got.code, got.http_status) == (verdict, code, status)
        assert got.retry_after_seconds == (7.0 if retry_after == "7" and verdict is Verdict.THROTTLED else None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("  ", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("120", 120.0),
        ("121", 120.0),
        ("9" * 400, 120.0),
        ("Mon, 02 Mar 2026 12:00:30 GMT", 30.0),
        ("Mon, 02 Mar 2026 12:00:30 -0000", 30.0),
        ("Mon, 02 Mar 2026 14:00:30 +0200", 30.0),
        ("Mon, 02 Mar 2026 11:00:00 GMT", 0.0),
        ("Tue, 03 Mar 2026 12:00:00 GMT", 120.0),
        ("Mon, 02 Mar 2026 99:00:00 GMT", None),
        ("Mon, 02 Mar 2026 12:00:00 +9999", None),
        ("Mon, 02 Mar 2026 12:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    """Seconds or a date, never less than 0 or more than 120; what can't be read asks for nothing."""
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text(alphabet="Mon, 0123456789 GMT+-:Mar"))
@settings(max_examples=200)
def test_any_header_is_read(header: str) -> None:
    """No header that a server may send raises anything."""
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or 0 <= seconds <= 120
