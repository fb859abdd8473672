"""What a file is, by its content: its name's extension may lie."""

from __future__ import annotations

import mmap
import re
import zipfile
import zlib
from pathlib import Path

from pipeline.model import InputError

SNIFF_BYTES = 64 << 10

OUR_KEYWORD = "leads-rejected"  # among a workbook's properties: its text is as the source had it, without guards

_PARQUET = b"PAR1"
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BIFF = (b"\x09\x00\x04\x00", b"\x09\x02\x06\x00", b"\x09\x04\x06\x00", b"\x09\x08\x08\x00", b"\x09\x08\x10\x00")
_PACKED = (  # what a file begins with that holds another
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), "bz2"),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd"),
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), "zip"),
)
_FOREIGN = (  # what a file begins with, what it is, what to do
    (re.compile(rb"\xfd7zXZ\0"), "compressed with xz", "decompress it first"),
    (re.compile(rb"\x04\x22\x4d\x18"), "compressed with lz4", "decompress it first"),
    (re.compile(rb"\x1f[\x9d\xa0]"), "compressed with compress", "decompress it first"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive", "unpack it and name the list inside"),
    (re.compile(rb"Rar!\x1a\x07"), "a RAR archive", "unpack it and name the list inside"),
    (re.compile(rb"(?s).{257}ustar[ \0]"), "a tar archive", "unpack it and name the list inside"),
    (re.compile(rb"%PDF-"), "a PDF document", "export the list as CSV or .xlsx"),
    (re.compile(rb"\{\\rtf"), "a rich text document", "export the list as CSV or .xlsx"),
    (re.compile(rb"PARE"), "an encrypted Parquet file", "write it without encryption"),
    (re.compile(rb"ARROW1"), "an Arrow file", "export the list as Parquet, CSV or .xlsx"),
    (re.compile(rb"(?is)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype html|html|head|body|table|meta)\b"),
     "a web page (HTML), whatever its name says", "open it in Excel and save it as .xlsx"),
    (re.compile(rb"\s*<\?xml\b.{,500}?(<\?mso-application|<(\w+:)?Workbook\b)", re.DOTALL),
     "an XML Spreadsheet of 2003, whatever its name says", "open it in Excel and save it as .xlsx"),
    (re.compile(rb"\s*<\?xml\b.{,500}?<office:document\b", re.DOTALL),
     "a flat OpenDocument file", "open it in LibreOffice and save it as .ods or .xlsx"),
    (re.compile(rb"(?i)mime-version:"), "a web archive (MHTML), whatever its name says",
     "open it in Excel and save it as .xlsx"),
    (re.compile(rb"\s*<\?xml\b"), "XML", "open it in Excel and save it as .xlsx"),
    (re.compile(rb"\s*[\[{]\s*([\[{]|\"[^\"]*\"\s*:)"), "JSON", "export the list as CSV or .xlsx"),
)  # fmt: skip


def kind_of(path: Path, head: bytes) -> str:
    """The format of the file that begins with `head`: csv, parquet, xlsx, xls, xlsb or ods; gzip, bz2, zstd or zip.

    Raises InputError for what is no list at all, and holds none.
    """
    if head.startswith(_PARQUET):
        return "parquet"
    if head.startswith(_OLE2):
        _refuse_other_ole(path)
        return "xls"
    if head.startswith(_BIFF):
        raise InputError("it is in a format of Excel before 1993; open it in Excel and save it as .xlsx")
    if head.startswith(b"PK\x03\x04") and (kind := _zip_kind(path)):
        return kind
    for begins, kind in _PACKED:
        if begins.match(head):
            return kind
    text = re.sub(rb"^\xef\xbb\xbf", b"", head)
    for begins, what, then in _FOREIGN:
        if begins.match(text):
            raise InputError(f"it is {what}; {then}")
    return "csv"


def _zip_kind(path: Path) -> str | None:
    """The kind of workbook in a ZIP archive, None where it is another archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.lower().replace("\\", "/").lstrip("/") for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise InputError("it is a damaged workbook or archive; save or copy it again") from None
    if "content.xml" in names:
        return "ods"
    if any(name.startswith("xl/") and name.endswith("workbook.bin") for name in names):
        return "xlsb"
    for mark, part, what in _OTHER_DOCUMENTS:
        if mark in names and any(name.startswith(part) for name in names):
            raise InputError(f"it is {what}; export the list as CSV or .xlsx")
    return "xlsx" if "[content_types].xml" in names or any(name.startswith("xl/") for name in names) else None


_OTHER_DOCUMENTS = (  # a part that they have, what another begins with, what they are
    ("[content_types].xml", "word/", "a Word document"),
    ("[content_types].xml", "ppt/", "a PowerPoint presentation"),
    ("index/document.iwa", "index/", "an Apple Numbers, Pages or Keynote document"),
)
_OLE_ENTRY_BYTES = 128  # of the directory in an OLE container, which begins with the entry's name


def _refuse_other_ole(path: Path) -> None:
    """Raises for an OLE container that is no .xls: one that keeps an encrypted workbook, or another document."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if _has_entry(content, "EncryptedPackage"):
            raise InputError("the workbook is protected by a password; save it without one")
        for entry, what in (("WordDocument", "a Word document"), ("PowerPoint Document", "a PowerPoint presentation"),
                            ("__properties_version1.0", "an Outlook message")):  # fmt: skip
            if _has_entry(content, entry) and not _has_entry(content, "Workbook"):
                raise InputError(f"it is {what}, whatever its name says; export the list as CSV or .xlsx")


def _has_entry(content: mmap.mmap, name: str) -> bool:
    """Whether the container's directory has that name: the same words in a cell are somewhere in between."""
    entry = f"{name}\0".encode("utf-16-le")
    at = content.find(entry)
    while at >= 0 and at % _OLE_ENTRY_BYTES:
        at = content.find(entry, at + 1)
    return at >= 0


def is_our_workbook(path: Path) -> bool:
    """Whether an .xlsx is one that this tool wrote, by a keyword that spreadsheets keep; what is damaged is not."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("docProps/core.xml") as properties:
            return OUR_KEYWORD.encode() in properties.read(SNIFF_BYTES)
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, EOFError, zlib.error):
        return False
