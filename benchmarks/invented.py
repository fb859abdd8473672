"""Invented leads as CSV or a workbook, and the mapping that goes with them.

Phones are 555-0100 to 555-0199, which are set aside for fiction, in every US area code: some 37,000 numbers, all of
the right shape. Nobody dials them: they go to a server on this machine. A longer file repeats them, which is
why the mapping keeps duplicates; ClientIds differ on every row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import count, cycle, islice
from pathlib import Path
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import phonenumbers

HEADER = (
    "Lead ID",
    "Phone",
    "First Name",
    "Last Name",
    "Street",
    "City",
    "State",
    "Zip",
    "Owner",
    "Lead Source",
    "Notes",
)

MAPPING = """\
operation = "InsertLead"

[fields]
ClientId = "Lead ID"
PrimaryPhone = "Phone"
FirstName = "First Name"
LastName = "Last Name"
Address = "Street"
City = "City"
State = "State"
ZipCode = "Zip"
Rep = "Owner"
Notes = "Notes"
"adv_Lead Source" = "Lead Source"
Campaign = { value = "Spring Renewals" }

[policy]
dialing = "import-only"
duplicates_in_file = "keep"
"""

_NOT_A_PERSON = frozenset({800, 833, 844, 855, 866, 877, 888, 900})  # toll-free and premium
_FIRST = ("Ada", "Grace", "Linus", "María", "Barbara", "Edsger", "Radia", "Søren", "Ken", "Margaret", "Tim")
_LAST = ("Example", "O'Sample", "Testa-Vance", "Placeholder", "Núñez", "Doe", "Mustermann")
_PLACES = (
    ("Springfield", "IL", "62701"),
    ("Boston", "MA", "02108"),
    ("Saint Paul", "mn", "55102"),
    ("Albany", "New York", "12207"),
    ("Austin", "TX", "78701-1234"),
)
_OWNERS = ("north", "south", "house")
_SOURCES = ("Web form", "Trade show", "Referral", "")
_NOTES = ("", "Asked for a call after 5 pm", "Renewal: policy #4711 & rider, 10% off", "Prefers e-mail")
_SPELLINGS = ("{0}{1}{2}", "({0}) {1}-{2}", "{0}-{1}-{2}", "+1 {0} {1} {2}")


def write_csv(path: Path, rows: int, begun: int | None = None) -> None:
    """Writes `rows` leads, or those that come after the `begun` ones that are there."""
    with path.open("a", encoding="utf-8", newline="") as file:
        written = csv.writer(file)
        if begun is None:
            written.writerow(HEADER)
        written.writerows(islice(_leads(), begun, rows))


def write_xlsx(path: Path, rows: int) -> None:
    """Writes `rows` leads as a workbook, byte by byte as openpyxl would in ten times the time."""
    empty = io.BytesIO()
    book = openpyxl.Workbook(write_only=True)
    book.create_sheet("Leads").append(HEADER)
    book.save(empty)
    with ZipFile(empty) as read, ZipFile(path, "w", ZIP_DEFLATED) as written:
        for member in read.namelist():
            with written.open(member, "w") as file:
                before, end, after = read.read(member).partition(b"</sheetData>")
                file.write(before)
                if end:
                    file.writelines(_row(at, lead) for at, lead in enumerate(islice(_leads(), rows), start=2))
                file.write(end + after)


def _row(at: int, lead: tuple[str, ...]) -> bytes:
    """A lead as SpreadsheetML; `at` counts from 1."""
    cells = [
        f'<c r="{column}{at}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        if value
        else f'<c r="{column}{at}" t="inlineStr" />'
        for column, value in zip("ABCDEFGHIJK", lead, strict=True)
    ]
    return f'<row r="{at}">{"".join(cells)}</row>'.encode()


def _leads() -> Iterator[tuple[str, ...]]:
    """Leads without end."""
    ids = map("00Q{:012d}".format, count())
    streets = [f"{number} Example Street" for number in range(1, 9001)]
    places = zip(*_PLACES, strict=True)
    repeated = (_phones(), _FIRST, _LAST, streets, *places, _OWNERS, _SOURCES, _NOTES)
    return zip(ids, *map(cycle, repeated), strict=False)


def _phones() -> list[str]:
    """Each number once, in one of the spellings; neighbours differ in the area code."""
    areas = [area for area in range(200, 1000) if _is_us(area)]
    numbers = enumerate((area, line) for line in range(100, 200) for area in areas)
    return [_SPELLINGS[at % len(_SPELLINGS)].format(area, "555", f"{line:04d}") for at, (area, line) in numbers]


def _is_us(area: int) -> bool:
    number = phonenumbers.PhoneNumber(country_code=1, national_number=area * 10_000_000 + 555_2345)
    return area not in _NOT_A_PERSON and phonenumbers.region_code_for_number(number) == "US"
