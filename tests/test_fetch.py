"""What FILE may name, and what it may be: patterns, archives, compressed files, standard input, pipes, addresses."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib.util
import os
import pty
import signal
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Account, Leads, phone, piped, tls_server, wait_until, write, write_csv, write_xlsx
from fsspec.implementations.memory import MemoryFileSystem
from handmade import archive as zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import files, source
from pipeline.files import redacted
from pipeline.model import InputError, UserError
from pipeline.source import SourceOptions

LEADS = Path(sys.executable).with_name("leads")
MAPPING = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
Campaign = { value = "Demo" }
"""
TEXT = f"Phone,Name\n{phone(1)},Ann\n{phone(2)},Bob\n"
CONTENT = TEXT.encode()


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def names(path: Path, spool: Path, **options: Any) -> list[str]:
    """The column Name of a list, as it is read."""
    found = source.inspect(path, SourceOptions(**options), spool)
    return [name for chunk in source.read(found) for name in chunk.frame["Name"]]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


@pytest.fixture
def mapping(home: Path) -> Path:
    return write(home / "list.toml", MAPPING)


def check(leads: Leads, *args: object, **env: str) -> Any:
    return leads("check", *args, "-m", "list.toml", "--json", env=env)


def leftovers(home: Path) -> list[Path]:
    """What was spooled or kept in any run's folder."""
    return [path for path in home.glob("runs/*/*") if path.name in ("spool", "kept") or path.name.startswith(".")]


# --- Compressed files and archives ---

LITTER = {"__MACOSX/._leads.csv": b"\0\5", "out/.DS_Store": b"\0", "out/": b"", "out/leads.csv": CONTENT}


@pytest.mark.parametrize(
    ("content", "containers", "member"),
    [
        (gz(CONTENT), ["gzip"], None),
        (gz(CONTENT[:20]) + gz(CONTENT[20:]), ["gzip"], None),
        (bz2.compress(CONTENT[:20]) + bz2.compress(CONTENT[20:]), ["bz2"], None),
        (zstd(CONTENT[:20]) + zstd(CONTENT[20:]), ["zstd"], None),
        (zipped({"leads.csv": CONTENT}), ["zip"], "leads.csv"),
        (zipped({"leads.csv": CONTENT}, zipfile.ZIP_STORED), ["zip"], "leads.csv"),
        (zipped(LITTER), ["zip"], "out/leads.csv"),
        (zipped({"leads.csv.gz": gz(CONTENT)}), ["zip", "gzip"], "leads.csv.gz"),
        (gz("Phone,Name\n1,Ann\n2,Bob\n".encode("utf-16")), ["gzip"], None),
    ],
    ids=["gzip", "gzip twice", "bz2", "zstd", "zip", "zip stored", "zip of a Mac", "gzip in zip", "utf-16"],
)
def test_what_is_packed_is_read(
    tmp_path: Path, spool: Path, content: bytes, containers: list[str], member: str | None
) -> None:
    """Whatever its name says; size and digest are those of the file that was given, and a note says what it was."""
    path = write(tmp_path / "leads.csv", content)
    found = source.inspect(path, SourceOptions(), spool)
    assert names(path, spool) == ["Ann", "Bob"]
    told = found.as_json()
    assert (told["containers"], told["member"], told["format"]) == (containers, member, "csv")
    assert (told["size"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert "unpacked from" in told["notes"][0]
    assert {path.stat().st_mode & 0o777 for path in spool.iterdir()} == {0o600}


def test_a_packed_workbook_and_packed_parquet_are_read(tmp_path: Path, spool: Path) -> None:
    """What is in it may be any kind of list."""
    book = write_xlsx(tmp_path / "leads.xlsx", [["Phone", "Name"], ["1", "Ann"]])
    assert names(write(tmp_path / "leads.xlsx.gz", gz(book.read_bytes())), spool) == ["Ann"]
    pq.write_table(pa.table({"Phone": ["1"], "Name": ["Bob"]}), tmp_path / "leads.parquet")
    packed = zipped({"leads.parquet": (tmp_path / "leads.parquet").read_bytes(), "~": b""})
    assert names(write(tmp_path / "leads.zip", packed), spool, member="leads.parquet") == ["Bob"]


def test_an_archive_of_several_files_says_how_to_name_one(leads: Leads, home: Path, mapping: Path) -> None:
    """By its whole name, or by its last part where only one ends so; each row's source names it."""
    two = {"may/leads.csv": CONTENT, "june.csv": f"Phone,Name\n{phone(3)},Cy\n".encode()}
    write(home / "two.zip", zipped(two))
    refused = check(leads, "two.zip")
    assert refused.code == 4
    assert "as in 'FILE#may/leads.csv'. It holds may/leads.csv, june.csv" in refused.err
    assert check(leads, "two.zip#june.csv").json["sources"] == ["two.zip#june.csv"]
    both = check(leads, "two.zip#leads.csv", "two.zip#june.csv")
    assert [row["source"] for row in both.rows] == ["two.zip#june.csv", *["two.zip#may/leads.csv"] * 2]
    assert "none of its files is called july.csv" in check(leads, "two.zip#july.csv").err
    assert "no file is named after the #" in check(leads, "two.zip#").err
    assert not leftovers(home)


def test_a_file_may_have_a_number_sign_in_its_name(leads: Leads, home: Path, mapping: Path) -> None:
    """What is there is meant, before anything is taken for an archive."""
    write(home / "Leads #2.csv", TEXT)
    assert check(leads, "Leads #2.csv").code == 0
    write(home / "Leads #3.zip", zipped({"a.csv": CONTENT, "b.csv": CONTENT}))
    assert check(leads, "Leads #3.zip#b.csv").code == 0
    refused = check(leads, "Leads #2.csv#b.csv")
    assert (refused.code, "it is no archive (csv)" in refused.err) == (4, True)


def test_names_in_an_archive_are_told_in_one_line(tmp_path: Path, spool: Path) -> None:
    """Whatever its maker has put into them."""
    path = write(tmp_path / "odd.zip", zipped({"a\x1b[31m\n.csv": CONTENT, "b.csv": CONTENT}))
    with pytest.raises(InputError, match=r"It holds a\\x1b\[31m\\n\.csv, b\.csv") as told:
        source.inspect(path, SourceOptions(), spool)
    assert str(told.value).isprintable()


def flagged(content: bytes, flag: int) -> bytes:
    """An archive whose entries bear a flag, in both of their headers."""
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = content.index(magic) + at
        content = content[:place] + bytes([content[place] | flag]) + content[place + 1 :]
    return content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (flagged(zipped({"a.csv": CONTENT}), 1), "protected by a password"),
        (zipped({"a.csv": CONTENT}, zipfile.ZIP_BZIP2), "packed in a way that isn't read"),
        (zipped({}), "holds no file"),
        (zipped({".DS_Store": b"x"}), "holds no file"),
        (zipped({"a.csv": b""}), "what it holds is empty"),
        (gz(b""), "what it holds is empty"),
        (zipped({"a.zip": zipped({"a.csv": CONTENT})}), "an archive in an archive"),
        (gz(gz(gz(gz(CONTENT)))), "compressed more than 3 times over"),
        (gz(CONTENT) + b"and more", "it is compressed (gzip), and damaged or cut off"),
        (gz(b"\0" * 257 + b"ustar\0"), "it is a tar archive"),
        (gz(CONTENT[:-5]), "is cut off"),
        (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive"),
        (b"\xfd7zXZ\0", "it is compressed with xz"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cant_be_unpacked_is_refused(tmp_path: Path, spool: Path, content: bytes, told: str) -> None:
    """In a line that says what it is; nothing of it is left behind."""
    path = write(tmp_path / "leads.bin", content)
    with pytest.raises(InputError) as refused:
        source.inspect(path, SourceOptions(), spool)
    assert told in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")
    assert not list(spool.iterdir())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pack=st.sampled_from([gz, bz2.compress, zstd, lambda data: zipped({"a": data})]), cut=st.floats(0, 1))
def test_a_packed_file_that_is_cut_off_is_never_half_a_list(
    tmp_path: Path, spool: Path, pack: Callable[[bytes], bytes], cut: float
) -> None:
    """Wherever it is cut, it is refused."""
    whole = pack(CONTENT)
    path = write(tmp_path / "leads.csv", whole[: int(cut * (len(whole) - 1))])
    with pytest.raises(InputError):
        source.inspect(path, SourceOptions(), spool)
    assert not list(spool.iterdir())


@pytest.mark.parametrize("pack", [gz, bz2.compress, zstd, lambda data: zipped({"a": data})])
def test_a_bomb_is_bounded(tmp_path: Path, spool: Path, pack: Callable[[bytes], bytes]) -> None:
    """By the size that is allowed, and before that by what no list is compressed to."""
    path = write(tmp_path / "bomb", pack(b"a,b\n" + bytes(70 << 20)))
    with pytest.raises(InputError, match="over 500 times as many bytes unpacked"):
        source.inspect(path, SourceOptions(), spool)
    with pytest.raises(InputError, match="more than 1,000 bytes unpacked; if that is right, set max_file_size"):
        source.inspect(path, SourceOptions(most_bytes=1000), spool)
    assert not list(spool.iterdir())


def test_the_bound_is_a_setting(leads: Leads, home: Path, mapping: Path) -> None:
    """For what is unpacked and for what is piped in."""
    write(home / "leads.csv.gz", gz(CONTENT))
    refused = check(leads, "leads.csv.gz", LEADS_MAX_FILE_SIZE="20B")
    assert (refused.code, "more than 20 bytes unpacked" in refused.err) == (4, True)
    assert check(leads, "leads.csv.gz", LEADS_MAX_FILE_SIZE="1KB").code == 0


def test_a_packed_list_is_resumed(leads: Leads, home: Path, mapping: Path, account: Account) -> None:
    """It is checked as it was given, and nothing unpacked is left in the run's folder."""
    path = write(home / "two.zip", zipped({"a.csv": CONTENT, "b.csv": b"Phone,Name\n"}))
    first = leads("load", "two.zip#a.csv", "-m", "list.toml", "--limit", 1, "--json", env=account.env)
    assert first.json["counts"] == {"accepted": 1, "not_attempted": 1}
    assert not leftovers(home)
    write(path, path.read_bytes() + b"\0")
    changed = leads("resume", env=account.env)
    assert (changed.code, "it has changed since" in changed.err) == (4, True)
    write(path, path.read_bytes()[:-1])
    assert leads("resume", "--json", env=account.env).code == 1  # the limit is the run's own


def test_a_packed_suppress_list_is_read(leads: Leads, home: Path) -> None:
    """Wherever a file is named, it may be packed."""
    write(home / "dnc.csv.gz", gz(f"{phone(2)}\n".encode()))
    write(home / "list.toml", MAPPING + '[policy]\nsuppress = "dnc.csv.gz"\n')
    write(home / "leads.csv", TEXT)
    assert check(leads, "leads.csv").fates == {2: "valid", 3: "skipped/suppressed"}


# --- Files that are being written ---


def appending(path: Path, blocks: list[bytes]) -> Callable[[float], None]:
    """A pause in which somebody else goes on writing."""

    def pause(_seconds: float) -> None:
        def append() -> None:
            with path.open("ab") as file:
                file.write(blocks.pop(0))

        writer = threading.Thread(target=append)
        writer.start()
        writer.join()

    return pause


@pytest.mark.parametrize("pack", [lambda data: data, gz])
def test_a_file_that_grows_is_refused_until_it_is_whole(
    tmp_path: Path, spool: Path, pack: Callable[[bytes], bytes]
) -> None:
    """Plain or packed: two looks differ while somebody writes, and agree as soon as nobody does."""
    path, more = tmp_path / "leads.csv", [pack(CONTENT), pack(b"2,3\n")]
    path.write_bytes(pack(CONTENT))
    for _ in range(2):
        with pytest.raises(InputError, match="it is still being written"):
            source.inspect(path, SourceOptions(), spool, pause=appending(path, more))
    assert source.inspect(path, SourceOptions(), spool, pause=lambda _: None).rows == 6


def test_a_file_changed_without_growing_is_noticed(tmp_path: Path, spool: Path) -> None:
    """By its time, where that is all that differs; by its size where a file system counts every other second only."""
    path = tmp_path / "leads.csv"
    path.write_bytes(CONTENT)
    with pytest.raises(InputError, match="still being written"):
        source.inspect(path, SourceOptions(), spool, pause=lambda _: os.utime(path, ns=(0, 2 * 10**9)))
    path.write_bytes(CONTENT)
    look = path.stat()

    def grow(_seconds: float) -> None:
        path.write_bytes(CONTENT + b"2,3\n")
        os.utime(path, ns=(look.st_atime_ns, look.st_mtime_ns))

    with pytest.raises(InputError, match="still being written"):
        source.inspect(path, SourceOptions(), spool, pause=grow)


def test_the_two_looks_are_a_second_apart_at_most(tmp_path: Path, spool: Path) -> None:
    """However new a file is, nobody waits for it to grow old."""
    waits: list[float] = []
    write(tmp_path / "old.csv", CONTENT)
    (tmp_path / "new.csv").write_bytes(CONTENT)
    (tmp_path / "ahead.csv").write_bytes(CONTENT)
    os.utime(tmp_path / "ahead.csv", (time.time() + 300, time.time() + 300))  # the server's clock is ahead of ours
    for name in ("old.csv", "new.csv", "ahead.csv"):
        source.inspect(tmp_path / name, SourceOptions(), spool, pause=waits.append)
    assert len(waits) == 2
    assert max(waits) <= 1


# --- Patterns, several files, folders, links ---


def test_a_pattern_names_all_that_match_in_order(leads: Leads, home: Path, mapping: Path) -> None:
    """Also in folders below; files of one name go by their paths, and each row says which it is of."""
    for number, folder in enumerate(("b", "a/deep", "a")):
        write_csv(home / "lists" / folder / "new.csv", [["Phone", "Name"], [phone(number), folder]])
    (home / "lists/dir.csv").mkdir()
    result = check(leads, "lists/**/*.csv")
    paths = [str(home / "lists" / folder / "new.csv") for folder in ("a/deep", "a", "b")]
    assert result.json["sources"] == sorted(paths, key=lambda path: str(Path(path).relative_to(home)))
    assert {(row["source"], row["phone"]) for row in result.rows} == set(
        zip([paths[2], paths[0], paths[1]], map(phone, range(3)), strict=True)
    )
    assert leads("explain", result.json["run_id"], "--row", 2, "--source", paths[2]).code == 0


def test_a_pattern_that_matches_nothing_is_refused(leads: Leads, home: Path, mapping: Path) -> None:
    """There is nothing to load, and no run."""
    result = check(leads, "lists/*.csv")
    assert (result.code, result.err) == (4, "leads: lists/*.csv: no file matches; check the pattern\n")
    assert not (home / "runs").exists()


def test_a_file_may_be_named_like_a_pattern(leads: Leads, home: Path, mapping: Path) -> None:
    """What is there is meant."""
    write(home / "leads [may].csv", TEXT)
    assert check(leads, "leads [may].csv").json["sources"] == ["leads [may].csv"]


@pytest.mark.parametrize("twice", [("a.csv", "./a.csv"), ("*.csv", "a.csv"), ("link", "a.csv")])
def test_a_list_given_twice_is_refused(leads: Leads, home: Path, mapping: Path, twice: tuple[str, str]) -> None:
    """By whatever names."""
    write(home / "a.csv", TEXT)
    (home / "link").symlink_to("a.csv")
    result = check(leads, *twice)
    assert (result.code, "given more than once" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("folder", "folder: it is a folder; name the lists in it, or all of them by a pattern such as '*.csv'"),
        ("broken", "broken: it is a link to gone.csv, and there is no such file; check the path"),
        ("gone.csv", "gone.csv: there is no such file; check the path"),
        ("/dev/null", "/dev/null: it is a device, not a file; name the list itself"),
        ("a.csv/b", "a.csv/b: there is no such file; check the path"),
    ],
)
def test_what_is_no_file_is_told(leads: Leads, home: Path, mapping: Path, path: str, told: str) -> None:
    """In one line, and no run is left."""
    (home / "folder").mkdir()
    (home / "broken").symlink_to("gone.csv")
    write(home / "a.csv", TEXT)
    result = check(leads, path)
    assert (result.code, result.err) == (4, f"leads: {told}\n")
    assert not list((home / "runs").iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(leads: Leads, home: Path, mapping: Path) -> None:
    """As such."""
    write(home / "a.csv", TEXT).chmod(0)
    assert "a.csv: Permission denied" in check(leads, "a.csv").err


def test_options_hold_for_every_file_they_can_be_meant_for(leads: Leads, home: Path, mapping: Path) -> None:
    """A sheet for all workbooks, an encoding for all texts; and where there is none, that is a mistake."""
    for number, name in enumerate(("a.xlsx", "b.xlsx"), 1):
        write_xlsx(home / name, [["Phone", "Name"], [phone(number), "Ann"]], sheet="May")
    write(home / "c.csv", f"Phone,Name\n{phone(3)},Zoë\n".encode("cp850"))
    found = check(leads, "a.xlsx", "b.xlsx", "c.csv", "--sheet", "May", "--encoding", "cp850")
    assert [(row["source"], row["sheet"]) for row in found.rows] == [
        ("a.xlsx", "May"),
        ("b.xlsx", "May"),
        ("c.csv", None),
    ]
    assert "'June'" in check(leads, "b.xlsx", "--sheet", "June").err
    write(home / "d.csv", f"Phone,Name\n{phone(4)},Ann\n")
    for option, path in (("--sheet", "d.csv"), ("--encoding", "a.xlsx")):
        refused = check(leads, path, option, "utf-8")
        assert (refused.code, f"{option}: no file of this run" in refused.err) == (2, True)


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", b"\xff\xfe", b"a\x1b[31m"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".xlsx", ".parquet"])
def test_any_name_of_a_file_will_do(
    leads: Leads, home: Path, mapping: Path, account: Account, name: bytes, ending: str
) -> None:
    """Bytes that are no text and characters that can't be seen are told escaped; the file is found again."""
    path = home / os.fsdecode(name + ending.encode())
    if ending == ".xlsx":
        write_xlsx(home / "x.xlsx", [["Phone", "Name"], [phone(1), "Ann"], [phone(2), "Bob"]]).rename(path)
    elif ending == ".parquet":
        pq.write_table(pa.table({"Phone": [phone(1), phone(2)], "Name": ["Ann", "Bob"]}), home / "p.parquet")
        (home / "p.parquet").rename(path)
    else:
        write(path, gz(CONTENT) if ending == ".csv.gz" else CONTENT)
    first = leads("load", path.name, "-m", "list.toml", "--limit", 1, "--json", env=account.env)
    assert [row["status"] for row in first.rows] == ["accepted", "not_attempted"]
    assert first.json["sources"][0].isprintable()
    assert leads("resume", "--json", env=account.env).json["sources"] == first.json["sources"]
    assert leads("show").code == 0


# --- Standard input and pipes ---


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("content", [CONTENT, gz(CONTENT)], ids=["plain", "packed"])
def test_standard_input_is_a_list(
    leads: Leads, home: Path, mapping: Path, account: Account, name: str, content: bytes
) -> None:
    """Its run and its rows are named stdin; nothing of it is kept once the run is done."""
    with piped(content):
        result = leads("load", name, "-m", "list.toml", "--json", env=account.env)
    assert [row["source"] for row in result.rows] == ["stdin", "stdin"]
    assert "-stdin-" in result.json["run_id"]
    assert set(account.leads()) == {phone(1), phone(2)}
    assert not leftovers(home)


def test_an_archive_may_come_by_standard_input(leads: Leads, home: Path, mapping: Path) -> None:
    """And the list in it be named."""
    with piped(zipped({"a.csv": CONTENT, "b.csv": CONTENT})):
        assert check(leads, "/dev/stdin#b.csv").json["sources"] == ["stdin#b.csv"]


def test_rows_left_of_standard_input_are_resumed(leads: Leads, home: Path, mapping: Path, account: Account) -> None:
    """Its rows are in the run, so nobody has to pipe it again."""
    with piped(CONTENT):
        first = leads(
            "load", "-", "-m", "list.toml", "--max-errors", "0", "--json", env={**account.env, "DIALEDIN_TOKEN": "x"}
        )
    assert first.code == 77
    assert leads("resume", "--json", env=account.env).json["counts"] == {"failed": 2}
    assert leads("retry", "--json", env=account.env).json["counts"] == {"accepted": 2}


def killed_once_there(home: Path, name: str, content: bytes, account: Account) -> Path:
    """A load of standard input that is killed when its run's folder has a file of this name."""
    args = [LEADS, "load", "-", "-m", "list.toml", "--limit", "1", "--quiet"]
    with subprocess.Popen(args, stdin=subprocess.PIPE, env={**os.environ, **account.env}) as process:
        assert process.stdin is not None
        process.stdin.write(content)
        process.stdin.close()
        wait_until(lambda: any(home.glob(f"runs/*/{name}")) or process.poll() is not None)
        process.kill()
    return next(home.glob(f"runs/*/{name}")).parent


def test_standard_input_outlasts_a_run_that_was_killed(
    leads: Leads, home: Path, mapping: Path, account: Account
) -> None:
    """Until its rows are in the run: it is read again by whoever resumes, and goes when that has ended."""
    rows = "".join(f"{phone(n % 1000)},{n}\n" for n in range(30_000))
    run = killed_once_there(home, "manifest.json", f"Phone,Name\n{rows}".encode(), account)
    assert not (run / "run.log.jsonl").exists()
    kept = run / "kept/000"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_size == len(rows) + len("Phone,Name\n")
    result = leads("resume", "--json", env=account.env)
    assert result.json["rows_read"] == 30_000
    assert result.json["counts"]["accepted"] == 1
    assert not leftovers(home)


def test_what_is_kept_goes_with_a_person_who_is_forgotten(
    leads: Leads, home: Path, mapping: Path, account: Account
) -> None:
    """Then the run can't be resumed, and says why."""
    rows = "".join(f"{phone(n % 1000)},{n}\n" for n in range(30_000))
    killed_once_there(home, "manifest.json", f"Phone,Name\n{rows}".encode(), account)
    assert leads("forget", phone(1)).code == 0
    assert not leftovers(home)
    result = leads("resume", env=account.env)
    assert (result.code, "not kept any more; load it again" in result.err) == (4, True)


def test_an_interruption_while_reading_leaves_nothing(home: Path, mapping: Path) -> None:
    """Half of a list is no list."""
    args = [LEADS, "check", "-", "-m", "list.toml", "--quiet"]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(CONTENT)
        process.stdin.flush()
        wait_until(lambda: any(home.glob("runs/*/kept/.000.tmp")))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert not list((home / "runs").iterdir())


def test_standard_input_is_given_once(leads: Leads, home: Path, mapping: Path) -> None:
    """It can't be read twice."""
    result = check(leads, "-", "/dev/stdin")
    assert (result.code, "standard input is given more than once" in result.err) == (2, True)


def test_a_terminal_is_no_list(leads: Leads, home: Path, mapping: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for what nobody pipes in."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", 0), os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        result = check(leads, "-")
    assert (result.code, "standard input is this terminal; name a file" in result.err) == (2, True)
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in check(leads, "-").err
    assert not list((home / "runs").iterdir())


def test_nothing_piped_is_an_empty_list(leads: Leads, home: Path, mapping: Path) -> None:
    """Which can't be used."""
    with piped(b""):
        result = check(leads, "-")
    assert (result.code, "standard input: it is empty" in result.err) == (4, True)


@pytest.mark.parametrize("kind", ["fifo", "/dev/fd"])
def test_a_pipe_is_read_like_standard_input(leads: Leads, home: Path, mapping: Path, kind: str) -> None:
    """`<(zcat leads.csv.gz)` is what a shell makes one of."""
    if kind == "fifo":
        os.mkfifo(home / "leads")
        name, opened = "leads", lambda: (home / "leads").open("wb")
    else:
        ours, theirs = os.pipe()
        name, opened = f"/dev/fd/{ours}", lambda: os.fdopen(theirs, "wb")

    def feed() -> None:
        with opened() as pipe:
            pipe.write(CONTENT)

    writer = threading.Thread(target=feed)
    writer.start()
    result = check(leads, name)
    writer.join()
    assert (result.code, result.json["sources"]) == (0, ["leads" if kind == "fifo" else "pipe"])
    assert not leftovers(home)
    if kind != "fifo":
        os.close(ours)


# --- Addresses ---

USER, PASSWORD, SIGNATURE = "fred", "s3cr3t/&p?w", "Zm9vYmFy%2Fsig%3D"


class Shop(ThreadingHTTPServer):
    """A server of files; `pages` are (status, headers, body) by path."""

    daemon_threads = True

    def __init__(self, pages: Mapping[str, tuple[int, Mapping[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Visit)
        self.pages = pages
        self.seen: list[tuple[str, str, str]] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Visit(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
        status, headers, body = self.server.pages.get(self.path.partition("?")[0], (404, {}, b""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nobody listens."""


@pytest.fixture
def shop() -> Iterator[Callable[..., Shop]]:
    running: list[tuple[Shop, threading.Thread]] = []

    def start(pages: Mapping[str, Any], tls: ssl.SSLContext | None = None) -> Shop:
        server = Shop({path: page if isinstance(page, tuple) else (200, {}, page) for path, page in pages.items()})
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def secrets_seen(home: Path, *told: str) -> set[str]:
    """Which secrets of an address are in what was told, or in any file of ours."""
    texts = [*told, *(path.read_bytes().decode("latin-1") for path in home.rglob("*") if path.is_file())]
    quoted = {PASSWORD, "s3cr3t", USER, SIGNATURE, "Zm9vYmFy"}
    return {secret for secret in quoted for text in texts if secret in text}


def test_an_address_is_a_list_and_its_secrets_stay_its_users(
    leads: Leads, home: Path, mapping: Path, shop: Callable[..., Shop], account: Account
) -> None:
    """It is asked for once, as it is written; no file and no message has its password or its signature."""
    server = shop({"/may/leads.csv.gz": gz(CONTENT)})
    address = f"http://{USER}:s3cr3t%2F&p%3Fw@{server.place}/may/leads.csv.gz?sig={SIGNATURE}"
    result = leads("load", address, "-m", "list.toml", "--json", env=account.env)
    assert [row["source"] for row in result.rows] == ["leads.csv.gz"] * 2
    basic = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert server.seen == [("GET", f"/may/leads.csv.gz?sig={SIGNATURE}", basic)]
    manifest = (result.folder / "manifest.json").read_text()
    assert f'"path": "http://{server.place}/may/leads.csv.gz?…"' in manifest
    shown = leads("show")
    assert not secrets_seen(home, result.out, result.err, shown.out, shown.err)
    assert not leftovers(home)
    assert leads("resume", env=account.env).code == 0
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ((404, {}, b""), "nothing is there"),
        ((403, {}, b"no"), "HTTP 403"),
        ((500, {}, b"no"), "HTTP 500"),
        ((200, {"Content-Length": "999"}, CONTENT), "can't be fetched"),
        (
            (302, {"Location": "http://example.invalid/leads.csv?sig=Zm9vYmFy"}, b""),
            "redirects to http://example.invalid",
        ),
        ((302, {"Location": "ftp://fred:s3cr3t@example.invalid/"}, b""), "ftp://example.invalid/, which is not https"),
        ((200, {}, b"<!doctype html><p>log in"), "it is a web page (HTML)"),
        ((200, {}, b""), "it is empty"),
    ],
)
def test_what_an_address_does_not_give_is_told(
    leads: Leads, home: Path, mapping: Path, shop: Callable[..., Shop], page: Any, told: str
) -> None:
    """In one line without secrets, and no run is left."""
    server = shop({"/leads.csv": page})
    result = check(leads, f"http://{USER}:s3cr3t@{server.place}/leads.csv?sig={SIGNATURE}")
    assert result.code == 4
    assert told in result.err
    assert result.err.count("\n") == 1
    assert not secrets_seen(home, result.err)
    assert not list((home / "runs").iterdir())


def test_nobody_at_an_address_is_told(leads: Leads, home: Path, mapping: Path, closed_port: int) -> None:
    """In one line."""
    result = check(leads, f"https://{USER}:s3cr3t@127.0.0.1:{closed_port}/leads.csv?sig={SIGNATURE}")
    assert (result.code, result.err.count("\n"), "can't be fetched" in result.err) == (4, 1, True)
    assert not secrets_seen(home, result.err)


def test_an_address_may_send_to_another_page_of_its_own(
    leads: Leads, home: Path, mapping: Path, shop: Callable[..., Shop]
) -> None:
    """A redirect is followed where it does not leave what was encrypted, or this machine."""
    server = shop({"/old": (302, {"Location": "/new.csv"}, b""), "/new.csv": CONTENT})
    assert check(leads, f"http://{server.place}/old").code == 0


def test_https_is_not_left(home: Path, mapping: Path, shop: Callable[..., Shop], certificate: Path) -> None:
    """A redirect to plain http is refused even on this machine; what is encrypted is fetched."""
    plain = shop({"/leads.csv": CONTENT})
    pages = {"/leads.csv": CONTENT, "/down": (302, {"Location": f"http://{plain.place}/leads.csv"}, b"")}
    server = shop(pages, tls_server(certificate))
    env = {**os.environ, "SSL_CERT_FILE": str(certificate)}
    ended = [
        subprocess.run(
            [LEADS, "check", f"https://{server.place}/{page}", "-m", "list.toml", "--quiet"],
            env=env, capture_output=True, text=True, check=False,
        )
        for page in ("leads.csv", "down")
    ]  # fmt: skip
    assert [one.returncode for one in ended] == [0, 4]
    assert "which is not https" in ended[1].stderr
    assert plain.seen == []


def test_a_size_is_bounded_while_it_is_fetched(
    leads: Leads, home: Path, mapping: Path, shop: Callable[..., Shop]
) -> None:
    """Whatever the server says of it."""
    server = shop({"/leads.csv": CONTENT})
    result = check(leads, f"http://{server.place}/leads.csv", LEADS_MAX_FILE_SIZE="20B")
    assert (result.code, "more than 20 bytes; if that is right, set max_file_size" in result.err) == (4, True)
    assert not list((home / "runs").iterdir())


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def test_any_file_system_that_fsspec_knows_is_read(
    leads: Leads, home: Path, mapping: Path, memory: MemoryFileSystem
) -> None:
    """Archives and workbooks as well."""
    memory.pipe("/lists/two.zip", zipped({"a.csv": CONTENT, "b.csv": CONTENT}))
    result = check(leads, "Memory://lists/two.zip#b.csv")
    assert result.json["sources"] == ["two.zip#b.csv"]
    missing = check(leads, "memory://lists/gone.csv")
    assert (missing.code, "can't be fetched: nothing is there" in missing.err) == (4, True)


def test_addresses_that_differ_in_their_secrets_only_are_two_sources(
    leads: Leads, home: Path, mapping: Path, shop: Callable[..., Shop]
) -> None:
    """Each row of the report can be told from every other."""
    server = shop({"/export": CONTENT})
    result = check(leads, f"http://{server.place}/export?id=1", f"http://{server.place}/export?id=2")
    assert len(result.rows) == 4
    assert len(set(result.json["sources"])) == 2


class Growing(MemoryFileSystem):
    """A file system on which somebody goes on writing."""

    protocol = "growing"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("growing://", "memory://")))

    def size(self, path: str) -> int:
        return int(super().size(path)) + 1


def test_a_far_file_that_grows_is_refused(leads: Leads, home: Path, mapping: Path, memory: MemoryFileSystem) -> None:
    """It has to be as long after it was fetched as what was fetched."""
    fsspec.register_implementation("growing", Growing, clobber=True)
    memory.pipe("/leads.csv", CONTENT)
    assert "it is still being written" in check(leads, "growing://leads.csv").err


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://example.com/leads.csv", "http:// is not encrypted"),
        ("ftp://fred:s3cr3t@example.com/leads.csv", "ftp:// is not encrypted"),
        ("s3://bucket/leads.csv", "pip install 'dialedin-leads[s3]'"),
        ("sftp://fred:s3cr3t@host/leads.csv", "pip install 'dialedin-leads[sftp]'"),
        ("nonsense://fred:s3cr3t@host/leads.csv", "nonsense:// is not known"),
        ("simplecache::https://fred:s3cr3t@host/leads.csv", "that is no address"),
        ("file:///tmp/leads.csv", "name the file by its path"),
        ("https://fred:s3cr3t@host/leads.csv#", "no file is named after the #"),
    ],
)
def test_an_address_that_isnt_fetched_says_why(
    leads: Leads, home: Path, mapping: Path, address: str, told: str
) -> None:
    """Before anybody is asked."""
    for scheme, library in (("s3:", "s3fs"), ("sftp:", "paramiko")):
        if address.startswith(scheme) and importlib.util.find_spec(library):
            pytest.skip(f"{library} is there")
    result = check(leads, address)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert told in result.err
    assert not secrets_seen(home, result.err)


ODD = st.text(st.sampled_from("abcXYZ019:/?#@&=%+ "), min_size=1, max_size=12)
SIGNATURES = st.text(st.sampled_from("abcXYZ019:/?@&=%+ "), max_size=12)


@given(user=ODD, password=ODD, signature=SIGNATURES)
def test_nothing_secret_of_an_address_is_told(user: str, password: str, signature: str) -> None:
    """However its user wrote it, quoted or not: what is told is host and path, or not even these."""
    for address in (
        f"sftp://{user}:{password}@host/lists/leads.csv",
        f"https://host/lists/leads.csv?X-Amz-Signature={signature}",
        f"https://{user}:{password}@host/lists/leads.csv?sig={signature}",
    ):
        scheme = address.partition("://")[0]
        known = {f"{scheme}://…", f"{scheme}://host/lists/leads.csv", f"{scheme}://host/lists/leads.csv?…"}
        assert redacted(address) in known
        told, name = told_of(address)
        assert told <= known
        assert name in {"leads.csv", "address"}


def told_of(address: str) -> tuple[set[str], str]:
    """Where an address is said to be, by what it is or by why it is refused; and its name."""
    try:
        (one,) = files.find([address])
    except UserError as refused:
        return {str(refused).partition(": ")[0]}, "address"
    return {one.shown, one.kept}, one.name


def test_an_address_is_told_without_what_is_secret() -> None:
    """Host and path are."""
    assert redacted("sftp://fred:pw@host:22/lists/a.csv") == "sftp://host:22/lists/a.csv"
    assert redacted("https://host/a.csv?X-Amz-Signature=1") == "https://host/a.csv?…"
    assert redacted("lists/a@b.csv") == "lists/a@b.csv"
    assert [one.name for one in files.find(["s3://bucket/may/leads.csv", "https://host?x=1", "https://host/"])] == [
        "leads.csv", "host", "host",
    ]  # fmt: skip
    with pytest.raises(UserError, match="a file name is empty"):
        files.find([""])


def test_of_several_files_the_one_that_lacks_a_column_is_named(leads: Leads, home: Path) -> None:
    """Its user can't tell otherwise which to mend."""
    write_csv(home / "may.csv", [["Phone"], ["2025550101"]])
    write_csv(home / "june.csv", [["Tel"], ["2025550102"]])
    mapping = '[fields]\nPrimaryPhone = "Phone"\nCampaign = { value = "Spring Renewals" }\n'
    write(home / "m.toml", f'operation = "InsertLead"\n{mapping}')
    refused = leads("check", "may.csv", "june.csv", "-m", "m.toml")
    assert refused.code == 2
    assert "june.csv: mapping m.toml: the file has no column 'Phone'" in refused.err
