"""Damaged files for both readers, one after the other: `python tests/fuzzing.py csv 0 60` takes a minute.

The arguments are csv or workbook, a seed, seconds, and the number of one file where only that one is wanted. A file
may be read or refused in one line. Anything else is a finding: another exception, rows lost between the passes, more
than SLOW_SECONDS or MEMORY_BYTES. It is printed with its number, the file is kept, and the exit code is 1.
"""

from __future__ import annotations

import faulthandler
import io
import itertools
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from reading import no_pause

from pipeline import source
from pipeline.model import UserError
from pipeline.source import Inspection, SourceOptions

SLOW_SECONDS = 20
MEMORY_BYTES = 1 << 30
SMALL_BYTES = 60_000  # of a file to begin with: what is found in small files is found often

Case = tuple[bytes, dict[str, Any]]

TEXTS = (
    'Name,Phone,Notes\r\nAnn,202-555-0101,"says ""hi"""\r\nBob,2025550102,"two\nlines"\r\n\r\nZoë,2025550103,\r\n',
    "sep=;\nName;Phone\nRenée;2025550104\nJosé;2025550105\n",
    "May leads\n\nName|Phone|City\nAnn|2025550106|Łódź\nBob|2025550107|東京\n",
    "2025550108\n2025550109\n2025550110\n",
    "a\tb\tc\r1\t2\t3\r4\t5\t6\r",
    "Name,Phone,_row,_status,_problems\nAnn,1,7,invalid,bad\n",
)
CODECS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "mac_roman", "gb18030")
TOKENS = (
    b'"', b'""', b",", b";", b"\t", b"|", b"^", b"\r", b"\n", b"\r\n", b"\0", b"\\\"", b" ", b"sep=;\n",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x81", b"\xc3\xa9", b"\xe9", b"\xff", b"=1+1", b"#N/A", b"1E309",
    b"PK\x03\x04", b"PAR1", b'"\n' * 50, b"," * 300, b" " * 5000, b"\xff\xff\xff\x7f",
)  # fmt: skip


def main() -> int:
    """Reads damaged files until the time is over; 1 where there was a finding."""
    kind, seed, seconds, *only = sys.argv[1:]
    warnings.simplefilter("error")
    ends = time.monotonic() + float(seconds)
    told: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="leads-fuzz-") as folder:
        for number in map(int, only) if only else itertools.count():
            if not only and time.monotonic() > ends:
                break
            told[_tried(kind, int(seed), number, Path(folder))] += 1
    print(f"{kind}: {told.total()} files, seed {seed}: {', '.join(f'{n} {what}' for what, n in told.most_common())}")
    return int(told["wrong"] > 0)


def _tried(kind: str, seed: int, number: int, folder: Path) -> str:
    """What became of one file: read, refused or wrong."""
    content, options = CASES[kind](random.Random(f"{kind} {seed} {number}"))
    path = folder / f"{kind}-{seed}-{number}"
    path.write_bytes(content)
    if sys.stderr.isatty():
        print(f"{kind} {seed} {number}", file=sys.stderr, end="\r", flush=True)
    faulthandler.dump_traceback_later(10 * SLOW_SECONDS, exit=True)
    started = time.monotonic()
    try:
        outcome = _read(path, options)
        took = time.monotonic() - started
        assert took < SLOW_SECONDS, f"it took {took:.0f} s"
        assert _peak_bytes() < MEMORY_BYTES, f"{_peak_bytes():,} bytes of memory"
    except Exception:  # noqa: BLE001  # whatever it is, it is what is looked for, and it is told
        kept = Path(tempfile.gettempdir()) / path.name
        kept.write_bytes(content)
        print(f"WRONG: {kind} seed {seed} number {number}, {options}, see {kept}\n{traceback.format_exc()}", flush=True)
        return "wrong"
    finally:
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
    return outcome


def _read(path: Path, options: dict[str, Any]) -> str:
    """Reads a file as a run does; `read` or `refused`."""
    given = SourceOptions(**options)
    try:
        found = source.inspect(path, given, path.parent, pause=no_pause)
    except UserError as error:
        told = str(error)
    else:
        _count(found, given)
        return "read"
    assert "\n" not in told, f"more than one line: {told}"
    assert list(path.parent.iterdir()) == [path], "a spool is left behind"
    return "refused"


def _count(found: Inspection, given: SourceOptions) -> None:
    """The second pass finds what the first one counted."""
    try:
        rows = sum(len(chunk.frame) + len(chunk.ragged) for chunk in source.read(found))
        assert rows == found.rows > 0, f"{rows} rows were read and {found.rows} counted"
    finally:
        if found.layout.spool:
            found.layout.spool.unlink()


def _peak_bytes() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# --- Files ---


def _csv(chance: random.Random) -> Case:
    """A list in some encoding, damaged, and what a mapping may say of it."""
    texts = [text.encode(chance.choice(CODECS), "replace") for text in TEXTS]
    options = {
        "delimiter": chance.choice([None, None, None, ",", "^"]),
        "header_row": chance.choice([None, None, 0, 1, 3]),
        "encoding": chance.choice([None, None, None, "cp1252", "utf-16"]),
        "pad_short": chance.random() < 0.3,
        "picked": frozenset(["Name[2]", "a[1]"]) if chance.random() < 0.3 else frozenset(),
    }
    return _damaged(chance.choice(texts), texts, chance), options


def _workbook(chance: random.Random) -> Case:
    """A workbook, damaged as a file or in one member of its archive."""
    seeds = _workbooks()
    content = chance.choice(seeds)
    if content.startswith(b"PK") and chance.random() < 0.7:
        return _damaged_within(content, chance), {}
    return _damaged(content, seeds, chance), {}


CASES: dict[str, Callable[[random.Random], Case]] = {"csv": _csv, "workbook": _workbook}


def _damaged(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """`content` after a few accidents."""
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        end = min(end, start + chance.choice([1, 4, 40, 4000]))
        piece = chance.choice(
            [
                b"",
                chance.choice(TOKENS),
                chance.choice(TOKENS),
                chance.randbytes(max(1, min(8, end - start))),
                content[start:end] * chance.choice([2, 3, 100]),
                chance.choice(others)[start:end],
            ]
        )
        content = content[:start] + piece + content[end:]
        if chance.random() < 0.1:
            content = content[:end]
    return content


def _damaged_within(content: bytes, chance: random.Random) -> bytes:
    """The archive with one member damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return content
    target = chance.choice(list(members))
    members[target] = _damaged(members[target], list(members.values()), chance)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return packed.getvalue()


def _workbooks() -> list[bytes]:
    """Small workbooks: ours, and those of the corpora where LEADS_CORPORA says where they are."""
    if not _SEEDS:
        _SEEDS.extend([_xlsx(), _ods(), *_of_corpora()])
    return _SEEDS


_SEEDS: list[bytes] = []


def _xlsx() -> bytes:
    book, packed = openpyxl.Workbook(), io.BytesIO()
    for row in (["Name", "Phone", "Zip", "Day"], ["Ann", 2025550101, 2139, 45000.5], ["Zoë", "2025550102", None, True]):
        book.active.append(row)
    book.active["D2"].number_format = "yyyy-mm-dd"
    book.active["C2"].number_format = "00000"
    book.create_sheet("More")
    book.save(packed)
    return packed.getvalue()


def _ods() -> bytes:
    names = 'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    names += 'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    names += 'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
    rows = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>' for cell in row
        )
        + "</table:table-row>"
        for row in (("Name", "Phone"), ("Ann", "2025550101"), ("Bob", "2025550102"))
    )
    table = f'<table:table table:name="Leads">{rows}</table:table>'
    content = f"<office:document-content {names}><office:body><office:spreadsheet>{table}"
    content += "</office:spreadsheet></office:body></office:document-content>"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
    return packed.getvalue()


def _of_corpora() -> Iterator[bytes]:
    corpora = os.environ.get("LEADS_CORPORA")
    files = sorted(Path(corpora).glob("3_excel/**/*.[xo][ld]s*")) if corpora else []
    return (path.read_bytes() for path in files if path.stat().st_size < SMALL_BYTES)


if __name__ == "__main__":
    sys.exit(main())
