from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Judgement
from pipeline.retries import CASES, RETRIES, Action, Case, Duplicates, case_of, follows, not_found
from schemas.catalogue import CATALOGUE
from schemas.spec import Settle, Verdict

AGAIN, LOOK, GIVE_UP = Action.SEND_AGAIN, Action.LOOK_UP, Action.GIVE_UP

# The whole table, written down once more: who changes a cell changes it here, too, and on purpose.
REPEAT = (AGAIN, AGAIN, AGAIN, AGAIN, GIVE_UP)
NEVER = (AGAIN, AGAIN, GIVE_UP, GIVE_UP, GIVE_UP)
SEARCH = (AGAIN, AGAIN, LOOK, LOOK, LOOK, Action.ACCEPT, GIVE_UP, AGAIN, Action.REJECT, Action.DUPLICATE)
SEARCH_DIALED = (AGAIN, AGAIN, LOOK, LOOK, LOOK, Action.ACCEPT, GIVE_UP, GIVE_UP, Action.REJECT, Action.DUPLICATE)
TABLE = {
    (Settle.REPEAT, Duplicates.SUPPRESSED): REPEAT,
    (Settle.REPEAT, Duplicates.STORED): REPEAT,
    (Settle.REPEAT, Duplicates.DIALED): REPEAT,
    (Settle.NEVER, Duplicates.SUPPRESSED): NEVER,
    (Settle.NEVER, Duplicates.STORED): NEVER,
    (Settle.NEVER, Duplicates.DIALED): NEVER,
    (Settle.SEARCH, Duplicates.SUPPRESSED): SEARCH,
    (Settle.SEARCH, Duplicates.STORED): SEARCH,
    (Settle.SEARCH, Duplicates.DIALED): SEARCH_DIALED,
}


def test_the_table_is_what_was_decided() -> None:
    """Every operation's settling, every mode, every case."""
    assert {at: tuple(column.values()) for at, column in RETRIES.items()} == TABLE
    assert all(tuple(column) == tuple(Case)[: len(column)] for column in RETRIES.values())


def test_every_case_has_words() -> None:
    """What `leads operations` shows for it."""
    assert list(CASES) == list(Case)


@pytest.mark.parametrize("operation", CATALOGUE.values(), ids=list(CATALOGUE))
@pytest.mark.parametrize("mode", Duplicates)
def test_what_may_have_arrived_is_never_sent_again_blindly(operation, mode) -> None:
    """Only what changes nothing when it is repeated goes out again before someone has looked."""
    column = follows(operation, mode)
    blind = {case for case in (Case.IN_DOUBT, Case.MAYBE_REFUSED) if column[case] is Action.SEND_AGAIN}
    assert not blind or operation.settle is Settle.REPEAT


def test_the_policy_has_the_last_word_on_rows_that_are_not_there() -> None:
    """`resend_unfound` says so for all modes; where nothing is looked up it changes nothing."""
    insert, update = CATALOGUE["InsertLead"], CATALOGUE["UpdateLead"]
    for mode in Duplicates:
        assert follows(insert, mode, resend_unfound=True)[Case.NOT_FOUND] is Action.SEND_AGAIN
        assert follows(insert, mode, resend_unfound=False)[Case.NOT_FOUND] is Action.GIVE_UP
        assert follows(update, mode, resend_unfound=True) == follows(update, mode)


def test_what_is_there_gets_its_update_where_that_is_a_step() -> None:
    """A composed operation has the column of its insert, and one case more."""
    insert, upsert = CATALOGUE["InsertLead"], CATALOGUE["UpsertLead"]
    for mode in Duplicates:
        for word in (None, True, False):
            column = dict(follows(upsert, mode, resend_unfound=word))
            assert column.pop(Case.THERE) is AGAIN
            assert column == follows(insert, mode, resend_unfound=word)


@given(st.sampled_from(Verdict), st.booleans())
def test_a_judgement_has_a_case_unless_it_is_final(verdict: Verdict, maybe_refused: bool) -> None:
    """Accepted, rejected, credentials and a wrong address are final; all else is in the table."""
    case = case_of(Judgement(verdict, "code", maybe_refused=maybe_refused))
    final = {Verdict.ACCEPTED, Verdict.REJECTED, Verdict.CREDENTIALS, Verdict.MISCONFIGURED}
    assert (case is None) == (verdict in final)


def test_what_was_looked_up_in_vain_is_told_apart() -> None:
    """A doubt, what may have been a refusal, and a duplicate that is not ours end differently."""
    assert not_found(Judgement(Verdict.IN_DOUBT, "read_timeout")) is Case.NOT_FOUND
    assert not_found(Judgement(Verdict.IN_DOUBT, "dialer_error", maybe_refused=True)) is Case.MAYBE_REFUSED_NOT_FOUND
    assert not_found(Judgement(Verdict.DUPLICATE, "duplicate_phone")) is Case.DUPLICATE_NOT_FOUND
