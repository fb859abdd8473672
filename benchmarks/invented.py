"""Invented leads as CSV or a workbook, and the mapping that goes with them.

Phones are 555-0100 to 555-0199, which are set aside for fiction, in every US area code: some 37,000 numbers, all of
the right shape. Nobody dials them: they go to a server on this machine. A longer file repeats them, which is
why the mapping keeps duplicates; ClientIds differ on every row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

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

_LINES = range(100, 200)
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
    left = islice(enumerate(_phones(rows)), begun, None)
    with path.open("a", encoding="utf-8", newline="") as file:
        written = csv.writer(file)
        if begun is None:
            written.writerow(HEADER)
        written.writerows(_lead(number, phone) for number, phone in left)


def write_xlsx(path: Path, rows: int) -> None:
    """Writes `rows` leads as a workbook."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Leads")
    sheet.append(HEADER)
    for number, phone in enumerate(_phones(rows)):
        sheet.append(_lead(number, phone))
    book.save(path)


def _phones(rows: int) -> Iterator[tuple[str, str, str]]:
    """Area code, exchange and line; neighbours differ in the area code."""
    areas = [area for area in range(200, 1000) if _is_us(area)]
    for number in range(rows):
        lines, area = divmod(number, len(areas))
        yield str(areas[area]), "555", f"{_LINES[lines % len(_LINES)]:04d}"


def _is_us(area: int) -> bool:
    number = phonenumbers.PhoneNumber(country_code=1, national_number=area * 10_000_000 + 555_2345)
    return area not in _NOT_A_PERSON and phonenumbers.region_code_for_number(number) == "US"


def _lead(number: int, phone: tuple[str, str, str]) -> tuple[str, ...]:
    city, state, zip_code = _PLACES[number % len(_PLACES)]
    return (
        f"00Q{number:012d}",
        _SPELLINGS[number % len(_SPELLINGS)].format(*phone),
        _FIRST[number % len(_FIRST)],
        _LAST[number % len(_LAST)],
        f"{number % 9000 + 1} Example Street",
        city,
        state,
        zip_code,
        _OWNERS[number % len(_OWNERS)],
        _SOURCES[number % len(_SOURCES)],
        _NOTES[number % len(_NOTES)],
    )
