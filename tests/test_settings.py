from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import TOKEN, Leads, write

from pipeline import settings
from pipeline.model import UserError
from pipeline.settings import Settings, resolve
from schemas.catalogue import CATALOGUE
from schemas.dialedin import DIALEDIN

SECRETS = ("dialedin_token", "dialogtech_key", "dialogtech_access_key", "dialogtech_secret_access_key")


def test_defaults_are_those_of_the_contract(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without flags, variables and file each setting has its documented default."""
    monkeypatch.delenv("LEADS_RUNS")
    monkeypatch.delenv("LEADS_STATE")
    found, origins = resolve({})
    assert (found.rate, found.concurrency, found.attempts, found.timeout) == (20, 8, 5, 30)
    assert (found.settle, found.max_errors, found.drain, found.runs) == (None, "20%", 30, Path("runs"))
    assert found.state.startswith("sqlite:///")
    assert set(origins.values()) == {"default"}
    assert settings.base_url(found, DIALEDIN) == "https://api.chasedatacorp.com/HttpImport/"


def test_flags_win_over_variables_over_the_file_over_defaults(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting comes from the first place that names it, and that place is told."""
    write(home / "leads.toml", 'rate = 1\nconcurrency = 2\nattempts = 3\nmax_errors = "5"\n')
    monkeypatch.setenv("LEADS_CONCURRENCY", "20")
    monkeypatch.setenv("LEADS_ATTEMPTS", "30")
    found, origins = resolve({"attempts": 4, "timeout": None})
    assert (found.attempts, origins["attempts"]) == (4, "flag")
    assert (found.concurrency, origins["concurrency"]) == (20, "LEADS_CONCURRENCY")
    assert (found.rate, origins["rate"]) == (1, "leads.toml")
    assert (found.max_errors, origins["max_errors"]) == ("5", "leads.toml")
    assert (found.timeout, origins["timeout"]) == (30, "default")


def test_config_shows_values_and_where_they_come_from(leads: Leads, home: Path) -> None:
    """For people as a table, for programs as one JSON object."""
    write(home / "leads.toml", 'rate = 1\ndialedin_accid = "A1"\n')
    env = {"LEADS_CONCURRENCY": "20", "DIALEDIN_BASE_URL": "https://example.test/x/", "DIALEDIN_TOKEN": TOKEN}
    told = leads("config", "--json", "--attempts", 7, env=env).json
    assert told["attempts"] == {"value": "7", "from": "flag"}
    assert told["concurrency"] == {"value": "20", "from": "LEADS_CONCURRENCY"}
    assert told["rate"] == {"value": "1.0", "from": "leads.toml"}
    assert told["dialedin_accid"] == {"value": "A1", "from": "leads.toml"}
    assert told["dialedin_base_url"] == {"value": "https://example.test/x/", "from": "DIALEDIN_BASE_URL"}
    assert told["dialedin_token"] == {"value": "**********", "from": "DIALEDIN_TOKEN"}
    assert told["runs"] == {"value": str(home / "runs"), "from": "LEADS_RUNS"}
    assert told["drain"] == {"value": "30.0", "from": "default"}
    shown = leads("config", "--attempts", 7, env=env)
    assert shown.code == 0
    for name in Settings.model_fields:
        (line,) = (line for line in shown.out.splitlines() if line.split()[:1] == [name])
        assert told[name]["value"] in line
        assert told[name]["from"] in line


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_a_secret_comes_from_a_variable_or_the_file_that_one_names(
    leads: Leads, home: Path, name: str, suffix: str
) -> None:
    """It is shown as stars, with the variable that it came from."""
    secret = write(home / "secret", TOKEN + "\n")
    variable = name.upper() + suffix
    result = leads("config", "--json", env={variable: str(secret) if suffix else TOKEN})
    assert result.json[name] == {"value": "**********", "from": variable}
    assert TOKEN not in result.out + result.err + leads("config", env={variable: TOKEN}).out


def test_the_secret_of_a_file_is_what_is_sent(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """White space around it is the editor's; the variable itself wins over the file."""
    monkeypatch.setenv("DIALEDIN_TOKEN_FILE", str(write(home / "secret", f"  {TOKEN}\r\n")))
    monkeypatch.setenv("DIALEDIN_ACCID", "A1")
    found, _ = resolve({})
    assert settings.credentials(found, DIALEDIN) == {"token": TOKEN, "accid": "A1"}
    assert TOKEN not in repr(found) + str(found) + str(settings.shown(found))
    monkeypatch.setenv("DIALEDIN_TOKEN", "nearer")
    found, origins = resolve({})
    assert settings.credentials(found, DIALEDIN)["token"] == "nearer"
    assert origins["dialedin_token"] == "DIALEDIN_TOKEN"


def test_a_secret_may_come_through_a_pipe(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`DIALEDIN_TOKEN_FILE=<(pass show token)` says it once: value and origin come from one reading."""
    reader, writer = os.pipe()
    try:
        os.write(writer, f"{TOKEN}\n".encode())
        os.close(writer)
        monkeypatch.setenv("DIALEDIN_TOKEN_FILE", f"/dev/fd/{reader}")
        monkeypatch.setenv("DIALEDIN_ACCID", "A1")
        found, origins = resolve({"rate": 3})
    finally:
        os.close(reader)
    assert settings.credentials(found, DIALEDIN) == {"token": TOKEN, "accid": "A1"}
    assert origins["dialedin_token"] == "DIALEDIN_TOKEN_FILE"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\x00"])
def test_a_secret_file_that_holds_none_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """A file that is missing, blank or no text is named, whenever credentials are needed."""
    if content is not None:
        write(home / "secret", content)
    monkeypatch.setenv("DIALEDIN_TOKEN_FILE", str(home / "secret"))
    monkeypatch.setenv("DIALEDIN_ACCID", "A1")
    with pytest.raises(UserError, match="DIALEDIN_TOKEN"):
        settings.credentials(resolve({})[0], DIALEDIN)


@pytest.mark.parametrize(
    ("missing", "named"), [("DIALEDIN_TOKEN", "DIALEDIN_TOKEN"), ("DIALEDIN_ACCID", "DIALEDIN_ACCID")]
)
def test_missing_credentials_are_named(home: Path, monkeypatch: pytest.MonkeyPatch, missing: str, named: str) -> None:
    """The error says which variable to set, and not those that are."""
    both = {"DIALEDIN_TOKEN": TOKEN, "DIALEDIN_ACCID": "A1"}
    for name, value in both.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=named) as error:
        settings.credentials(resolve({})[0], DIALEDIN)
    assert not [name for name in both if name != missing and name in str(error.value)]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("spelling", [str, str.upper])
def test_a_secret_in_the_file_is_refused(leads: Leads, home: Path, name: str, spelling: type[str]) -> None:
    """leads.toml is shared and committed: the error names the variable, and not the value."""
    write(home / "leads.toml", f'{spelling(name)} = "{TOKEN}"\n')
    result = leads("config")
    assert result.code == 2
    assert name.upper() in result.err
    assert TOKEN not in result.err


def test_an_unknown_key_in_the_file_names_those_that_exist(leads: Leads, home: Path) -> None:
    """A key that does nothing would be believed to do something."""
    write(home / "leads.toml", "rat = 5\n")
    result = leads("config")
    assert result.code == 2
    assert "'rat'" in result.err
    assert "rate" in result.err
    assert "token" not in result.err


@pytest.mark.parametrize(
    ("content", "env", "flags", "words"),
    [
        ("rate = ", {}, (), "leads.toml"),
        ("rate = 1\nrate = 2", {}, (), "leads.toml"),
        ('rate = "fast"', {}, (), "rate"),
        ("rate = -1", {}, (), "rate"),
        ("concurrency = 0", {}, (), "concurrency"),
        ("concurrency = 2.5", {}, (), "concurrency"),
        ("max_errors = 5", {}, (), "max_errors"),
        ("[rate]\nx = 1", {}, (), "rate"),
        ("", {"LEADS_RATE": "fast"}, (), "LEADS_RATE"),
        ("", {"LEADS_CONCURRENCY": "0"}, (), "LEADS_CONCURRENCY"),
        ("rate = 1", {"LEADS_RATE": "fast"}, (), "LEADS_RATE"),
        ("", {}, ("--attempts", "0"), "--attempts"),
        ("", {}, ("--timeout", "0"), "--timeout"),
        ("", {}, ("--rate", "-1"), "--rate"),
        ("", {}, ("--rate", "nan"), "--rate"),
        ("", {}, ("--rate", "inf"), "--rate"),
        ("", {}, ("--timeout", "nan"), "--timeout"),
        ("", {}, ("--timeout", "inf"), "--timeout"),
        ("rate = 1", {}, ("--rate", "-1"), "--rate"),
    ],
)
def test_a_value_that_cannot_be_is_refused_where_it_stands(
    leads: Leads, home: Path, content: str, env: dict[str, str], flags: tuple[str, ...], words: str
) -> None:
    """One line names the place: the flag, the variable or the key of the file."""
    write(home / "leads.toml", content)
    result = leads("config", *flags, env=env)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert words in result.err
    assert "Traceback" not in result.err


def test_secrets_are_not_taken_on_the_command_line(leads: Leads) -> None:
    """There is no flag for one: what is typed is seen by others, and kept in the shell's history."""
    for name in SECRETS:
        result = leads("config", f"--{name.replace('_', '-')}", TOKEN)
        assert result.code == 2
        assert "No such option" in result.err


def test_the_environment_of_someone_else_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RATE or STATE without our prefix mean something else."""
    for name in ("RATE", "STATE", "RUNS", "TIMEOUT", "LEADS_DIALEDIN_TOKEN"):
        monkeypatch.setenv(name, "7")
    found, origins = resolve({})
    assert found.rate == 20
    assert found.dialedin_token is None
    assert origins["rate"] == origins["timeout"] == origins["dialedin_token"] == "default"


def test_a_base_url_gets_its_slash(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With or without the slash at its end it is the same address."""
    monkeypatch.setenv("DIALEDIN_BASE_URL", "https://example.test/x")
    assert settings.base_url(resolve({})[0], DIALEDIN) == "https://example.test/x/"


def test_an_inferred_endpoint_can_be_set_right(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its documented name; the others stay where they are."""
    monkeypatch.setenv("LEADS_ENDPOINTS", "TextOperations.php = sms/Texts.php, CallOperations.php=Calls.php")
    found, base = resolve({})[0], "https://api.chasedatacorp.com/HttpImport/"
    assert settings.url(found, CATALOGUE["TextOperations.SendSms"]) == f"{base}sms/Texts.php"
    assert settings.url(found, CATALOGUE["CallOperations.ConferenceCall"]) == f"{base}Calls.php"
    assert settings.url(found, CATALOGUE["InsertLead"]) == f"{base}InjectLead.php"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("TextOps.php=Texts.php", "LEADS_ENDPOINTS: 'TextOps.php' is no endpoint; there are .*TextOperations.php"),
        ("TextOperations.php", "'' is no file name: write TextOperations.php=Other.php"),
        ("TextOperations.php=https://elsewhere.test/", "is no file name"),
        ("TextOperations.php=//elsewhere.test/x.php", "is no file name"),
    ],
)
def test_an_endpoint_is_a_file_at_the_base_url(
    home: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    """A token goes to no other host by this setting."""
    monkeypatch.setenv("LEADS_ENDPOINTS", text)
    with pytest.raises(UserError, match=told):
        resolve({})


def test_config_is_the_same_for_people_and_programs(leads: Leads) -> None:
    """Every setting is in both."""
    assert json.loads(leads("config", "--json").out).keys() == Settings.model_fields.keys()
