"""When to send and when to stop: one request per phone, rows in order, and limits that are judged in time."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import Judgement, Payload, Status, UserError
from pipeline.pace import Turnstile, Window, backoff_seconds, claims
from pipeline.watch import ErrorLimit, Halt, Watch
from schemas.spec import Verdict


def payload(row: int, phone: str = "", identifier: str = "") -> Payload:
    return Payload(0, row, f"{row:032}", phone, identifier, "", b"", "")


# --- the turnstile

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "2025550101", "2025550102", "2025550103"]),
        st.sampled_from(["", "ClientId:1", "ClientId:2", "Phone:2025550101"]),
    ),
    max_size=25,
)


@settings(max_examples=200)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_turnstile_lets_each_row_through_alone_and_in_order(
    rows: list[tuple[str, str]], chance: random.Random
) -> None:
    """Whatever ends first: no claim is held twice, rows of one claim pass as they came, and none is lost."""
    turnstile, under_way, passed = Turnstile(), list[Payload](), list[Payload]()
    arriving = [payload(row, *claimed) for row, claimed in enumerate(rows)]
    entered = 0

    def go(row: Payload) -> None:
        assert not any(claims(row) & claims(other) for other in under_way)
        under_way.append(row)
        passed.append(row)

    while entered < len(arriving) or under_way:
        if entered < len(arriving) and (not under_way or chance.random() < 0.6):
            if turnstile.enter(arriving[entered]):
                go(arriving[entered])
            entered += 1
        else:
            turnstile.leave(under_way.pop(chance.randrange(len(under_way))))
        while chance.random() < 0.7 and (row := turnstile.next_ready()) is not None:
            go(row)
        if not under_way and (row := turnstile.next_ready()) is not None:
            go(row)
        assert turnstile.waiting == entered - len(passed)
    assert sorted(row.row for row in passed) == list(range(len(rows)))
    for claim in {c for row in arriving for c in claims(row)}:
        came = [row.row for row in arriving if claim in claims(row)]
        assert [row.row for row in passed if claim in claims(row)] == came


def test_a_row_that_waits_holds_nothing_else_up() -> None:
    """Rows with other phones overtake one that waits for its own."""
    turnstile = Turnstile()
    first, second, other = payload(1, "2025550101"), payload(2, "2025550101"), payload(3, "2025550102")
    assert turnstile.enter(first)
    assert not turnstile.enter(second)
    assert turnstile.enter(other)
    assert (turnstile.waiting, turnstile.next_ready()) == (1, None)
    turnstile.leave(first)
    assert (turnstile.waiting, turnstile.next_ready()) == (1, second)
    assert (turnstile.waiting, turnstile.next_ready()) == (0, None)


def test_a_free_row_does_not_overtake_one_that_waits_for_it() -> None:
    """A row that shares one claim with a waiting row waits behind it, though all it claims is free."""
    turnstile = Turnstile()
    assert turnstile.enter(payload(1, "2025550101"))
    assert not turnstile.enter(payload(2, "2025550101", "ClientId:1"))
    assert not turnstile.enter(payload(3, "2025550102", "ClientId:1"))


def test_a_row_that_is_ready_holds_its_claims() -> None:
    """Between its turn and its call nobody else gets the phone."""
    turnstile = Turnstile()
    first, second = payload(1, "2025550101"), payload(2, "2025550101")
    turnstile.enter(first)
    turnstile.enter(second)
    turnstile.leave(first)
    assert not turnstile.enter(payload(3, "2025550101"))
    assert turnstile.next_ready() == second


def test_rows_that_claim_nothing_never_wait() -> None:
    """A call without phone and identifier shares nothing with any other."""
    turnstile = Turnstile()
    assert all(turnstile.enter(payload(row)) for row in range(3))


# --- waiting


@given(st.integers(1, 10_000), st.none() | st.floats(0, 120), st.integers())
def test_backoff_is_bounded_and_never_less_than_asked(attempt: int, asked: float | None, seed: int) -> None:
    """A wait is jittered, at most half a second doubled per attempt and 30 in all, on top of what was asked."""
    wait = backoff_seconds(attempt, asked, random.Random(seed))
    least = asked or 0.0
    assert least <= wait <= least + min(0.5 * 2 ** min(attempt - 1, 20), 30)


def test_backoff_takes_its_chance_from_outside() -> None:
    """The same source of chance gives the same waits."""
    assert [backoff_seconds(2, None, random.Random(7)) for _ in range(2)] == [random.Random(7).uniform(0, 1.0)] * 2


# --- --max-errors


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("500", ErrorLimit(500, None)),
        (" 0 ", ErrorLimit(0, None)),
        ("20%", ErrorLimit(None, 0.2)),
        ("0%", ErrorLimit(None, 0.0)),
        ("100%", ErrorLimit(None, 1.0)),
    ],
)
def test_a_limit_is_a_number_or_a_share(text: str, limit: ErrorLimit) -> None:
    """A number counts rows, a number with % is a share."""
    assert ErrorLimit.parse(text) == limit


@pytest.mark.parametrize("text", ["", "%", "-1", "1.5", "101%", "5%%", "20 %", "all", "1e3", "²"])
def test_other_limits_are_refused(text: str) -> None:
    """What is neither is a mistake in usage."""
    with pytest.raises(UserError, match="give a number of rows"):
        ErrorLimit.parse(text)


# --- halting


def watched(limit: str, outcomes: Iterable[tuple[Status, str]]) -> tuple[Watch, int]:
    """A watch after it saw outcomes until it halted, and how many those were."""
    watch, seen = Watch(ErrorLimit.parse(limit)), 0
    for status, code in outcomes:
        if watch.halt is None:
            watch.saw_row(status, code)
            seen += 1
    return watch, seen


OK, DUPLICATE = (Status.ACCEPTED, "ok"), (Status.DUPLICATE, "duplicate_phone")
REFUSED, FAILED = (Status.REJECTED, "dnc"), (Status.FAILED, "throttled")
NO_ENTRY, DOUBT = (Status.FAILED, "credentials"), (Status.UNKNOWN, "read_timeout")


def code(halt: Halt | None) -> tuple[str, int] | None:
    return (halt.code, halt.exit_code) if halt else None


TOO_MANY, UNREACHABLE = ("too_many_errors", 3), ("unreachable", 75)


@pytest.mark.parametrize(
    ("limit", "outcomes", "expected", "seen"),
    [
        # A number: one more than allowed.
        ("3", [REFUSED, FAILED] * 5, TOO_MANY, 4),
        ("0", [OK, REFUSED], TOO_MANY, 2),
        ("3", [REFUSED] * 3 + [OK] * 500, None, 503),
        # A share: judged after 200 verdicts, and more than the share.
        ("20%", [REFUSED] * 41 + [OK] * 500, TOO_MANY, 200),
        ("20%", ([OK] * 3 + [REFUSED]) * 100, TOO_MANY, 200),
        ("20%", ([OK] * 4 + [REFUSED]) * 100, None, 500),
        ("20%", [DUPLICATE] * 159 + [REFUSED] * 41, TOO_MANY, 200),
        ("20%", [DUPLICATE] * 160 + [FAILED] * 40, None, 200),
        ("29%", ([OK] * 71 + [REFUSED] * 29) * 2 + [REFUSED], TOO_MANY, 201),
        ("29%", ([OK] * 71 + [REFUSED] * 29) * 2, None, 200),
        # In a row: any verdict that is none breaks the row; a doubt is no verdict.
        ("20%", [OK] * 1000 + [REFUSED] * 60, TOO_MANY, 1050),
        ("20%", [OK] * 1000 + [REFUSED] * 49 + [DUPLICATE] + [FAILED] * 49, None, 1099),
        ("20%", [OK] * 1000 + [REFUSED] * 49 + [DOUBT] + [FAILED] * 49, TOO_MANY, 1051),
        ("100%", [REFUSED] * 1000, None, 1000),
        # Doubts.
        ("20%", [OK, DOUBT] * 150, ("too_many_unknown", 3), 200),
        ("1000", [DOUBT] * 150, ("too_many_unknown", 3), 100),
        # What was never sent says nothing.
        ("0", [(Status.INVALID, "too_long"), (Status.SKIPPED, "suppressed")] * 500, None, 1000),
        ("0", [(Status.NOT_ATTEMPTED, "interrupted")] * 500, None, 500),
    ],
)
def test_limits(limit: str, outcomes: list[tuple[Status, str]], expected: tuple[str, int] | None, seen: int) -> None:
    """`--max-errors` counts rejected and failed rows, and a run in which too much is in doubt stops."""
    watch, after = watched(limit, outcomes)
    assert code(watch.halt) == expected
    assert after == seen
    assert watch.end == watch.halt


@pytest.mark.parametrize(
    ("outcomes", "halted", "end", "doubted"),
    [
        ([NO_ENTRY], None, "credentials", True),
        ([NO_ENTRY, NO_ENTRY], "credentials", "credentials", False),
        ([NO_ENTRY, FAILED, DOUBT, NO_ENTRY], "credentials", "credentials", False),
        ([OK, NO_ENTRY], None, None, True),
        ([NO_ENTRY, OK], None, None, False),
        ([NO_ENTRY, DUPLICATE, NO_ENTRY], None, None, True),
        ([NO_ENTRY, REFUSED, NO_ENTRY], None, None, True),
    ],
)
def test_credentials_are_believed_after_two(
    outcomes: list[tuple[Status, str]], halted: str | None, end: str | None, doubted: bool
) -> None:
    """One refusal is a doubt, which a verdict on the lead takes away; a second halts; alone it is the run's end."""
    watch, _ = watched("20%", outcomes)
    assert (watch.halt.code if watch.halt else None) == halted
    assert (watch.end.code if watch.end else None) == end
    assert watch.doubts_credentials is doubted
    assert not end or watch.end == Halt("credentials", "the vendor refused the credentials", 77)


def test_the_cause_says_more_than_that_there_were_too_many() -> None:
    """Where every row failed for the same cause, that cause is the end, even if `--max-errors` stopped the run."""
    watch, _ = watched("0", [NO_ENTRY])
    assert code(watch.halt) == TOO_MANY
    assert code(watch.end) == ("credentials", 77)
    watch = Watch(ErrorLimit.parse("0"))
    watch.saw_attempt(Verdict.NOT_DELIVERED, None)
    watch.saw_row(Status.FAILED, "connect_refused")
    assert code(watch.end) == UNREACHABLE
    watch, _ = watched("0", [OK, NO_ENTRY])
    assert code(watch.end) == TOO_MANY


def test_without_any_connection_twenty_refusals_halt() -> None:
    """Nothing was ever reached: 20 attempts are enough, and fewer are the end of a smaller run."""
    watch = Watch(ErrorLimit.parse("20%"))
    for _ in range(19):
        watch.saw_attempt(Verdict.NOT_DELIVERED, None)
    assert watch.halt is None
    assert code(watch.end) == UNREACHABLE
    watch.saw_attempt(Verdict.NOT_DELIVERED, None)
    assert code(watch.halt) == code(watch.end) == UNREACHABLE


@pytest.mark.parametrize(
    ("verdict", "http_status"),
    [
        (Verdict.ACCEPTED, 200),
        (Verdict.NOT_DELIVERED, 200),
        (Verdict.IN_DOUBT, None),
        (Verdict.THROTTLED, 429),
        (Verdict.MISCONFIGURED, 404),
    ],
)
def test_one_connection_shows_that_the_vendor_is_there(verdict: Verdict, http_status: int | None) -> None:
    """After any answer, or bytes that may have arrived, refused connections are failures like others."""
    watch = Watch(ErrorLimit.parse("20%"))
    watch.saw_attempt(verdict, http_status)
    for _ in range(100):
        watch.saw_attempt(Verdict.NOT_DELIVERED, None)
    assert (watch.halt, watch.end) == (None, None)


def test_the_first_halt_stays() -> None:
    """What comes in after a halt doesn't change why the run stopped."""
    watch = Watch(ErrorLimit.parse("0"))
    watch.saw_row(*OK)
    watch.saw_row(*REFUSED)
    for _ in range(100):
        watch.saw_row(*DOUBT)
    assert code(watch.halt) == code(watch.end) == TOO_MANY


def test_refusals_beside_a_call_that_was_answered_are_no_unreachable_vendor() -> None:
    """75 says that nothing was sent: a reply that comes after the twentieth refusal proves otherwise."""
    watch = Watch(ErrorLimit(None, 1.0))
    for _ in range(20):
        watch.saw_attempt(Verdict.NOT_DELIVERED, None)
    assert watch.end is not None
    assert watch.end.exit_code == 75
    watch.saw_attempt(Verdict.ACCEPTED, 200)
    assert watch.end.exit_code == 3


# --- how many calls may be under way

GOOD = Judgement(Verdict.ACCEPTED, "ok", http_status=200)
TROUBLE = [
    Judgement(Verdict.THROTTLED, "throttled", http_status=429),
    Judgement(Verdict.IN_DOUBT, "http_502", http_status=502),
    Judgement(Verdict.IN_DOUBT, "read_timeout"),
    Judgement(Verdict.IN_DOUBT, "dialer_timeout", http_status=200, still_at_work=True),
]


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda judgement: judgement.code)
def test_trouble_halves_the_calls_under_way_once_for_all_that_were(trouble: Judgement) -> None:
    """Eight calls that were on their way together and fail say the same thing: four may go, and not none."""
    window = Window(8)
    for _ in range(8):
        window.saw(trouble, began=0.0, ended=1.0)
    assert window.size == 4
    window.saw(trouble, began=1.0, ended=2.0)
    assert window.size == 2


def test_calm_lets_one_more_go_after_as_many_good_calls_as_may() -> None:
    """It creeps up, and never above what was allowed."""
    window = Window(4)
    window.saw(TROUBLE[0], began=0.0, ended=1.0)
    sizes = []
    for _ in range(12):
        window.saw(GOOD, began=2.0, ended=3.0)
        sizes.append(window.size)
    assert sizes == [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4]


@given(st.integers(1, 50), st.lists(st.tuples(st.sampled_from([GOOD, *TROUBLE]), st.floats(0, 10))))
def test_at_least_one_call_and_never_more_than_allowed(most: int, calls: list[tuple[Judgement, float]]) -> None:
    window, now = Window(most), 0.0
    for judgement, seconds in calls:
        window.saw(judgement, now, now + seconds)
        now += seconds / 2
        assert 1 <= window.size <= most


def test_a_refusal_says_nothing_of_the_pace() -> None:
    """A dialer that answers, whatever it says, is not overloaded; an address that refuses is not, either."""
    window = Window(8)
    for verdict in (Verdict.REJECTED, Verdict.DUPLICATE, Verdict.CREDENTIALS, Verdict.NOT_DELIVERED):
        window.saw(Judgement(verdict, "code", http_status=200), 0.0, 1.0)
    assert window.size == 8
