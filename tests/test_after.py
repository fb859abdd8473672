"""Steps after a load: when they run, what they send, how they end, and how a run goes on with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import moved_clock
import pytest
from conftest import BOTH, LATE_BY, Account, Leads, RawVendor, Result, http_reply, in_state, phone, write, write_csv

from pipeline import mapping
from pipeline.model import UserError
from schemas.catalogue import CATALOGUE
from schemas.spec import Settle

LEADS = Path(sys.executable).with_name("leads")
QUICK = ("--timeout", "1", "--settle", "0.2")
RELOAD, ENABLE = "PlaylistOperations.Reload", "PlaylistOperations.EnableFilter"
LOAD = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
Campaign = { value = "Spring Renewals" }
"""
SEARCH = """operation = "LeadOperations.SearchLead"
[fields]
SearchField = { value = "Phone" }
Identifier = "Phone"
"""
ENABLED = """
[[after]]
operation = "PlaylistOperations.EnableFilter"
fields = { Playlist = "Spring", Filter = "New" }
"""
RELOADED = """
[[after]]
operation = "PlaylistOperations.Reload"
[after.fields]
Playlist = "Spring"
"""
TEXTED = """
[[after]]
operation = "TextOperations.SendSms"
[after.fields]
From = "2025550100"
To = "2025550199"
Message = "The list is in."
"""
OK = http_reply("<br><br>Result:  OK")
REFUSED = http_reply("<br><br>Result: CURL error[500]: Playlist not found")
StartVendor = Callable[[Callable[[dict[str, str]], bytes]], RawVendor]


def when(condition: str, step: str = RELOADED) -> str:
    return step.replace("[[after]]", f'[[after]]\nwhen = "{condition}"')


@pytest.fixture
def listed(home: Path) -> Path:
    """A list of three leads."""
    return write_csv(home / "list.csv", [["Phone"], *([phone(i)] for i in range(3))])


def load(leads: Leads, mapping_text: str, env: Mapping[str, str], *args: object) -> Result:
    write(Path("list.toml"), mapping_text)
    return leads("load", "list.csv", "-m", "list.toml", *QUICK, "--json", *args, env=env)


def go_on(leads: Leads, command: str, env: Mapping[str, str], *args: object) -> Result:
    return leads(command, *QUICK, "--json", *args, env=env)


def ends(result: Result) -> list[str]:
    """How each step ended: status, or status/code where the code says more."""
    return [
        step["status"] + (f"/{step['code']}" if step["code"] not in (None, "ok") else "")
        for step in result.json["after"]
    ]


def asked(vendor: RawVendor) -> list[str]:
    """What the vendor was asked to do, in order: an action, or an insert."""
    return [form.get("Action", "insert") for form in vendor.forms]


def answers(**by_action: bytes) -> Callable[[dict[str, str]], bytes]:
    """OK to everything but these actions."""
    return lambda form: by_action.get(form.get("Action", "insert"), OK)


# What happens


def test_a_playlist_is_reloaded_once_the_list_is_in(leads: Leads, listed: Path, account: Account) -> None:
    """One call, after the last row, with the constants of the mapping; the summary tells, the report does not."""
    result = load(leads, LOAD + RELOADED, account.env)
    assert result.code == 0
    assert set(result.fates.values()) == {"accepted"}
    told = {"operation": RELOAD, "status": "accepted", "code": "ok", "message": "", "attempts": 1}
    assert result.json["after"] == [told]
    requests = account.see("requests")
    assert [request["operation"] for request in requests] == ["InsertLead"] * 3 + [RELOAD]
    assert requests[-1]["parameters"]["Playlist"] == "Spring"
    assert [(reload["what"], reload["name"]) for reload in account.see("reloads")] == [("playlist", "Spring")]


def test_the_next_night_reloads_again_if_there_is_news(leads: Leads, listed: Path, account: Account) -> None:
    """No row of the same list is accepted once more: the step is left out, and its absence is told."""
    load(leads, LOAD + RELOADED, account.env)
    same = load(leads, LOAD + RELOADED, account.env)
    assert (same.code, ends(same)) == (0, ["skipped/none_accepted"])
    write_csv(listed, [["Phone"], *([phone(i)] for i in range(4))])
    more = load(leads, LOAD + RELOADED, account.env)
    assert (more.code, ends(more)) == (0, ["accepted"])
    assert len(account.see("reloads")) == 2


def test_steps_go_in_the_order_of_the_mapping(leads: Leads, listed: Path, account: Account) -> None:
    """Each waits for the one before it."""
    account.call("PlaylistOperations", Action="AssignFilter", Playlist="Spring", Filter="New")
    result = load(leads, LOAD + ENABLED + RELOADED, account.env)
    assert ends(result) == ["accepted", "accepted"]
    assert [request["operation"] for request in account.see("requests")][-2:] == [ENABLE, RELOAD]


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.endswith("Reload")])
def test_a_step_without_phone_or_fields_has_a_place_in_the_journal(
    leads: Leads, home: Path, listed: Path, account: Account, name: str
) -> None:
    """Beside the rows, where no source of the run is."""
    fields = 'fields = { Playlist = "Spring" }' if CATALOGUE[name].fields else ""
    result = load(leads, f'{LOAD}\n[[after]]\noperation = "{name}"\n{fields}\n', account.env)
    assert ends(result) == ["accepted"]
    journal = in_state("SELECT source, row, operation, state FROM sends WHERE operation <> 'InsertLead'")
    assert journal == [(-1, 1, name, "settled")]


def test_people_are_told_of_each_step(leads: Leads, listed: Path, account: Account) -> None:
    """On the way on stderr, and a line at the end; `show` tells it again."""
    write(Path("list.toml"), LOAD + RELOADED + when("clean"))
    first = leads("load", "list.csv", "-m", "list.toml", env=account.env)
    assert first.err.count(f"then {RELOAD}") == 2
    assert f"then {RELOAD}: accepted" in first.out
    again = leads("load", "list.csv", "-m", "list.toml", env=account.env)
    assert f"then {RELOAD}: skipped/none_accepted: no row was accepted" in again.out
    assert f"then {RELOAD}" not in again.err.replace(f"then {RELOAD}\n", "", 1)  # the second one alone has gone
    assert leads("show").out.count(f"then {RELOAD}") == 2


# When


@pytest.mark.parametrize(
    ("condition", "end"), [("accepted", "skipped/none_accepted"), ("always", "accepted"), ("clean", "accepted")]
)
def test_a_list_without_news_meets_the_condition_or_not(
    leads: Leads, listed: Path, account: Account, condition: str, end: str
) -> None:
    """All of its rows were loaded before."""
    load(leads, LOAD, account.env)
    assert ends(load(leads, LOAD + when(condition), account.env)) == [end]


@pytest.mark.parametrize(
    ("condition", "end"), [("accepted", "accepted"), ("always", "accepted"), ("clean", "skipped/not_clean")]
)
def test_a_list_with_a_bad_row_meets_the_condition_or_not(
    leads: Leads, listed: Path, account: Account, condition: str, end: str
) -> None:
    """The rest of it is in; the exit code is that of the row."""
    write_csv(listed, [["Phone"], [phone(0)], ["555-01"]])
    result = load(leads, LOAD + when(condition), account.env)
    assert (result.code, ends(result)) == (1, [end])


def test_rows_in_doubt_do_not_keep_a_step_back(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """Others are in: the run ends with 5, and the playlist has them."""

    def answer(form: dict[str, str]) -> bytes:
        return http_reply("?") if form.get("PrimaryPhone") == phone(1) or form.get("SearchField") else OK

    vendor = raw_vendor(answer)
    result = load(leads, LOAD + RELOADED, vendor.env)
    assert (result.code, ends(result)) == (5, ["accepted"])
    assert result.json["counts"] == {"accepted": 2, "unknown": 1}


def test_no_step_follows_a_load_that_was_halted(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """Whatever its condition; what is left of the run goes with `resume`, and then its step."""
    vendor = raw_vendor(answers(insert=http_reply("<br><br>Result: Missing campaign")))
    write_csv(listed, [["Phone"], *([phone(i)] for i in range(9))])
    halted = load(leads, LOAD + when("always"), vendor.env, "--max-errors", "2", "--concurrency", "1")
    assert (halted.code, ends(halted)) == (3, ["not_attempted/halted"])
    assert set(asked(vendor)) == {"insert"}
    vendor.answer = answers()
    resumed = go_on(leads, "resume", vendor.env)
    assert (resumed.code, ends(resumed)) == (1, ["accepted"])
    assert asked(vendor)[-1] == "Reload"


def test_no_step_follows_refused_credentials(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """Exit 77, and not one call more."""
    vendor = raw_vendor(lambda _: http_reply("no", "401 Unauthorized"))
    result = load(leads, LOAD + when("always"), vendor.env, "--concurrency", "1")
    assert (result.code, ends(result)) == (77, ["not_attempted/halted"])
    assert set(asked(vendor)) == {"insert"}


def test_no_step_follows_an_interruption(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """Someone asked the run to end: the call that was under way has ended, and no other begins until `resume`."""

    def answer(_: dict[str, str]) -> bytes:
        os.kill(os.getpid(), signal.SIGTERM)
        vendor.answer = answers()
        return OK

    vendor = raw_vendor(answer)
    result = load(leads, LOAD + when("always"), vendor.env, "--concurrency", "1")
    assert (result.code, ends(result)) == (143, ["not_attempted/interrupted"])
    assert "Reload" not in asked(vendor)
    resumed = go_on(leads, "resume", vendor.env)
    assert (resumed.code, ends(resumed)) == (0, ["accepted"])


def test_a_step_that_is_interrupted_ends_and_the_next_waits(
    leads: Leads, listed: Path, raw_vendor: StartVendor
) -> None:
    """The signal comes while the first step is under way."""

    def answer(form: dict[str, str]) -> bytes:
        if form.get("Action") == "EnableFilter":
            os.kill(os.getpid(), signal.SIGINT)
        return OK

    vendor = raw_vendor(answer)
    result = load(leads, LOAD + ENABLED + RELOADED, vendor.env)
    assert (result.code, ends(result)) == (130, ["accepted", "not_attempted/interrupted"])
    assert ends(go_on(leads, "resume", vendor.env)) == ["accepted", "accepted"]
    assert asked(vendor)[3:] == ["EnableFilter", "Reload"]


def test_nothing_follows_where_nothing_may_be_sent(leads: Leads, listed: Path, account: Account) -> None:
    """`--limit 0`, whatever the condition."""
    result = load(leads, LOAD + when("always"), account.env, "--limit", 0)
    assert ends(result) == ["skipped/limit"]
    assert account.requests == 0


def test_a_check_says_what_would_follow(leads: Leads, listed: Path) -> None:
    """It sends nothing, and needs no credentials."""
    write(Path("list.toml"), LOAD + RELOADED)
    told = leads("check", "list.csv", "-m", "list.toml")
    assert told.code == 0
    assert f"would then {RELOAD}: where a row is accepted" in told.out


# How it ends


def test_a_step_that_fails_is_told_and_the_next_is_not_run(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """Exit 1 though every row is accepted; `resume` takes up what is left, and sends no row again."""
    vendor = raw_vendor(answers(EnableFilter=REFUSED))
    result = load(leads, LOAD + ENABLED + RELOADED, vendor.env)
    assert (result.code, ends(result)) == (1, ["rejected/not_found", "not_attempted/earlier_step"])
    assert result.json["after"][0]["message"].endswith("Playlist not found")
    assert f"next      once the cause of what {ENABLE} met is gone: leads resume" in leads("show").out
    vendor.answer = answers()
    resumed = go_on(leads, "resume", vendor.env)
    assert (resumed.code, ends(resumed)) == (0, ["accepted", "accepted"])
    assert resumed.json["after"][0]["attempts"] == 2
    assert asked(vendor) == ["insert"] * 3 + ["EnableFilter"] * 2 + ["Reload"]


def test_a_step_is_tried_again_as_a_row_is(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """A reload may be repeated: no reply, and it is sent again."""
    vendor = raw_vendor(lambda form: b"" if form.get("Action") and asked(vendor).count("Reload") < 2 else OK)
    result = load(leads, LOAD + RELOADED, vendor.env)
    assert (result.code, result.json["after"][0]["attempts"]) == (0, 2)


def test_a_step_in_doubt_is_settled_by_reconcile(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """Exit 5; it is sent again, as may be done with a reload, and what was not run is left to `resume`."""
    vendor = raw_vendor(answers(EnableFilter=b""))
    result = load(leads, LOAD + ENABLED + RELOADED, vendor.env, "--attempts", "1")
    assert (result.code, ends(result)) == (5, ["unknown/no_reply", "not_attempted/earlier_step"])
    vendor.answer = answers()
    settled = go_on(leads, "reconcile", vendor.env)
    assert (settled.code, ends(settled)) == (1, ["accepted", "not_attempted/left"])
    assert ends(go_on(leads, "resume", vendor.env)) == ["accepted", "accepted"]
    assert asked(vendor)[3:] == ["EnableFilter", "EnableFilter", "Reload"]


def test_a_run_that_retries_rows_takes_its_own_steps(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """It is a load like any other: what it delivers is to be in the playlist as well."""
    vendor = raw_vendor(answers(insert=http_reply("<br><br>Result: Missing campaign")))
    assert ends(load(leads, LOAD + RELOADED, vendor.env)) == ["skipped/none_accepted"]
    vendor.answer = answers()
    assert ends(go_on(leads, "retry", vendor.env)) == ["accepted"]


# A run that was cut short


@BOTH
def test_a_run_that_died_after_its_rows_takes_its_steps_once(
    leads: Leads, home: Path, listed: Path, account: Account
) -> None:
    """`resume` sends no row, and the step; another one sends nothing at all."""
    result = load(leads, LOAD + RELOADED, account.env)
    (result.folder / "summary.json").unlink()
    in_state("DELETE FROM sends WHERE source = -1")
    before = account.requests
    resumed = go_on(leads, "resume", account.env)
    assert (resumed.code, ends(resumed), account.requests) == (0, ["accepted"], before + 1)
    assert ends(go_on(leads, "resume", account.env)) == ["accepted"]
    assert account.requests == before + 1


def killed_in_its_step(home: Path, vendor: RawVendor, *args: str) -> list[tuple[Any, ...]]:
    """Kills a load while the vendor has its step; what the journal said of the step when it came."""
    seen: list[tuple[Any, ...]] = []

    def answer(form: dict[str, str]) -> bytes:
        if "Action" not in form:
            return OK
        seen.extend(in_state("SELECT source, row, operation, state FROM sends WHERE source = -1"))
        process.kill()
        return b""

    vendor.answer = answer
    program = [sys.executable, moved_clock.__file__, str(-LATE_BY.total_seconds())]
    command = [*program, "load", "list.csv", "-m", "list.toml", *QUICK, "--quiet", *args]
    with subprocess.Popen(command, env={**os.environ, **vendor.env}) as process:
        pass
    vendor.answer = answers()
    return seen


def test_a_step_is_on_disk_before_its_bytes_leave(
    leads: Leads, home: Path, listed: Path, raw_vendor: StartVendor
) -> None:
    """Killed in mid-step, the run goes on with it: a reload that may have been done may be done once more."""
    vendor = raw_vendor(answers())
    write(home / "list.toml", LOAD + RELOADED)
    assert killed_in_its_step(home, vendor) == [(-1, 1, RELOAD, "sending")]
    resumed = go_on(leads, "resume", vendor.env)
    assert (resumed.code, ends(resumed)) == (0, ["accepted"])
    assert asked(vendor) == ["insert"] * 3 + ["Reload"] * 2


def test_a_step_that_nothing_can_settle_is_never_repeated(
    leads: Leads, home: Path, listed: Path, raw_vendor: StartVendor
) -> None:
    """A text that may have gone out stays unknown, in `resume` and `reconcile` alike, and the next step waits."""
    assert CATALOGUE["TextOperations.SendSms"].settle is Settle.NEVER
    vendor = raw_vendor(answers())
    write(home / "list.toml", f'{LOAD}[policy]\nsuppress = "none"\n{TEXTED}{RELOADED}')
    killed_in_its_step(home, vendor, "--max-contacts", "1")
    for command in ("resume", "reconcile"):
        result = go_on(leads, command, vendor.env, "--max-contacts", "1")
        assert (result.code, ends(result)) == (5, ["unknown/interrupted", "not_attempted/earlier_step"])
    assert asked(vendor)[3:] == ["SendSms"]


def test_the_summary_can_be_made_again(leads: Leads, listed: Path, account: Account) -> None:
    """From the journal, where the run did not come to its end; without a call."""
    result = load(leads, LOAD + RELOADED + when("always", ENABLED), account.env)
    assert ends(result) == ["accepted", "rejected/not_found"]
    (result.folder / "summary.json").unlink()
    before = account.requests
    rebuilt = leads("show", "--rebuild", "--json")
    assert (ends(rebuilt), account.requests) == (ends(result), before)


def test_a_limit_counts_no_step(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """The one row that may go is in doubt, and the step was taken: it is still that row's turn."""
    vendor = raw_vendor(answers(insert=http_reply("?"), SearchLead=http_reply("?")))
    first = load(leads, LOAD + when("always"), vendor.env, "--limit", 1)
    assert (first.fates[2], ends(first)) == ("unknown/unreadable_reply", ["accepted"])
    vendor.answer = answers(SearchLead=http_reply('{"Leads":[]}'))
    assert go_on(leads, "resume", vendor.env).fates[2] == "accepted"


def test_no_step_is_read_back(leads: Leads, listed: Path, account: Account) -> None:
    """A sample is drawn from rows."""
    result = load(leads, LOAD + RELOADED, account.env, "--limit", 2, "--verify", "100%")
    assert result.json["read_back"] == {"matches": 2}
    resumed = go_on(leads, "resume", account.env)
    assert resumed.json["counts"] == {"accepted": 2, "not_attempted": 1}
    assert resumed.json["read_back"] == {"matches": 2}


# People


def test_a_step_that_contacts_people_needs_the_word_of_the_operator(
    leads: Leads, listed: Path, account: Account
) -> None:
    """`--max-contacts` and a suppress list, though the rows contact nobody."""
    refused = load(leads, LOAD + TEXTED, account.env)
    assert (refused.code, account.requests) == (2, 0)
    assert "TextOperations.SendSms contacts people: say how many people at most with --max-contacts N" in refused.err
    refused = load(leads, LOAD + TEXTED, account.env, "--max-contacts", 1)
    assert (refused.code, account.requests) == (2, 0)
    assert "suppress" in refused.err


def test_a_step_that_contacts_people_counts(leads: Leads, listed: Path, account: Account) -> None:
    """With rows that do, it is one more; nothing leaves where that is too many."""
    dialing = f'{LOAD}[policy]\nsuppress = "none"\ndialing = "immediate"\n{TEXTED}'
    refused = load(leads, dialing, account.env, "--max-contacts", 3)
    assert (refused.code, account.requests) == (2, 0)
    assert "4 people would be contacted" in refused.err
    assert ends(load(leads, dialing, account.env, "--max-contacts", 4)) == ["accepted"]
    assert len(account.see("texts")) == 1


def test_a_step_never_reaches_who_must_not_be_contacted(
    leads: Leads, home: Path, listed: Path, account: Account
) -> None:
    """It is held back by the suppress list, as a row is; the rows go."""
    write_csv(home / "dnc.csv", [["Phone"], ["2025550199"]])
    text = f'{LOAD}[policy]\nsuppress = "dnc.csv"\n{TEXTED}{RELOADED}'
    result = load(leads, text, account.env, "--max-contacts", 1)
    assert (result.code, ends(result)) == (0, ["skipped/suppressed", "accepted"])
    assert account.see("texts") == []


def test_who_was_forgotten_gets_no_text(leads: Leads, listed: Path, account: Account) -> None:
    """The mark that is kept of them holds for steps as well, even after searches."""
    leads("forget", "2025550199")
    result = load(leads, f'{SEARCH}[policy]\nsuppress = "none"\n{TEXTED}', account.env, "--max-contacts", 1)
    assert ends(result) == ["skipped/suppressed"]


def test_the_same_text_is_sent_once(leads: Leads, listed: Path, account: Account) -> None:
    """The ledger counts for a step as for a row; `--again` overrides it."""
    text = f'{LOAD}[policy]\nsuppress = "none"\n{when("always", TEXTED)}'
    assert ends(load(leads, text, account.env, "--max-contacts", 1)) == ["accepted"]
    assert ends(load(leads, text, account.env, "--max-contacts", 1)) == ["skipped/already_loaded"]
    assert ends(load(leads, text, account.env, "--max-contacts", 9, "--again")) == ["accepted"]


def test_a_step_that_changes_something_holds_the_account(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """A search alone takes no lock; with such a step it does."""
    other: list[int] = []

    def answer(form: dict[str, str]) -> bytes:
        if vendor.forms == [form]:
            command = [LEADS, "load", "other.csv", "-m", "other.toml", "--quiet"]
            ended = subprocess.run(command, env={**os.environ, **vendor.env}, capture_output=True, check=False)
            other.append(ended.returncode)
        return http_reply('{"LeadExists":false}') if form.get("SearchField") else OK

    vendor = raw_vendor(answer)
    write_csv(Path("other.csv"), [["Phone"], [phone(50)]])
    write(Path("other.toml"), LOAD)
    write(Path("list.toml"), SEARCH + RELOADED)
    result = leads("load", "list.csv", "-m", "list.toml", "--json", "--concurrency", 1, env=vendor.env)
    assert (result.code, ends(result), other) == (0, ["accepted"], [6])


# What can't be


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('operation = "PlaylistOperations.Relod"', "[[after]] 1: operation = 'PlaylistOperations.Relod' is not known"),
        ('when = "accepted"', "[[after]] 1: operation is missing"),
        (f'operation = "{RELOAD}"', f"[[after]] 1: {RELOAD} needs Playlist"),
        (f'operation = "{RELOAD}"\nwen = "always"', "unknown key '[[after]] 1: wen'; did you mean 'when'?"),
        (f'operation = "{RELOAD}"\nwhen = "never"', "[[after]] 1: when: input should be"),
        (f'operation = "{RELOAD}"\nfields = {{ Playlst = "A" }}', "[[after]] 1: [fields] 'Playlst' is not a field of"),
        (
            f'operation = "{RELOAD}"\nfields = {{ Playlist = 7 }}',
            "[[after]] 1: fields.Playlist: input should be a",
        ),
        (f'operation = "{RELOAD}"\nfields = {{ Playlist = {{ column = "Phone" }} }}', "[[after]] 1: fields.Playlist:"),
        (
            'operation = "InsertLead"\nfields = { ImportOnly = "0" }',
            "[[after]] 1: [fields] ImportOnly can't be set",
        ),
        ('operation = "ClickToFindMe.List"\nfields = {}', "is DialogTech's, and the rows go to DialedIn"),
    ],
)
def test_a_step_that_can_not_be_is_refused_when_the_mapping_is_read(step: str, words: str) -> None:
    """The message names the step and the field."""
    with pytest.raises(UserError) as error:
        mapping.parse(f"{LOAD}\n[[after]]\n{step}\n", "list.toml")
    assert str(error.value).startswith("mapping list.toml: ")
    assert words in str(error.value)


@pytest.mark.parametrize("value", [pytest.param("", id="empty"), pytest.param(" \u200b", id="blank")])
def test_a_value_that_its_operation_refuses_is_told_before_anything_is_sent(
    leads: Leads, home: Path, listed: Path, account: Account, value: str
) -> None:
    """By a check, a load and the doctor alike; no run is left behind."""
    text, words = LOAD + RELOADED + RELOADED.replace("Spring", value), "[[after]] 2: Playlist: "
    refused = load(leads, text, account.env)
    assert (refused.code, account.requests) == (2, 0)
    assert words in refused.err
    assert leads("check", "list.csv", "-m", "list.toml").code == 2
    assert words in leads("doctor", "-m", "list.toml", env=account.env).out
    assert list((home / "runs").glob("*")) == []


def test_values_are_cleaned_and_measured_as_those_of_rows(leads: Leads, listed: Path, account: Account) -> None:
    """A phone may be written as people write it; what is too long for its field is refused."""
    text = f'{LOAD}[policy]\nsuppress = "none"\n{TEXTED}'.replace('"2025550199"', '"(202) 555-0199"')
    assert ends(load(leads, text, account.env, "--max-contacts", 1)) == ["accepted"]
    assert [sent["phone"] for sent in account.see("texts")] == ["2025550199"]
    lead = f'{{ Campaign = "Demo", PrimaryPhone = "{phone(9)}", City = "{"W" * 999}" }}'
    refused = load(leads, f'{LOAD}\n[[after]]\noperation = "InsertLead"\nfields = {lead}\n', account.env)
    assert (refused.code, "[[after]] 1: City: " in refused.err) == (2, True)


def test_a_run_goes_on_with_the_steps_that_it_began_with(leads: Leads, listed: Path, raw_vendor: StartVendor) -> None:
    """What the mapping says by then is for the next load."""
    vendor = raw_vendor(answers(Reload=REFUSED))
    load(leads, LOAD + RELOADED, vendor.env)
    vendor.answer = answers()
    write(Path("list.toml"), LOAD + RELOADED.replace("Spring", "Autumn"))
    go_on(leads, "resume", vendor.env)
    assert [form["Playlist"] for form in vendor.forms if "Playlist" in form] == ["Spring", "Spring"]
