from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import click
import httpx
import pytest
from conftest import Account, Leads, phone, write, write_csv, write_xlsx

from pipeline.cli import cli
from schemas.catalogue import CATALOGUE

LEADS = Path(sys.executable).with_name("leads")
MAPPING = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
Campaign = { value = "Demo" }
"""
JSON_KEYS = {"run_id", "rows_read", "counts", "report", "exit_code", "seconds"}


@pytest.fixture
def listed(home: Path) -> Path:
    """A list of two good rows and a bad one, `list.csv` and `list.xlsx`, with `m.toml`."""
    rows = [["Phone", "Name"], [phone(0), "Ada"], [phone(1), "Ben"], ["555-0102", "Cleo"]]
    write(home / "m.toml", MAPPING)
    write_xlsx(home / "list.xlsx", rows)
    return write_csv(home / "list.csv", rows)


# Help


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help(leads: Leads, name: str) -> None:
    """It says in a sentence what the command does, and what each option is for."""
    command = cli.commands[name]
    for flag in ("--help", "-h"):
        result = leads(name, flag)
        assert (result.code, result.err) == (0, "")
    assert command.help
    assert re.fullmatch(r"[A-Z].*\.", command.help.split("\n")[0])
    for option in (p for p in command.params if isinstance(p, click.Option)):
        assert option.help
        assert option.opts[-1] in result.out


def test_help_of_the_whole_lists_every_command(leads: Leads) -> None:
    """`leads --help` names all of them."""
    result = leads("--help")
    assert result.code == 0
    assert [name for name in cli.commands if f"  {name} " not in result.out] == []


def test_sending_commands_take_the_options_of_the_contract() -> None:
    """Design, section 5."""
    options = {option for parameter in cli.commands["load"].params for option in parameter.opts}
    assert options >= {
        *("--mapping", "-m", "--operation", "--encoding", "--sheet", "--limit", "--max-contacts"),
        *("--rate", "--concurrency", "--attempts", "--timeout", "--settle", "--max-errors", "--drain"),
        *("--runs", "--state", "--json", "--quiet"),
    }


def test_the_installed_command_runs(home: Path) -> None:
    """`leads` is on the path of the environment, says its version and needs nothing for that."""
    done = subprocess.run([LEADS, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert version("dialedin-leads") in done.stdout


# What people get wrong


@dataclass(frozen=True)
class Mistake:
    """A command that can't work, and what is said about it."""

    args: Sequence[str]
    code: int
    words: str
    files: dict[str, str | bytes] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


def mapping(text: str) -> dict[str, str | bytes]:
    return {"bad.toml": text}


CHECK = ("check", "list.csv", "-m", "m.toml")
LOAD = ("load", "list.csv", "-m", "m.toml")
BAD_MAPPING = ("check", "list.csv", "-m", "bad.toml")
EXTRA = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
Campaign = {{ value = "Demo" }}
[extra_fields]
{} = 20
"""
LOAD = ("load", "list.csv", "-m", "m.toml")
MISTAKES = {
    "missing file": Mistake(("check", "lost.csv", "-m", "m.toml"), 4, "lost.csv"),
    "directory": Mistake(("check", "folder", "-m", "m.toml"), 4, "folder", {"folder/x": ""}),
    "empty file": Mistake(("check", "empty.csv", "-m", "m.toml"), 4, "empty.csv", {"empty.csv": ""}),
    "header only": Mistake(("check", "h.csv", "-m", "m.toml"), 4, "no rows", {"h.csv": "Phone,Name\n"}),
    "no text": Mistake(("check", "x.csv", "-m", "m.toml"), 4, "x.csv", {"x.csv": b"%PDF-1.7\n"}),
    "no such sheet": Mistake(("check", "list.xlsx", "-m", "m.toml", "--sheet", "Lead"), 4, "Leads"),
    "second file missing": Mistake(("check", "list.csv", "lost.csv", "-m", "m.toml"), 4, "lost.csv"),
    "UTF-16 without its mark": Mistake((*CHECK, "--encoding", "utf-16"), 4, "utf-16"),
    "address with a port that can't be": Mistake(LOAD, 2, "port", env={"DIALEDIN_BASE_URL": "http://127.0.0.1:99999/"}),
    "address that is no host": Mistake(LOAD, 2, "base URL", env={"DIALEDIN_BASE_URL": "https://a..b/"}),
    "lead column of an older account": Mistake(BAD_MAPPING, 2, "GroupId", mapping(EXTRA.format("GroupId"))),
    "documented field in other letters": Mistake(BAD_MAPPING, 2, "PrimaryPhone", mapping(EXTRA.format("primaryphone"))),
    "no such encoding": Mistake((*CHECK, "--encoding", "utf-9"), 2, "utf-9"),
    "unknown mapping": Mistake(("check", "list.csv", "-m", "generik"), 2, "generic"),
    "missing mapping file": Mistake(("check", "list.csv", "-m", "lost.toml"), 2, "lost.toml"),
    "mapping is a directory": Mistake(("check", "list.csv", "-m", "folder"), 2, "folder", {"folder/x": ""}),
    "invalid TOML": Mistake(BAD_MAPPING, 2, "bad.toml", mapping("operation = ")),
    "mapping in latin-1": Mistake(BAD_MAPPING, 2, "bad.toml", {"bad.toml": 'operation = "é"'.encode("latin-1")}),
    "key twice": Mistake(BAD_MAPPING, 2, "bad.toml", mapping(MAPPING + 'Campaign = "Name"\n')),
    "unknown key": Mistake(BAD_MAPPING, 2, "'unmapped'", mapping('unmaped = "ignore"\n' + MAPPING)),
    "unknown key in policy": Mistake(BAD_MAPPING, 2, "'dialing'", mapping(MAPPING + '[policy]\ndialling = "x"\n')),
    "unknown vendor field": Mistake(BAD_MAPPING, 2, "'FirstName'", mapping(MAPPING.replace("FirstName", "FristName"))),
    "unknown operation": Mistake(BAD_MAPPING, 2, "'InsertLead'", mapping(MAPPING.replace("InsertLead", "InsertLaed"))),
    "unknown operation flag": Mistake((*CHECK, "--operation", "UpdateLaed"), 2, "'UpdateLead'"),
    "missing required field": Mistake(
        BAD_MAPPING, 2, "PrimaryPhone", mapping(MAPPING.replace("PrimaryPhone", "LastName"))
    ),
    "missing column": Mistake(BAD_MAPPING, 2, "'Name'", mapping(MAPPING.replace('"Name"', '"Nam"'))),
    "unmapped column": Mistake(BAD_MAPPING, 2, "'Name'", mapping(MAPPING.replace('FirstName = "Name"\n', ""))),
    "unknown cleaner": Mistake(
        BAD_MAPPING, 2, "us_phone", mapping(MAPPING.replace('"Phone"', '{ column = "Phone", clean = "us_fone" }'))
    ),
    "no fields": Mistake(BAD_MAPPING, 2, "fields", mapping('operation = "InsertLead"\n')),
    "no credentials": Mistake(LOAD, 2, "DIALEDIN_TOKEN", env={"DIALEDIN_TOKEN": ""}),
    "no account": Mistake(LOAD, 2, "DIALEDIN_ACCID", env={"DIALEDIN_ACCID": ""}),
    "bad URL": Mistake(LOAD, 2, "base URL", env={"DIALEDIN_BASE_URL": "api.example.test/HttpImport/"}),
    "unreadable URL": Mistake(LOAD, 2, "base URL", env={"DIALEDIN_BASE_URL": "https://[::1/"}),
    "URL with a query": Mistake(LOAD, 2, "base URL", env={"DIALEDIN_BASE_URL": "https://x.test/?a=b/"}),
    "URL with a password": Mistake(LOAD, 2, "base URL", env={"DIALEDIN_BASE_URL": "https://a:b@x.test/"}),
    "plain http": Mistake(LOAD, 2, "https", env={"DIALEDIN_BASE_URL": "http://api.example.test/HttpImport/"}),
    "max-errors": Mistake((*LOAD, "--max-errors", "many"), 2, "--max-errors"),
    "max-errors beyond all": Mistake((*LOAD, "--max-errors", "120%"), 2, "--max-errors"),
    "state is no URL": Mistake((*LOAD, "--state", "state.db"), 2, "--state"),
    "state in another database": Mistake((*LOAD, "--state", "mysql://localhost/x"), 2, "--state"),
    "state in memory": Mistake((*LOAD, "--state", "sqlite://"), 2, "--state"),
    "state is a folder": Mistake((*LOAD, "--state", "sqlite:///folder"), 2, "--state", {"folder/x": ""}),
    "state below a file": Mistake((*LOAD, "--state", "sqlite:///list.csv/state.db"), 2, "--state"),
    "state is another file": Mistake((*LOAD, "--state", "sqlite:///list.csv"), 2, "--state"),
    "runs below a file": Mistake((*CHECK, "--runs", "list.csv/runs"), 2, "--runs"),
    "runs is a file": Mistake((*CHECK, "--runs", "list.csv"), 2, "--runs"),
    "no run yet": Mistake(("show",), 2, "no load"),
    "unknown run": Mistake(("show", "20200101"), 2, "20200101"),
    "unknown profile": Mistake(("sandbox", "--profile", "slwo"), 2, "slow"),
    "state of the sandbox": Mistake(("sandbox", "--port", "0", "--data", "list.csv"), 2, "list.csv"),
    "unknown operation to show": Mistake(("operations", "InsertLaed"), 2, "'InsertLead'"),
    "leads.toml": Mistake(CHECK, 2, "leads.toml", {"leads.toml": "rate = "}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line(leads: Leads, home: Path, listed: Path, name: str) -> None:
    """What is wrong, where, and the nearest right thing; the exit code of the contract; no traceback, no folder."""
    mistake = MISTAKES[name]
    for path, content in mistake.files.items():
        write(home / path, content)
    env = {"DIALEDIN_TOKEN": "t", "DIALEDIN_ACCID": "a", "DIALEDIN_BASE_URL": "http://127.0.0.1:9/HttpImport/"}
    result = leads(*mistake.args, env={**env, **mistake.env})
    assert (result.code, result.out) == (mistake.code, "")
    assert result.err.count("\n") == 1
    assert result.err.startswith("leads: ")
    assert mistake.words in result.err
    assert "Traceback" not in result.err
    assert not list((home / "runs").glob("*"))


def test_a_port_that_is_taken_is_told_in_one_line(leads: Leads) -> None:
    """The sandbox names the port, and how to get a free one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = leads("sandbox", "--port", port)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert f"{port} is in use" in result.err
    assert "--port 0" in result.err


def test_an_ambiguous_run_is_told_in_one_line(leads: Leads, listed: Path) -> None:
    """The beginning of two ids is neither."""
    for _ in range(2):
        leads("check", listed, "-m", "m.toml")
    result = leads("show", "2")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "2 runs" in result.err


@pytest.mark.parametrize("args", [("load",), ("load", "list.csv"), ("lod",), ("load", "x", "-m", "m", "--limit", "-1")])
def test_wrong_usage_is_exit_code_2(leads: Leads, args: tuple[str, ...]) -> None:
    """What click refuses is one line as well, on stderr, and says where the help is."""
    result = leads(*args)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("leads: ")
    assert "see: leads" in result.err


def test_a_mistake_of_the_installed_command_has_its_exit_code(home: Path) -> None:
    """The real process ends with the code that the contract says, without a traceback."""
    done = subprocess.run([LEADS, "show", "2020"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


INTERRUPTED = """
import sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from pipeline.start import main
main()
"""


def test_ctrl_c_while_the_command_is_being_loaded_is_no_traceback() -> None:
    """Impatience is answered with the exit code of an interrupt and nothing else."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


# Results


def test_json_is_one_object_on_stdout_and_progress_is_on_stderr(leads: Leads, account: Account, listed: Path) -> None:
    """Programs read stdout, people read stderr, and --quiet keeps it empty."""
    result = leads("load", listed, "-m", "m.toml", "--json", env=account.env)
    told = result.json
    assert told.keys() >= JSON_KEYS
    assert (told["rows_read"], told["counts"], told["exit_code"]) == (3, {"accepted": 2, "invalid": 1}, 1)
    assert result.code == 1
    assert Path(told["report"]).name == "results.parquet"
    assert isinstance(told["seconds"], float)
    assert "sending 2 of 3 rows" in result.err
    quiet = leads("load", listed, "-m", "m.toml", "--json", "--quiet", env=account.env)
    assert quiet.err == ""
    assert quiet.json["counts"] == {"skipped": 2, "invalid": 1}


def test_a_terminal_shows_a_bar_and_leaves_stdout_to_the_result(home: Path, account: Account, listed: Path) -> None:
    """The bar is on the terminal, gone at the end with the cursor back, and the result goes where stdout goes."""
    ours, theirs = pty.openpty()
    command = [LEADS, "load", listed, "-m", "m.toml", "--json"]
    environment = {**os.environ, **account.env, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, cwd=home, check=False)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # what a terminal says when nobody writes to it any more
        while more := os.read(ours, 65536):
            shown += more
    os.close(ours)
    assert json.loads(done.stdout)["counts"] == {"accepted": 2, "invalid": 1}
    assert b"sending" in shown
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") > 0
    assert b"run_id" not in shown


def test_the_result_for_people_adds_up_and_says_what_to_do(leads: Leads, account: Account, listed: Path) -> None:
    """Rows by status with their codes, the sum, the report and the next step."""
    result = leads("load", listed, "-m", "m.toml", "--quiet", env=account.env)
    lines = [line.split() for line in result.out.splitlines()]
    assert ["accepted", "2"] in lines
    assert ["invalid", "1"] in lines
    assert ["bad_phone", "1"] in lines
    assert ["rows", "read", "3"] in lines
    (rejected,) = (line[1] for line in lines if line[0] == "rejected")
    assert Path(rejected).exists()
    assert f"mend the rows in {rejected} and load that file" in result.out


def test_check_names_no_rejected_file_where_all_is_well(leads: Leads, home: Path, listed: Path) -> None:
    """Nothing to mend, nothing to say about mending: what comes next is the load."""
    write_csv(listed, [["Phone", "Name"], [phone(0), "Ada"]])
    result = leads("check", listed, "-m", "m.toml")
    assert result.code == 0
    last = [line for line in result.out.splitlines() if line.startswith(("rejected", "next"))]
    assert last == [f"next      leads load {listed} -m m.toml"]


def test_show_tells_the_same_again(leads: Leads, account: Account, listed: Path) -> None:
    """By id, by its beginning, or as the latest load; a check is not the latest load."""
    loaded = leads("load", listed, "-m", "m.toml", "--json", env=account.env)
    leads("check", listed, "-m", "m.toml", "--json")
    run_id = loaded.json["run_id"]
    for args in ((), ("latest",), (run_id,), (run_id[:-2],)):
        shown = leads("show", *args, "--json")
        assert (shown.code, shown.json) == (0, loaded.json)
    for_people = leads("show")
    assert (for_people.code, for_people.err) == (0, "")
    assert "accepted" in for_people.out


@pytest.mark.parametrize("args", [["--help"], ["load", "--help"], ["show"], ["runs"]], ids=" ".join)
def test_what_reads_no_list_loads_no_library_for_lists(
    leads: Leads, account: Account, listed: Path, args: list[str]
) -> None:
    """Help, and what is told of runs that have ended, come at once: nothing heavy is imported for them."""
    leads("load", listed, "-m", "m.toml", env=account.env)
    program = "import sys; from pipeline.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=False)
    loaded = set(done.stderr.split())
    assert "pipeline.cli" in loaded
    assert not loaded & {"pandas", "pandera", "pyarrow", "numpy", "sqlalchemy", "psycopg", "httpx", "aiohttp"}


def test_the_latest_run_is_the_one_that_began_last(leads: Leads, account: Account, listed: Path) -> None:
    """Also where two began within one second."""
    env = account.env
    for name in ("zebra.csv", "apple.csv"):
        last = leads("load", write(listed.with_name(name), listed.read_text()), "-m", "m.toml", "--json", env=env)
    assert leads("show", "--json").json["run_id"] == last.json["run_id"]


def test_runs_lists_them_oldest_first(leads: Leads, account: Account, listed: Path) -> None:
    """Each with its command, sources, counts and exit code; one that did not end says so."""
    assert leads("runs", "--json").json == {"runs": []}
    checked = leads("check", listed, "-m", "m.toml", "--json")
    loaded = leads("load", listed, "-m", "m.toml", "--json", env=account.env)
    found = leads("runs", "--json").json["runs"]
    assert {run["run_id"] for run in found} == {checked.json["run_id"], loaded.json["run_id"]}
    (run,) = (run for run in found if run["command"] == "load")
    assert (run["operation"], run["sources"], run["rows_read"]) == ("InsertLead", ["list.csv"], 3)
    assert (run["counts"], run["exit_code"]) == ({"accepted": 2, "invalid": 1}, 1)
    (loaded.folder / "summary.json").unlink()
    shown = leads("runs")
    assert shown.code == 0
    (line,) = (line for line in shown.out.splitlines() if line.startswith(loaded.json["run_id"]))
    assert "did not end" in line
    assert leads("show", loaded.json["run_id"]).code == 2


def test_operations_describes_what_the_vendor_takes(leads: Leads) -> None:
    """All of them in a list; one with its fields, which are required, and how long they may be."""
    listed = leads("operations")
    assert listed.code == 0
    assert [name for name in CATALOGUE if name not in listed.out] == []
    assert [op["name"] for op in leads("operations", "--json").json["operations"]] == list(CATALOGUE)
    for name, operation in CATALOGUE.items():
        shown = leads("operations", name)
        assert [field.name for field in operation.fields if field.name not in shown.out] == []
        assert [field["name"] for field in leads("operations", name, "--json").json["fields"]] == [
            field.name for field in operation.fields
        ]
    (line,) = (line for line in leads("operations", "InsertLead").out.splitlines() if line.startswith("Address"))
    assert "500 characters" in line


def test_the_sandbox_command_says_how_to_reach_it(home: Path) -> None:
    """Its lines can be given to a shell; it answers at that address, and ends with 0 when it is told to."""
    command = [LEADS, "sandbox", "--port", "0", "--campaign", "Mine", "--data", home / "sandbox.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        exports = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        state = httpx.get(exports["DIALEDIN_BASE_URL"].replace("/HttpImport/", "/sandbox/state")).json()
        process.terminate()
        assert process.wait(10) == 0
    assert exports.keys() == {"DIALEDIN_BASE_URL", "DIALEDIN_TOKEN", "DIALEDIN_ACCID"}
    assert state["campaigns"] == ["Mine"]


# Faults of ours


def test_a_fault_of_ours_is_exit_code_70(
    leads: Leads, account: Account, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even an error that nobody expected is a traceback; LEADS_DEBUG=1 shows one."""

    def bug(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("pipeline.transport.PooledTransport", lambda **_: httpx.MockTransport(bug))
    result = leads("load", listed, "-m", "m.toml", "--quiet", env=account.env)
    assert (result.code, result.out) == (70, "")
    assert "a bug" in result.err
    assert "Traceback" not in result.err
    others = write_csv(listed, [["Phone", "Name"], [phone(7), "Dee"]])
    assert "Traceback" in leads("load", others, "-m", "m.toml", env={**account.env, "LEADS_DEBUG": "1"}).err


def test_a_full_disk_is_exit_code_70(leads: Leads, account: Account, listed: Path, home: Path) -> None:
    """Where the journal can't be written nothing is sent, and the reason is told."""
    assert leads("load", listed, "-m", "m.toml", "--limit", 0, "--json", env=account.env).code == 1
    database = sqlite3.connect(home / "state.db")
    database.execute("CREATE TRIGGER full BEFORE INSERT ON sends BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    database.close()
    result = leads("load", listed, "-m", "m.toml", env=account.env)
    assert (result.code, result.out) == (70, "")
    assert "disk is full" in result.err
    assert "Traceback" not in result.err
    assert account.requests == 0


def test_a_reader_that_goes_away_is_no_fault(home: Path, listed: Path) -> None:
    """`leads … | head` ends quietly, and with the exit code of the run."""
    read, write_end = os.pipe()
    os.close(read)
    command = [LEADS, "check", "list.csv", "-m", "m.toml", "--json"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert done.stderr == ""
    assert done.returncode == 1


def test_folders_that_are_no_runs_are_passed_over(leads: Leads, home: Path, account: Account, listed: Path) -> None:
    """Whatever else is in the runs folder does not stand in the way of the runs."""
    told = leads("load", listed, "-m", "m.toml", "--json", env=account.env)
    runs = Path(told.json["report"]).parent.parent
    for name, content in {"web": '{"name": "app"}', "list": "[]", "text": "not JSON", "bytes": b"\xff"}.items():
        write(runs / name / "manifest.json", content)
    assert len(leads("runs", "--json").json["runs"]) == 1
    assert leads("show", "--json").json["run_id"] == told.json["run_id"]


def test_a_report_is_not_made_again_from_a_journal_that_does_not_know_the_run(
    leads: Leads, home: Path, account: Account, listed: Path
) -> None:
    """--rebuild goes by the run's own state database; another one would make sent rows look unsent."""
    told = leads("load", listed, "-m", "m.toml", "--json", env=account.env)
    before = Path(told.json["report"]).read_bytes()
    other = leads("show", "--rebuild", "--state", f"sqlite:///{home / 'other.db'}")
    assert (other.code, Path(told.json["report"]).read_bytes()) == (2, before)
    again = leads("show", "--rebuild", "--json", env={"LEADS_STATE": f"sqlite:///{home / 'elsewhere.db'}"})
    assert again.json["counts"] == told.json["counts"]
    assert again.json["exit_code"] == told.json["exit_code"]


def test_certificates_that_are_not_there_are_told_before_anything_is_sent(
    home: Path, account: Account, listed: Path
) -> None:
    """It is a mistake of the environment, and no row is in doubt because of it."""
    env = {**os.environ, **account.env, "SSL_CERT_FILE": "/lost/ca.pem"}
    done = subprocess.run([LEADS, "load", listed, "-m", "m.toml"], env=env, cwd=home, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"SSL_CERT_FILE" in done.stderr
    assert account.requests == 0
