"""What `leads doctor` says of everything a load needs, with real sockets and files."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
import sqlalchemy as sa
from conftest import TOKEN, Account, Leads, RawVendor, Result, http_reply, phone, state_now, tls_server, write
from hypothesis import given
from hypothesis import strategies as st

from pipeline import doctor, lock, settings, statedb, tables
from pipeline.doctor.visit import PATIENCE_SECONDS, patience_seconds
from schemas.dialedin import INSERT_LEAD

LEADS = Path(sys.executable).with_name("leads")
CHECKS = [
    *("versions", "settings", "address", "credentials", "dns", "connection", "tls", "login", "clock"),
    *("state", "doubt", "lock", "runs", "disk"),
]
NOT_THERE = '{"id":0,"LeadExists":false}'
SPELLINGS = {TOKEN, quote(TOKEN), quote_plus(TOKEN), quote(TOKEN, safe="")}
MAPPING = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
Campaign = {campaign}
"""

RawVendors = Callable[[Callable[[dict[str, str]], bytes]], RawVendor]


@dataclass(frozen=True)
class Examined:
    """The checks of one `leads doctor --json`, by name; a name that comes twice is its last."""

    code: int
    checks: list[dict[str, Any]]

    def __getitem__(self, name: str) -> dict[str, Any]:
        return {check["name"]: check for check in self.checks}[name]

    def level(self, name: str) -> str:
        return self[name]["level"]

    @property
    def bad(self) -> list[str]:
        return [check["name"] for check in self.checks if check["level"] == "bad"]


def examined(result: Result) -> Examined:
    """The checks, which say what to do wherever something is not well, and hold no secret."""
    told = result.json
    assert told.keys() == {"checks", "exit_code"}
    assert told["exit_code"] == result.code
    assert result.err == ""
    assert not [text for text in SPELLINGS if text in result.out]
    for check in told["checks"]:
        assert check.keys() == {"name", "level", "message", "next"}
        assert "\n" not in check["message"]
        unseen = check["message"].startswith("not looked at: mend ")
        assert (check["next"] is None) == (check["level"] == "ok" or unseen)
    found = Examined(result.code, told["checks"])
    assert (result.code == 0) == (found.bad == [])
    return found


def answering(vendors: RawVendors, body: str, status: str = "200 OK", headers: str = "") -> RawVendor:
    """A vendor that says the same to every form; to a caller that asks nothing it says nothing."""
    return vendors(lambda form: http_reply(body, status, headers) if form else b"")


# All is well


def test_all_that_a_load_needs_is_looked_at(leads: Leads, account: Account, home: Path) -> None:
    """Against a rehearsal nothing is bad, and what one should know is that it is a rehearsal."""
    found = examined(leads("doctor", "--json", env=account.env))
    assert [check["name"] for check in found.checks] == CHECKS
    assert (found.code, found.bad) == (0, [])
    assert [check["name"] for check in found.checks if check["level"] == "warn"] == ["address"]
    assert "rehearsal" in found["address"]["message"]
    assert "DIALEDIN_BASE_URL" in found["address"]["next"]
    assert str(home / "state.db") in found["state"]["message"]
    assert "no earlier run" in found["state"]["message"]


def test_nothing_is_changed_at_the_vendor(leads: Leads, account: Account) -> None:
    """Whatever is asked is a search, by a form."""
    leads("doctor", "--campaign", "Demo", "--json", env=account.env)
    requests = account.see("requests")
    assert [(r["operation"], r["method"]) for r in requests] == [("LeadOperations.SearchLead", "POST")] * 2
    assert account.leads() == {}
    assert account.dials() == []


def test_nothing_is_left_on_this_machine(leads: Leads, account: Account, home: Path) -> None:
    """No run, no row and no held lock: only what the first load would make as well."""
    for _ in range(2):
        assert examined(leads("doctor", "--json", env=account.env)).code == 0
    assert list((home / "runs").iterdir()) == []
    state = statedb.engine(f"sqlite:///{home / 'state.db'}")
    with state.connect() as connection:
        for table in (tables.SENDS, tables.HELD):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0


def test_people_see_a_line_for_each_check_and_the_next_step_below_it(leads: Leads, account: Account) -> None:
    """The level comes first, then the name; the exit code ends it."""
    well = leads("doctor", env=account.env)
    assert (well.code, well.err) == (0, "")
    assert [line.split()[1] for line in well.out.splitlines() if line.startswith(("ok ", "warn", "bad "))] == CHECKS
    assert well.out.splitlines()[-1] == "nothing stands in the way of a load"
    unwell = leads("doctor", env={**account.env, "DIALEDIN_TOKEN": "wrong"})
    (at,) = (number for number, line in enumerate(unwell.out.splitlines()) if line.startswith("bad "))
    line, below = unwell.out.splitlines()[at : at + 2]
    assert line.split()[:2] == ["bad", "login"]
    assert below.strip().startswith("next: ")
    assert below.index("next") == line.index("the vendor")
    assert "exit code 77" in unwell.out.splitlines()[-1]


# Settings


def test_settings_that_cannot_be_read_are_one_bad_check(leads: Leads, home: Path) -> None:
    """All that goes by them is not looked at, and says so; the JSON is still one object."""
    write(home / "leads.toml", "rat = 5\n")
    found = examined(leads("doctor", "--json"))
    assert (found.code, found.bad) == (2, ["settings"])
    assert "'rat'" in found["settings"]["message"]
    assert found.level("versions") == "ok"
    unseen = [check["name"] for check in found.checks if check["message"] == "not looked at: mend settings first"]
    assert unseen == CHECKS[2:]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"LEADS_RATE": "fast"}, "LEADS_RATE"),
        ({"LEADS_MAX_ERRORS": "many"}, "max-errors"),
        ({"DIALEDIN_TOKEN": "", "DIALEDIN_TOKEN_FILE": "/lost/token"}, "DIALEDIN_TOKEN_FILE"),
    ],
)
def test_a_setting_that_cannot_be_is_named(leads: Leads, account: Account, env: dict[str, str], words: str) -> None:
    """As a load would name it."""
    found = examined(leads("doctor", "--json", env={**account.env, **env}))
    assert (found.code, found.bad) == (2, ["settings"])
    assert words in found["settings"]["message"]


@pytest.mark.parametrize("missing", ["DIALEDIN_TOKEN", "DIALEDIN_ACCID"])
def test_credentials_that_are_not_set_are_named(leads: Leads, account: Account, missing: str) -> None:
    """The vendor is reached, but not asked; an account that is known is still looked at."""
    found = examined(leads("doctor", "--json", env={**account.env, missing: ""}))
    assert (found.code, found.bad) == (2, ["credentials"])
    assert missing in found["credentials"]["next"]
    assert found.level("connection") == "ok"
    assert found["login"]["message"] == "not looked at: mend credentials first"
    assert found.level("lock") == ("ok" if missing == "DIALEDIN_TOKEN" else "warn")
    assert account.requests == 0


def test_credentials_are_told_by_where_they_come_from(leads: Leads, account: Account, home: Path) -> None:
    """The variable that names the file is the one to mend."""
    write(home / "leads.toml", 'dialedin_accid = "sandbox"\n')
    token = write(home / "token", TOKEN)
    env = {"DIALEDIN_BASE_URL": account.url, "DIALEDIN_TOKEN_FILE": str(token)}
    found = examined(leads("doctor", "--json", env=env))
    assert found["credentials"]["message"] == (
        "account sandbox: token from DIALEDIN_TOKEN_FILE, accid from dialedin_accid in leads.toml"
    )
    assert found["settings"]["message"].startswith("leads.toml read")
    write(home / "token", "wrong")
    assert "DIALEDIN_TOKEN_FILE and dialedin_accid in" in examined(leads("doctor", "--json", env=env))["login"]["next"]


@pytest.mark.parametrize("url", ["http://api.example.test/HttpImport/", "https://a:b@x.test/", "https://[::1/"])
def test_an_address_that_cannot_be_is_not_gone_to(leads: Leads, account: Account, url: str) -> None:
    """What is wrong is said as a load would say it; this machine is looked at all the same."""
    found = examined(leads("doctor", "--json", env={**account.env, "DIALEDIN_BASE_URL": url}))
    assert (found.code, found.bad) == (2, ["address"])
    assert "base URL" in found["address"]["message"]
    for name in ("dns", "connection", "tls", "login", "clock"):
        assert found[name]["message"] == "not looked at: mend address first"
    assert {found.level(name) for name in ("state", "lock", "runs", "disk")} == {"ok"}


def test_a_mapping_that_cannot_be_read_hides_nothing_else(leads: Leads, account: Account, home: Path) -> None:
    """It is named, and the vendor is still asked."""
    write(home / "bad.toml", 'operation = "InsertLaed"\n[fields]\nPrimaryPhone = "Phone"\n')
    found = examined(leads("doctor", "-m", "bad.toml", "--json", env=account.env))
    assert (found.code, found.bad) == (2, ["mapping"])
    assert "InsertLead" in found["mapping"]["message"]
    assert found.level("login") == "ok"


# The way to the vendor


def test_a_host_without_an_address_is_told_from_one_that_does_not_answer(
    leads: Leads, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is what is bad; what comes after it is not looked at."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = examined(leads("doctor", "--json", env={**account.env, "DIALEDIN_BASE_URL": "https://nobody.test/x/"}))
    assert (found.code, found.bad) == (75, ["dns"])
    assert found["address"]["message"] == "https://nobody.test/x/, by DIALEDIN_BASE_URL"
    assert found["dns"]["message"] == "nobody.test can't be resolved: Name or service not known"
    assert {found[name]["message"] for name in ("connection", "tls", "login")} == {"not looked at: mend dns first"}


def test_a_port_where_nobody_listens_is_exit_code_75(leads: Leads, closed_port: int) -> None:
    """The host is there, the port is not; where a rehearsal was meant, the simulator is named."""
    found = examined(leads("doctor", "--json", env=Account(f"http://127.0.0.1:{closed_port}/HttpImport/").env))
    assert (found.code, found.bad) == (75, ["connection"])
    assert found["connection"]["message"] == f"127.0.0.1 port {closed_port}: Connection refused"
    assert "leads sandbox" in found["connection"]["next"]
    assert found["clock"]["message"] == "not looked at: mend connection first"
    assert {found.level(name) for name in ("state", "lock", "runs", "disk")} == {"ok"}


def secured(vendor: RawVendor, certificate: Path) -> dict[str, str]:
    """The environment by which the vendor is reached, from now on over TLS."""
    vendor.socket = tls_server(certificate).wrap_socket(vendor.socket, server_side=True)
    return Account(vendor.url.replace("http:", "https:")).env


def test_a_certificate_that_nobody_vouches_for_is_told_from_a_refused_connection(
    leads: Leads, raw_vendor: RawVendors, certificate: Path
) -> None:
    """The connection is there, the certificate is not trusted, and no credentials are sent."""
    vendor = answering(raw_vendor, NOT_THERE)
    found = examined(leads("doctor", "--json", env=secured(vendor, certificate)))
    assert (found.code, found.bad) == (75, ["tls"])
    assert found.level("connection") == "ok"
    assert "self-signed certificate" in found["tls"]["message"]
    assert "SSL_CERT_FILE" in found["tls"]["next"]
    assert not any(vendor.forms)


def test_a_trusted_certificate_is_shown_with_its_end(home: Path, raw_vendor: RawVendors, certificate: Path) -> None:
    """Over TLS the whole way is looked at; in a process of its own, since certificates are read once."""
    env = {**os.environ, **secured(answering(raw_vendor, NOT_THERE), certificate), "SSL_CERT_FILE": str(certificate)}
    done = subprocess.run([LEADS, "doctor", "--json"], env=env, cwd=home, capture_output=True, text=True, check=False)
    found = examined(Result(done.returncode, done.stdout, done.stderr))
    assert (found.code, found.bad) == (0, [])
    assert found.level("address") == "ok"
    assert "certificate valid until 20" in found["tls"]["message"]
    assert found.level("login") == "ok"


def test_a_handshake_that_nobody_answers_is_waited_for_no_longer_than_asked(leads: Leads, home: Path) -> None:
    """What accepts connections need not speak TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = Account(f"https://127.0.0.1:{silent.getsockname()[1]}/HttpImport/").env
        found = examined(leads("doctor", "--timeout", 0.3, "--json", env=env))
    assert (found.code, found.bad) == (75, ["tls"])
    assert "no answer in 0.3 s" in found["tls"]["message"]


def test_a_server_that_speaks_no_tls_is_told(leads: Leads, account: Account) -> None:
    """An https address of a plain http server."""
    found = examined(leads("doctor", "--json", env={**account.env, "DIALEDIN_BASE_URL": "https" + account.url[4:]}))
    assert (found.code, found.bad) == (75, ["tls"])
    assert "handshake" in found["tls"]["message"]


def test_certificates_that_are_not_there_are_a_setting_to_mend(home: Path, account: Account) -> None:
    """They are read before anything is asked, as a load does."""
    env = {**os.environ, **account.env, "SSL_CERT_FILE": "/lost/ca.pem"}
    done = subprocess.run([LEADS, "doctor", "--json"], env=env, cwd=home, capture_output=True, text=True, check=False)
    found = examined(Result(done.returncode, done.stdout, done.stderr))
    assert (found.code, found.bad) == (2, ["tls"])
    assert "SSL_CERT_FILE" in found["tls"]["next"]
    assert account.requests == 0


@pytest.mark.parametrize(
    ("flags", "configured", "expected"), [({}, 30, PATIENCE_SECONDS), ({}, 4, 4), ({"timeout": 40}, 30, 40)]
)
def test_the_doctor_is_less_patient_than_a_load(
    home: Path, flags: dict[str, object], configured: float, expected: float
) -> None:
    """The timeout of the settings is cut at 10 seconds, and --timeout is taken at its word."""
    write(home / "leads.toml", f"timeout = {configured}\n")
    assert patience_seconds(*settings.resolve(flags)) == expected


# What the vendor says


def test_a_wrong_token_is_exit_code_77(leads: Leads, account: Account) -> None:
    """What to mend is named; the reply has told the time all the same."""
    found = examined(leads("doctor", "--campaign", "Demo", "--json", env={**account.env, "DIALEDIN_TOKEN": "wrong"}))
    assert (found.code, found.bad) == (77, ["login"])
    assert "Invalid token" in found["login"]["message"]
    assert found["login"]["next"] == "mend DIALEDIN_TOKEN and DIALEDIN_ACCID (see: leads config)"
    assert found["campaign"]["message"] == "not looked at: mend login first"
    assert found.level("clock") == "ok"
    assert account.requests == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "words", "step"),
    [
        ("no", "401 Unauthorized", 77, "HTTP 401", "DIALEDIN_TOKEN"),
        ("not here", "404 Not Found", 2, "HTTP 404", "DIALEDIN_BASE_URL"),
        ("", "302 Found", 2, "HTTP 302", "DIALEDIN_BASE_URL"),
        ("", "502 Bad Gateway", 75, "HTTP 502", "try again"),
        ("", "200 OK", 75, "an empty reply", "DIALEDIN_BASE_URL"),
        ("<html><title>Wi-Fi login</title></html>", "200 OK", 75, "Wi-Fi login", "DIALEDIN_BASE_URL"),
        ("<br><br>Result:  OK", "200 OK", 75, "Result: OK", "try again"),
        ("<br><br>Result: CURL error[7]: Failed to connect", "200 OK", 75, "CURL error[7]", "try again"),
        ("<br><br>Result: Searching is not for you", "200 OK", 2, "not for you", "right to search"),
        ("x" * 1000, "200 OK", 75, "x" * 100, "try again"),
        ("wait", "429 Too Many Requests", 0, "slow down", "--rate"),
    ],
)
def test_what_a_reply_means_decides_what_to_do(
    leads: Leads, raw_vendor: RawVendors, body: str, status: str, code: int, words: str, step: str
) -> None:
    """As the rules for replies judge it; HTTP 200 alone says nothing."""
    vendor = answering(raw_vendor, body, status)
    found = examined(leads("doctor", "--json", env=vendor.env))
    assert (found.code, found.level("login")) == (code, "bad" if code else "warn")
    assert words in found["login"]["message"]
    assert step in found["login"]["next"]
    assert len(found["login"]["message"]) < 300


def test_a_vendor_that_does_not_answer_is_exit_code_75(leads: Leads, raw_vendor: RawVendors) -> None:
    """It takes the question, and hangs up."""
    vendor = raw_vendor(lambda _: b"")
    found = examined(leads("doctor", "--json", env=vendor.env))
    assert (found.code, found.bad) == (75, ["login"])
    assert "hung up" in found["login"]["message"]
    assert found["clock"]["message"] == "not looked at: mend login first"


def test_words_of_a_reply_do_nothing_to_a_terminal(leads: Leads, raw_vendor: RawVendors) -> None:
    """What comes from outside is shown as text: no escape sequence, no markup, no line break."""
    vendor = answering(raw_vendor, "Result: \x1b[2J [red]gone[/red]")
    shown = leads("doctor", env=vendor.env)
    assert "\x1b" not in shown.out
    assert "[red]gone[/red]" in shown.out


def test_a_campaign_is_asked_about_in_a_search_of_its_own(leads: Leads, raw_vendor: RawVendors, home: Path) -> None:
    """Those of --campaign, then the mapping's; each once, and never more is claimed than the vendor said."""
    write(home / "m.toml", MAPPING.format(campaign='{ value = "Spring" }'))
    refused = http_reply("<br><br>Result: CURL error[500]: Campaign does not exist.")
    vendor = raw_vendor(lambda form: refused if form.get("Campaign") == "Spring" else http_reply(NOT_THERE))
    asked = ("--campaign", "Demo", "--campaign", "Demo", "-m", "m.toml")
    found = examined(leads("doctor", *asked, "--json", env=vendor.env))
    assert [form.get("Campaign") for form in vendor.forms if form] == [None, "Demo", "Spring"]
    demo, spring = (check for check in found.checks if check["name"] == "campaign")
    assert (demo["level"], demo["message"]) == (
        "ok",
        "'Demo': no objection (the vendor does not say whether it exists)",
    )
    assert (found.code, spring["level"]) == (2, "bad")
    assert "the vendor refused it: Result: CURL error[500]: Campaign does not exist." in spring["message"]


def test_a_campaign_that_is_not_judged_is_as_bad_as_the_reason(leads: Leads, raw_vendor: RawVendors) -> None:
    """A reply that says nothing about the campaign is not a refusal of it."""
    vendor = raw_vendor(lambda form: http_reply("" if "Campaign" in form else NOT_THERE))
    found = examined(leads("doctor", "--campaign", "Demo", "--json", env=vendor.env))
    assert (found.code, found.bad) == (75, ["campaign"])
    assert "refused" not in found["campaign"]["message"]


def test_campaigns_that_are_in_the_file_are_not_asked_about(leads: Leads, account: Account, home: Path) -> None:
    """The mapping says so, and how to ask."""
    write(home / "m.toml", MAPPING.format(campaign='"Campaign"'))
    found = examined(leads("doctor", "-m", "m.toml", "--json", env=account.env))
    assert "--campaign NAME" in found["mapping"]["message"]
    assert "campaign" not in [check["name"] for check in found.checks]


def test_a_vendor_without_a_search_is_not_asked(home: Path, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it takes the credentials shows with the first call, and that is what is said."""
    for name, value in account.env.items():
        monkeypatch.setenv(name, value)

    def nobody_calls() -> httpx.AsyncBaseTransport:
        raise AssertionError

    searchless = (replace(INSERT_LEAD, lookup=None),)
    asked = doctor.Asked({}, None, ("Demo",), nobody_calls, lambda: datetime.now(UTC), searchless)
    found = {check.name: check for check in doctor.examine(asked)}
    assert {found[name].level for name in ("login", "campaign", "clock")} == {"warn"}
    assert found["login"].next == found["campaign"].next == "load with --limit 1 first"
    assert doctor.exit_code(found.values()) == 0


@pytest.mark.parametrize(
    ("hours", "level", "words"),
    [
        (-1, "warn", "60 min ahead of"),
        (2, "warn", "120 min behind"),
        (0, "ok", "within 60 s"),
        ("noon", "warn", "can't be told"),
        (None, "warn", "can't be told"),
    ],
)
def test_our_clock_is_compared_with_the_vendors(
    leads: Leads, raw_vendor: RawVendors, hours: float | str | None, level: str, words: str
) -> None:
    """What depends on it is said where it is off; where the vendor doesn't say what time it is, nothing is claimed."""
    said = hours if isinstance(hours, str) else format_datetime(datetime.now(UTC) + timedelta(hours=hours or 0), True)
    vendor = answering(raw_vendor, NOT_THERE, headers="" if hours is None else f"Date: {said}\r\n")
    found = examined(leads("doctor", "--json", env=vendor.env))
    assert (found.code, found.level("clock")) == (0, level)
    assert words in found["clock"]["message"]
    assert ("ledger" in found["clock"]["message"]) == ("min" in words)


# Secrets


@pytest.mark.parametrize(
    "answer",
    [
        lambda token: http_reply(f"<br><br>Result: CURL error[500]: token={token} is invalid."),
        lambda token: http_reply(f"<br><br>Result: CURL error[500]: Campaign of {quote_plus(token)} does not exist."),
        lambda token: http_reply(f"<html><body>You sent token={token}</body></html>"),
        lambda token: http_reply("x" * 155 + token),
        lambda token: f"HTTP/1.1 {token} what\r\n\r\n".encode(),
        lambda token: http_reply(NOT_THERE, headers=f"Date: {token}\r\n"),
    ],
    ids=["refusal", "quoted", "page", "at-the-cut", "status-line", "date"],
)
def test_a_token_that_comes_back_is_not_shown(
    leads: Leads, raw_vendor: RawVendors, answer: Callable[[str], bytes]
) -> None:
    """Not even the beginning of it, in JSON or for people."""
    vendor = raw_vendor(lambda form: answer(form["token"]) if form else b"")
    for flags in (("--json",), ()):
        result = leads("doctor", "--campaign", "Demo", *flags, env=vendor.env)
        assert not [text for text in {*SPELLINGS, TOKEN[:6]} if text in result.out + result.err]


# This machine


@pytest.mark.parametrize(
    "content", [b"not a database, but a text that is long enough", b"SQLite format 3\0" + b"\xff" * 500]
)
def test_a_state_that_is_no_database_is_exit_code_70(
    leads: Leads, account: Account, home: Path, content: bytes
) -> None:
    """The vendor is still asked, the disk still measured."""
    write(home / "state.db", content)
    found = examined(leads("doctor", "--json", env=account.env))
    assert (found.code, found.bad) == (70, ["state"])
    assert "--state" in found["state"]["next"]
    assert found["lock"]["message"] == "not looked at: mend state first"
    assert {found.level(name) for name in ("login", "runs", "disk")} == {"ok"}


@pytest.mark.parametrize("state", ["state.db", "mysql://localhost/x", "sqlite:///file/state.db", "sqlite://"])
def test_a_state_that_cannot_be_made_is_exit_code_70(leads: Leads, account: Account, home: Path, state: str) -> None:
    """An address of another kind, in memory, or below a file."""
    write(home / "file", "")
    found = examined(leads("doctor", "--state", state, "--json", env=account.env))
    assert (found.code, found.bad) == (70, ["state"])


def with_state(leads: Leads, account: Account, home: Path) -> sqlite3.Connection:
    """The state database, made by a first visit."""
    assert leads("doctor", "--json", env=account.env).code == 0
    return sqlite3.connect(home / "state.db", isolation_level=None)


def test_a_damaged_state_is_found_before_the_night(leads: Leads, account: Account, home: Path) -> None:
    """It opens and can be written, but is not whole; what is lost with it is said."""
    database = with_state(leads, account, home)
    (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sends_of_a_key'").fetchone()
    (page,) = database.execute("PRAGMA page_size").fetchone()
    database.close()
    content = bytearray((home / "state.db").read_bytes())
    content[(root - 1) * page : root * page] = b"\x7f" * page
    (home / "state.db").write_bytes(content)
    found = examined(leads("doctor", "--json", env=account.env))
    assert (found.code, found.bad) == (70, ["state"])
    assert "sent again" in found["state"]["next"]


def test_a_state_that_takes_no_rows_is_exit_code_70(leads: Leads, account: Account, home: Path) -> None:
    """That it can be opened is not enough: a row is written and taken back."""
    database = with_state(leads, account, home)
    database.execute("CREATE TRIGGER full BEFORE INSERT ON held BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    database.close()
    found = examined(leads("doctor", "--json", env=account.env))
    assert (found.code, found.bad) == (70, ["state"])
    assert "disk is full" in found["state"]["message"]


def test_a_state_that_someone_else_holds_is_told(leads: Leads, account: Account, home: Path) -> None:
    """It is waited for no longer than for the vendor."""
    database = with_state(leads, account, home)
    database.execute("BEGIN IMMEDIATE")
    found = examined(leads("doctor", "--timeout", 0.5, "--json", env=account.env))
    database.close()
    assert found.bad[-1] == "state"
    assert found.code == 70
    assert "locked" in found["state"]["message"]


def sent(account: Account, key: str, row: int, state: str = "settled", status: str | None = None) -> dict[str, Any]:
    """A row of the journal."""
    return {
        "run_id": f"run-{row}",
        "source": 0,
        "row": row,
        "operation": "InsertLead",
        "row_key": key,
        "account": f"sandbox@{account.url}",
        "phone": phone(row),
        "identifier": "",
        "payload_sha256": "",
        "state": state,
        "status": status,
        "attempts": 1,
        "reconciled": False,
    }


def test_rows_in_doubt_are_counted_by_account(leads: Leads, account: Account, home: Path) -> None:
    """Those that a later run has settled are in doubt no more, and those of others are theirs."""
    rows = [
        sent(account, "doubtful", 1, status="unknown"),
        sent(account, "doubtful", 2, status="unknown"),
        sent(account, "settled", 3, status="unknown"),
        sent(account, "settled", 4, status="accepted"),
        sent(account, "died", 5, state="sending"),
        sent(account, "well", 6, status="accepted"),
        {**sent(account, "theirs", 7, status="unknown"), "account": "another"},
    ]
    with statedb.engine(f"sqlite:///{home / 'state.db'}").begin() as connection:
        connection.execute(sa.insert(tables.SENDS), rows)
    found = examined(leads("doctor", "--json", env=account.env))
    assert (found.code, found.level("doubt")) == (0, "warn")
    assert "in doubt: 1; under way, or left so by a run that died: 1" in found["doubt"]["message"]
    assert "no earlier run" not in found["state"]["message"]


def test_who_holds_the_account_is_told(leads: Leads, account: Account, home: Path) -> None:
    """Exit code 6; the lock of another account is no matter, and a visit leaves it free."""
    scope = f"sandbox@{account.url}"
    with lock.held(state_now(), scope, "20261123T010203Z-night-0a1b2c3d"):
        found = examined(leads("doctor", "--json", env=account.env))
        other = examined(leads("doctor", "--json", env={**account.env, "DIALEDIN_ACCID": "other"}))
    assert (found.code, found.bad) == (6, ["lock"])
    assert "run 20261123T010203Z-night-0a1b2c3d" in found["lock"]["message"]
    assert f"process {os.getpid()}" in found["lock"]["message"]
    assert other.level("lock") == "ok"
    assert examined(leads("doctor", "--json", env=account.env)).code == 0


def test_a_lock_that_cannot_be_taken_is_exit_code_70(leads: Leads, account: Account, home: Path) -> None:
    """What stands in its place is named."""
    write(home / "locks", "a file")
    found = examined(leads("doctor", "--json", env=account.env))
    assert (found.code, found.bad) == (70, ["lock"])
    assert str(home / "locks") in found["lock"]["message"]


def test_runs_that_cannot_be_written_are_exit_code_70(leads: Leads, account: Account, home: Path) -> None:
    """A file stands where the folder would be; its disk is measured all the same."""
    write(home / "file", "")
    found = examined(leads("doctor", "--runs", "file/runs", "--json", env=account.env))
    assert (found.code, found.bad) == (70, ["runs"])
    assert "--runs" in found["runs"]["next"]
    assert found.level("disk") == "ok"


@pytest.mark.parametrize(
    ("free", "code", "level", "words"),
    [
        (99_999_999, 70, "bad", "100.0 MB"),
        (500_000_000, 0, "warn", "500.0 MB"),
        (1_000_000_000, 0, "ok", "1.0 GB"),
    ],
)
def test_too_little_room_is_told_before_it_is_none(
    leads: Leads, account: Account, monkeypatch: pytest.MonkeyPatch, free: int, code: int, level: str, words: str
) -> None:
    """Below 1 GB it is worth knowing, below 100 MB it is bad."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free))
    found = examined(leads("doctor", "--json", env=account.env))
    assert (found.code, found.level("disk")) == (code, level)
    assert f"{words} free for runs, {words} free for state" in found["disk"]["message"]


# The exit code


@given(st.lists(st.tuples(st.sampled_from(list(doctor.Level)), st.sampled_from([0, 2, 6, 70, 75, 77]))))
def test_the_worst_of_what_is_bad_is_the_exit_code(found: list[tuple[doctor.Level, int]]) -> None:
    """Ours before the credentials, these before the way there, then the lock, then the settings; else 0."""
    checks = [doctor.Check("x", level, "", None, code) for level, code in found]
    bad = {code for level, code in found if level is doctor.Level.BAD}
    assert doctor.exit_code(checks) == next((code for code in (70, 77, 75, 6, 2) if code in bad), 0)
