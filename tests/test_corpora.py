"""The real files of the corpora: each gives the rows that Python's csv module finds, or is refused with the reason.

LEADS_CORPORA names the folder. Workbooks have tests of their own.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from reading import read

from pipeline.model import InputError

CORPORA = Path(os.environ.get("LEADS_CORPORA") or "nowhere")
ELSEWHERE = {".xlsx", ".xls"}

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="LEADS_CORPORA names no folder")


@dataclass(frozen=True)
class Dialect:
    """What a person who looks at the file finds: `skip` bytes, then text, whose header is in this row; 0: nowhere."""

    encoding: str = "utf-8"
    delimiter: str = ","
    header_row: int = 1
    skip: int = 0


READ = {
    "1_leads/brian-dunning-500/ca-500.lf.csv": Dialect(),
    "1_leads/brian-dunning-500/us-500.crlf.csv": Dialect(),
    "1_leads/bullhorn/Candidate.csv": Dialect(),
    "1_leads/bullhorn/CandidateByteOrderMark.csv": Dialect(encoding="utf-8-sig"),
    "1_leads/bullhorn/Lead.csv": Dialect(),
    "1_leads/datablist/leads-10000.csv": Dialect(),
    "1_leads/groweasy-lead-demos/01-facebook-leads-standard.csv": Dialect(),
    "1_leads/groweasy-lead-demos/02-facebook-leads-messy-headers.csv": Dialect(),
    "1_leads/groweasy-lead-demos/03-google-ads-leads.csv": Dialect(),
    "1_leads/groweasy-lead-demos/04-google-ads-export-utf8.csv": Dialect(),
    "1_leads/groweasy-lead-demos/05-excel-export.csv": Dialect(),
    "1_leads/groweasy-lead-demos/06-agency-crm-export.csv": Dialect(),
    "1_leads/groweasy-lead-demos/07-real-estate-crm.csv": Dialect(),
    "1_leads/groweasy-lead-demos/08-broken-headers-typos.csv": Dialect(),
    "1_leads/groweasy-lead-demos/10-mixed-date-formats.csv": Dialect(),
    "1_leads/groweasy-lead-demos/11-international-names.csv": Dialect(),
    "1_leads/groweasy-lead-demos/12-unicode-emoji.csv": Dialect(),
    "1_leads/groweasy-lead-demos/real-world__facebook-leads-realistic.csv": Dialect(),
    "1_leads/groweasy-lead-demos/real-world__hubspot-export.csv": Dialect(),
    "1_leads/groweasy-lead-demos/real-world__salesforce-leads.csv": Dialect(),
    "1_leads/salesforce/csvtext_BOM_UTF16BE.csv": Dialect(encoding="utf-16"),
    "1_leads/salesforce/csvtext_BOM_UTF16LE.csv": Dialect(encoding="utf-16"),
    "1_leads/salesforce/csvtext_BOM_UTF32BE.csv": Dialect(encoding="utf-32-be", skip=2),
    "1_leads/salesforce/csvtext_BOM_UTF32LE.csv": Dialect(encoding="utf-32-le", skip=2),
    "1_leads/salesforce/csvtext_BOM_UTF8.csv": Dialect(encoding="utf-8-sig"),
    "1_leads/salesforce/sf-plugin-data-comma.csv": Dialect(),
    "1_leads/salesforce/sf-plugin-data-comma_wrapped_values.csv": Dialect(),
    "1_leads/salesforce/sf-plugin-data-pipe.csv": Dialect(delimiter="|"),
    "1_leads/salesforce/sf-plugin-data-semicolon.csv": Dialect(delimiter=";"),
    "1_leads/salesforce/sf-plugin-data-single-column.csv": Dialect(),
    "1_leads/salesforce/sf-plugin-data-tab.csv": Dialect(delimiter="\t"),
    "2_csv/csv-spectrum/comma_in_quotes.csv": Dialect(),
    "2_csv/csv-spectrum/empty.csv": Dialect(),
    "2_csv/csv-spectrum/empty_crlf.csv": Dialect(),
    "2_csv/csv-spectrum/escaped_quotes.csv": Dialect(),
    "2_csv/csv-spectrum/json.csv": Dialect(),
    "2_csv/csv-spectrum/location_coordinates.csv": Dialect(),
    "2_csv/csv-spectrum/newlines.csv": Dialect(),
    "2_csv/csv-spectrum/newlines_crlf.csv": Dialect(),
    "2_csv/csv-spectrum/quotes_and_newlines.csv": Dialect(),
    "2_csv/csv-spectrum/simple.csv": Dialect(),
    "2_csv/csv-spectrum/simple_crlf.csv": Dialect(),
    "2_csv/csv-spectrum/utf8.csv": Dialect(),
    "2_csv/frictionless/Table With Data.csv": Dialect(),
    "2_csv/frictionless/accent.csv": Dialect(delimiter=";"),
    "2_csv/frictionless/analysis-data.csv": Dialect(),
    "2_csv/frictionless/ascii-notvalid.csv": Dialect(),
    "2_csv/frictionless/ascii.csv": Dialect(),
    "2_csv/frictionless/bad.csv": Dialect(),
    "2_csv/frictionless/blank-cells.csv": Dialect(),
    "2_csv/frictionless/blank-rows-multiple.csv": Dialect(),
    "2_csv/frictionless/blank-rows-no-fields.csv": Dialect(),
    "2_csv/frictionless/blank-rows.csv": Dialect(),
    "2_csv/frictionless/bom.csv": Dialect(encoding="utf-8-sig"),
    "2_csv/frictionless/capital-3.csv": Dialect(),
    "2_csv/frictionless/capitals.csv": Dialect(),
    "2_csv/frictionless/chunk1.csv": Dialect(),
    "2_csv/frictionless/chunk1.csv.zip": Dialect(),
    "2_csv/frictionless/chunk2.csv": Dialect(),
    "2_csv/frictionless/chunk2.csv.zip": Dialect(),
    "2_csv/frictionless/countries-cleaned.csv": Dialect(),
    "2_csv/frictionless/countries-truefalsevalues.csv": Dialect(),
    "2_csv/frictionless/countries.csv": Dialect(header_row=2),
    "2_csv/frictionless/country-1.csv": Dialect(),
    "2_csv/frictionless/country-2.csv": Dialect(delimiter=";", header_row=2),
    "2_csv/frictionless/country-3.csv": Dialect(),
    "2_csv/frictionless/data.csv": Dialect(),
    "2_csv/frictionless/data2.csv": Dialect(),
    "2_csv/frictionless/delimiter.csv": Dialect(delimiter=";"),
    "2_csv/frictionless/dialect.csv": Dialect(delimiter="|"),
    "2_csv/frictionless/doublequote.csv": Dialect(),
    "2_csv/frictionless/doublequote.csv.zip": Dialect(),
    "2_csv/frictionless/duplicate-rows.csv": Dialect(),
    "2_csv/frictionless/encoding-issue-274.csv": Dialect(),
    "2_csv/frictionless/escaping.csv": Dialect(),
    "2_csv/frictionless/explicit.csv.gz": Dialect(),
    "2_csv/frictionless/explicit.csv.zip": Dialect(),
    "2_csv/frictionless/floats.csv": Dialect(),
    "2_csv/frictionless/issue-1004-data1.csv": Dialect(),
    "2_csv/frictionless/issue-1009-comma.csv": Dialect(),
    "2_csv/frictionless/issue-1009-semicolon.csv": Dialect(delimiter=";"),
    "2_csv/frictionless/issue-1066-largecellsize.csv": Dialect(),
    "2_csv/frictionless/issue-1066-largecellsizewithdeviation.csv": Dialect(),
    "2_csv/frictionless/issue-1066-smallcellsize.csv": Dialect(),
    "2_csv/frictionless/issue-1066-smallcellsizewithdeviation.csv": Dialect(),
    "2_csv/frictionless/issue-1100.csv": Dialect(delimiter=";"),
    "2_csv/frictionless/issue-1105-timezone.csv": Dialect(delimiter=";"),
    "2_csv/frictionless/issue-1109.csv": Dialect(),
    "2_csv/frictionless/issue-1138.csv": Dialect(delimiter=";"),
    "2_csv/frictionless/issue-1232.csv": Dialect(delimiter=";"),
    "2_csv/frictionless/issue-1341.csv": Dialect(),
    "2_csv/frictionless/issue-277.csv": Dialect(),
    "2_csv/frictionless/issue-305.csv": Dialect(),
    "2_csv/frictionless/issue-493.csv": Dialect(),
    "2_csv/frictionless/issue-647.csv.txt": Dialect(encoding="cp1252", delimiter=";"),
    "2_csv/frictionless/issue-811.csv": Dialect(encoding="cp1252", delimiter=";"),
    "2_csv/frictionless/issue-825.csv": Dialect(),
    "2_csv/frictionless/issue-833.csv": Dialect(),
    "2_csv/frictionless/issue-844.csv": Dialect(),
    "2_csv/frictionless/issue-991.csv": Dialect(),
    "2_csv/frictionless/latin1.csv": Dialect(encoding="cp1252"),
    "2_csv/frictionless/leading-zeros.csv": Dialect(),
    "2_csv/frictionless/long.csv": Dialect(),
    "2_csv/frictionless/matrix-with-comment.csv": Dialect(header_row=2),
    "2_csv/frictionless/matrix.csv": Dialect(),
    "2_csv/frictionless/nested-invalid.csv": Dialect(),
    "2_csv/frictionless/nested.csv": Dialect(),
    "2_csv/frictionless/numeric-labels.csv": Dialect(),
    "2_csv/frictionless/ok1.csv": Dialect(),
    "2_csv/frictionless/ok2.csv": Dialect(),
    "2_csv/frictionless/package-dialect-no-header.csv": Dialect(),
    "2_csv/frictionless/primary-file-types.csv": Dialect(),
    "2_csv/frictionless/schema-errors.csv": Dialect(),
    "2_csv/frictionless/skip-blank-at-the-end.csv": Dialect(),
    "2_csv/frictionless/skip-rows-before-headers.csv": Dialect(header_row=2),
    "2_csv/frictionless/skip-rows.csv": Dialect(header_row=2),
    "2_csv/frictionless/structure-errors.csv": Dialect(),
    "2_csv/frictionless/sync-schema.csv": Dialect(),
    "2_csv/frictionless/table-infer-increase-limit.csv": Dialect(),
    "2_csv/frictionless/table-infer-missing-values.csv": Dialect(),
    "2_csv/frictionless/table-infer-row-limit.csv": Dialect(),
    "2_csv/frictionless/table-infer-utf8.csv": Dialect(),
    "2_csv/frictionless/table-infer.csv": Dialect(),
    "2_csv/frictionless/table-limits.csv": Dialect(),
    "2_csv/frictionless/table-output.csv": Dialect(),
    "2_csv/frictionless/table-reverse.csv": Dialect(),
    "2_csv/frictionless/table-unicode-headers.csv": Dialect(),
    "2_csv/frictionless/table-with-accents.csv": Dialect(encoding="cp1252", delimiter=";"),
    "2_csv/frictionless/table.csv": Dialect(delimiter="|"),
    "2_csv/frictionless/table.tsv": Dialect(delimiter="\t"),
    "2_csv/frictionless/timezone-with-id.csv": Dialect(),
    "2_csv/frictionless/timezone.csv": Dialect(),
    "2_csv/frictionless/transform-groups.csv": Dialect(),
    "2_csv/frictionless/transform-pivot.csv": Dialect(),
    "2_csv/frictionless/transform.csv": Dialect(),
    "2_csv/frictionless/transpose.csv": Dialect(),
    "2_csv/frictionless/unique-field.csv": Dialect(),
    "2_csv/frictionless/vix.csv": Dialect(delimiter=";"),
    "2_csv/frictionless/wide.csv": Dialect(),
    "2_csv/frictionless/without-headers-extra.csv": Dialect(),
    "2_csv/frictionless/without-headers.csv": Dialect(),
    "2_csv/pandas-0.19.2/banklist.csv": Dialect(),
    "2_csv/pandas-0.19.2/salaries.csv": Dialect(delimiter="\t"),
    "2_csv/pandas-0.19.2/salaries.csv.bz2": Dialect(delimiter="\t"),
    "2_csv/pandas-0.19.2/salaries.csv.gz": Dialect(delimiter="\t"),
    "2_csv/pandas-0.19.2/sauron.SHIFT_JIS.csv": Dialect(encoding="cp932"),
    "2_csv/pandas-0.19.2/test1.csv": Dialect(),
    "2_csv/pandas-0.19.2/test1.csv.bz2": Dialect(),
    "2_csv/pandas-0.19.2/test1.csv.gz": Dialect(),
    "2_csv/pandas-0.19.2/test_mmap.csv": Dialect(),
    "2_csv/pandas-0.19.2/unicode_series.csv": Dialect(encoding="cp1252"),
    "2_csv/pandas-0.19.2/utf16_ex.txt": Dialect(encoding="utf-16", delimiter="\t"),
    "2_csv/papaparse/long-sample.csv": Dialect(),
    "2_csv/papaparse/normal.csv": Dialect(),
    "2_csv/papaparse/sample-header.csv": Dialect(),
    "2_csv/papaparse/sample.csv": Dialect(),
    "2_csv/papaparse/utf-8-bom-sample.csv": Dialect(encoding="utf-8-sig"),
    "2_csv/papaparse/verylong-sample.csv": Dialect(),
    "2_csv/qsv/NYC311-5.ssv": Dialect(delimiter=";"),
    "2_csv/qsv/NYC311-5.ssv.gz": Dialect(delimiter=";"),
    "2_csv/qsv/NYC311-5.tab": Dialect(delimiter="\t"),
    "2_csv/qsv/NYC311-5.tab.gz": Dialect(delimiter="\t"),
    "2_csv/qsv/NYC311-5.tsv.gz": Dialect(delimiter="\t"),
    "2_csv/qsv/adur-public-toilets.csv": Dialect(),
    "2_csv/qsv/boston311-100-20dupes-random.csv": Dialect(),
    "2_csv/qsv/boston311-100-bad.tsv": Dialect(delimiter="\t"),
    "2_csv/qsv/boston311-100-deduped.csv": Dialect(),
    "2_csv/qsv/boston311-100.tab": Dialect(delimiter="\t"),
    "2_csv/qsv/boston311-extdedup-dupeoutput.csv": Dialect(),
    "2_csv/qsv/data.csv.fetch-report.tsv": Dialect(delimiter="\t"),
    "2_csv/qsv/data.csv.fetchpost-report.tsv": Dialect(delimiter="\t"),
    "2_csv/qsv/snifftest-flexible.csv": Dialect(header_row=4),
    "2_csv/qsv/snifftest.csv": Dialect(header_row=4),
    "2_csv/qsv/test_sniff_delimiter.csv": Dialect(),
    "2_csv/qsv/utf8-japanesedata.csv": Dialect(),
    "4_phones/libphonenumber/1.txt": Dialect(delimiter="|", header_row=22),
    "4_phones/libphonenumber/comments.csv": Dialect(delimiter=";"),
    "4_phones/libphonenumber/examples.csv": Dialect(delimiter=";"),
    "4_phones/libphonenumber/formats.csv": Dialect(delimiter=";"),
    "4_phones/libphonenumber/map_data.txt": Dialect(delimiter="|", header_row=18),
    "4_phones/libphonenumber/operators.csv": Dialect(delimiter=";"),
    "4_phones/libphonenumber_test_strings.DERIVED.tsv": Dialect(delimiter="\t"),
    "4_phones/vicidial-nanp/GMT_USA_zip-latest.txt": Dialect(delimiter="\t"),
    "4_phones/vicidial-nanp/US_zipcode_ranges.txt": Dialect(delimiter="|"),
    "4_phones/vicidial-nanp/phone_codes_GMT-latest-24.txt": Dialect(encoding="cp1252", delimiter="\t"),
}

REFUSED = {  # what the message says
    "1_leads/bullhorn/ClientCorporation_DuplicateColumns.csv": r"columns 2 and 3 are both named 'name'",
    "1_leads/groweasy-lead-demos/09-duplicate-headers.csv": r"columns 1 and 4 are both named 'Name'",
    "1_leads/salesforce/sf-plugin-data-backquote.csv": r"it looks like one column, yet '`' cuts it into 5",
    "1_leads/salesforce/sf-plugin-data-caret.csv": r"it looks like one column, yet '\^' cuts it into 5",
    "1_leads/vicidial/UTF8_lead_file.txt": r"column 15 has no name in the header \(row 1\)",
    "2_csv/csv-spectrum/comma_in_quotes.json": r"it is JSON",
    "2_csv/csv-spectrum/empty.json": r"it is JSON",
    "2_csv/csv-spectrum/empty_crlf.json": r"it is JSON",
    "2_csv/csv-spectrum/escaped_quotes.json": r"it is JSON",
    "2_csv/csv-spectrum/json.json": r"it is JSON",
    "2_csv/csv-spectrum/location_coordinates.json": r"it is JSON",
    "2_csv/csv-spectrum/newlines.json": r"it is JSON",
    "2_csv/csv-spectrum/newlines_crlf.json": r"it is JSON",
    "2_csv/csv-spectrum/quotes_and_newlines.json": r"it is JSON",
    "2_csv/csv-spectrum/simple.json": r"it is JSON",
    "2_csv/csv-spectrum/simple_crlf.json": r"it is JSON",
    "2_csv/csv-spectrum/utf8.json": r"it is JSON",
    "2_csv/frictionless/blank-headers.csv": r"column 2 has no name in the header \(row 1\)",
    "2_csv/frictionless/capital-invalid.csv": r"columns 2 and 3 are both named 'name'",
    "2_csv/frictionless/chunk2.headless.csv": r"it has no rows below the header",
    "2_csv/frictionless/chunk3.csv": r"it has no rows below the header",
    "2_csv/frictionless/data__issue-905__datapackage.json": r"it is JSON",
    "2_csv/frictionless/datapackage.json": r"it is JSON",
    "2_csv/frictionless/defective-rows.csv": r"2 of 2 rows don't have the 3 cells",
    "2_csv/frictionless/duplicate-column.csv": r"columns 2 and 3 are both named 'B'",
    "2_csv/frictionless/duplicate-headers.csv": r"columns 1, 3 and 5 are all named 'id'",
    "2_csv/frictionless/empty.csv": r"it is empty",
    "2_csv/frictionless/file.txt": r"it has no rows below the header",
    "2_csv/frictionless/innerpath.package.zip": r"it is an archive of 11 files; name one",
    "2_csv/frictionless/invalid.csv": r"columns 2 and 4 are both named 'name'",
    "2_csv/frictionless/issue-1004-data2.csv": r"3 of 3 rows don't have the 4 cells",
    "2_csv/frictionless/package-invalid.zip": r"it is an archive of 3 files; name one",
    "2_csv/frictionless/package.zip": r"it is an archive of 3 files; name one",
    "2_csv/frictionless/resource.json": r"it is JSON",
    "2_csv/frictionless/resource.zip": r"it is an archive of 2 files; name one",
    "2_csv/frictionless/table-infer-iso-8859-7.csv": r"the text is not UTF-8, and its encoding can't be told",
    "2_csv/frictionless/table-multiple-files.zip": r"it is an archive of 2 files; name one",
    "2_csv/frictionless/text.txt": r"it has no rows below the header",
    "2_csv/frictionless/without-rows.csv": r"it has no rows below the header",
    "2_csv/frictionless/without-rows.csv.zip": r"it has no rows below the header",
    "2_csv/pandas-0.19.2/test2.csv": r"5 of 5 rows don't have the 5 cells",
    "2_csv/papaparse/malformed.tsv": r"row 9: a quoted cell is never closed",
    "2_csv/qsv/boston311-extdedup-dupeoutput.txt": r"columns 8, 10 and 11 are all named 'Sidewalk Cover / Manhole'",
    "4_phones/libphonenumber/ExampleNumbersTest.java": r"one column, yet row 4 contains ','",
    "4_phones/libphonenumber/PhoneNumberMatcherTest.java": r"one column, yet row 4 has more cells",
    "4_phones/libphonenumber/PhoneNumberMetadataForTesting.xml": r"one column, yet row 3 contains ','",
    "4_phones/libphonenumber/PhoneNumberUtilTest.java": r"one column, yet row 4 contains ','",
    "4_phones/libphonenumber/ShortNumberInfoTest.java": r"one column, yet row 4 has more cells",
    "4_phones/libphonenumber/shortcodes.csv": r"333 of 334 rows don't have the 8 cells",
    "4_phones/vicidial-nanp/GMT_notes.txt": r"one column, yet row 10 has more cells",
}

DECLARED = {  # what the mapping says of it, besides the dialect
    "1_leads/salesforce/sf-plugin-data-backquote.csv": Dialect(delimiter="`"),
    "1_leads/salesforce/sf-plugin-data-caret.csv": Dialect(delimiter="^"),
    "1_leads/vicidial/UTF8_lead_file.txt": Dialect(encoding="utf-8-sig", delimiter="|", header_row=0),
    "2_csv/frictionless/table-infer-iso-8859-7.csv": Dialect(encoding="iso-8859-7"),
    "2_csv/frictionless/table.csv": Dialect(delimiter="|", header_row=0),
    "2_csv/frictionless/without-headers.csv": Dialect(header_row=0),
    "4_phones/vicidial-nanp/GMT_USA_zip-latest.txt": Dialect(delimiter="\t", header_row=0),
}

PICKED = {  # columns that the mapping names by position
    "1_leads/bullhorn/ClientCorporation_DuplicateColumns.csv": {"name[1]", "firstName[2]"},
    "1_leads/groweasy-lead-demos/09-duplicate-headers.csv": {"Name[1]", "Email[2]"},
    "2_csv/frictionless/duplicate-column.csv": {"B[2]"},
}

UNLIKE = {"location_coordinates"}  # its JSON has another phone number
LOST = {"newlines_crlf": r"\r"}  # what its JSON has, and the CSV beside it has lost


def test_every_file_is_in_the_table() -> None:
    """A file that comes to the corpora needs an entry here."""
    files = {path.relative_to(CORPORA).as_posix() for path in CORPORA.glob("[124]_*/**/*") if path.is_file()}
    assert {name for name in files if Path(name).suffix not in ELSEWHERE} == READ.keys() | REFUSED.keys()
    assert not READ.keys() & REFUSED.keys()
    assert REFUSED.keys() | READ.keys() > DECLARED.keys() | PICKED.keys()


def unpacked(path: Path) -> bytes:
    """The list, whatever it is packed in."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            (member,) = archive.namelist()
            return archive.read(member)
    return {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)(path.read_bytes())


def cut(name: str, dialect: Dialect) -> list[tuple[str, ...]]:
    """The file's records by Python's csv module."""
    text = unpacked(CORPORA / name)[dialect.skip :].decode(dialect.encoding)
    limit = csv.field_size_limit(1 << 30)
    try:
        return [tuple(record) for record in csv.reader(text.splitlines(keepends=True), delimiter=dialect.delimiter)]
    finally:
        csv.field_size_limit(limit)


def expected(name: str, dialect: Dialect) -> tuple[list[str], dict[int, tuple[str, ...]], dict[int, tuple[str, ...]]]:
    """(header, cells by row, cells of ragged rows by row)"""
    filled = {row: cells for row, cells in enumerate(cut(name, dialect), 1) if any(cell.strip() for cell in cells)}
    if dialect.header_row:
        header = [cell.strip() for cell in filled[dialect.header_row]]
    else:
        header = [str(number) for number in range(1, len(filled[1]) + 1)]
    rows = {row: cells for row, cells in filled.items() if row > dialect.header_row}
    ragged = {row: cells for row, cells in rows.items() if len(cells) != len(header)}
    named = [position for position, text in enumerate(header) if text]
    fitting = {row: tuple(cells[at] for at in named) for row, cells in rows.items() if row not in ragged}
    return [header[at] for at in named], fitting, ragged


@pytest.mark.parametrize("name", READ)
def test_a_real_file_is_read_cell_for_cell(tmp_path: Path, name: str) -> None:
    """The same header, rows, row numbers and ragged rows as by Python's csv module, told the true dialect."""
    found, cells, ragged = read(CORPORA / name, spool=tmp_path)
    header, fitting, loose = expected(name, READ[name])
    assert (list(found.columns), found.header_row) == (header, READ[name].header_row)
    assert cells == fitting
    assert ragged == loose


@pytest.mark.parametrize("name", REFUSED)
def test_a_real_file_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    """In one line that names the file."""
    with pytest.raises(InputError) as caught:
        read(CORPORA / name, spool=tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    assert re.search(REFUSED[name], text.removeprefix(f"{CORPORA / name}: "))


@pytest.mark.parametrize("name", DECLARED)
def test_a_real_file_is_read_as_its_mapping_declares_it(tmp_path: Path, name: str) -> None:
    """Delimiter, encoding and header row may be given."""
    dialect = DECLARED[name]
    given = {"delimiter": dialect.delimiter, "encoding": dialect.encoding, "header_row": dialect.header_row}
    _, cells, ragged = read(CORPORA / name, spool=tmp_path, **given)
    assert (cells, ragged) == expected(name, dialect)[1:]


@pytest.mark.parametrize("name", PICKED)
def test_a_real_file_with_columns_named_alike_is_read_where_the_mapping_picks(tmp_path: Path, name: str) -> None:
    """All of its columns are there."""
    found, cells, _ = read(CORPORA / name, spool=tmp_path, picked=frozenset(PICKED[name]))
    assert PICKED[name] < set(found.columns)
    assert ([cell.strip() for cell in found.header], cells) == expected(name, Dialect())[:2]


TWINS = [twin for twin in sorted(CORPORA.glob("2_csv/csv-spectrum/*.json")) if twin.stem not in UNLIKE]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.stem)
def test_csv_spectrum_means_what_its_json_says(tmp_path: Path, twin: Path) -> None:
    """Cells as their authors meant them."""
    found, cells, _ = read(twin.with_suffix(".csv"), spool=tmp_path)
    rows = [dict(zip(found.columns, row, strict=True)) for row in cells.values()]
    assert rows == json.loads(twin.read_text(encoding="utf-8").replace(LOST.get(twin.stem, "\0"), ""))
