"""Files that no library here writes: archives of parts, and xls, xlsb and ods workbooks with nothing but text."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence

Rows = Sequence[Sequence[str]]

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATED = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="r1" Type="{_RELATIONS}/{{}}" Target="{{}}"/></Relationships>'
)
_SECTOR = 512
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def archive(parts: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive of the parts by name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as packed:
        for name, part in parts.items():
            packed.writestr(name, part)
    return content.getvalue()


def ods(rows: Rows) -> bytes:
    """An OpenDocument spreadsheet."""
    names = ("office", "table", "text")
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names)
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    lines = "".join(f"<table:table-row>{''.join(map(cell.format, row))}</table:table-row>" for row in rows)
    body = f'<office:spreadsheet><table:table table:name="Leads">{lines}</table:table></office:spreadsheet>'
    content = f"<office:document-content {spaces}><office:body>{body}</office:body></office:document-content>"
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    return archive({"mimetype": kind, "META-INF/manifest.xml": "<manifest/>", "content.xml": content})


def xlsb(rows: Rows) -> bytes:
    """A binary workbook of Excel 2007 and later: records of a kind, a size and bytes ([MS-XLSB] 2.1.4)."""
    sheet = _record(0x94, struct.pack("<IIII", 0, len(rows) - 1, 0, len(rows[0]) - 1)) + _record(0x91)
    for at, row in enumerate(rows):
        sheet += _record(0, struct.pack("<IIHBB", at, 0, 300, 0, 0) + b"\0" * 5)
        sheet += b"".join(_record(6, struct.pack("<II", column, 0) + _wide(text)) for column, text in enumerate(row))
    book = _record(0x83) + _record(0x8F) + _record(0x9C, struct.pack("<II", 0, 1) + _wide("r1") + _wide("Leads"))
    return archive(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": _RELATED.format("officeDocument", "xl/workbook.bin"),
            "xl/workbook.bin": book + _record(0x90) + _record(0x84),
            "xl/_rels/workbook.bin.rels": _RELATED.format("worksheet", "worksheets/sheet1.bin"),
            "xl/worksheets/sheet1.bin": _record(0x81) + sheet + _record(0x92) + _record(0x82),
        }
    )


def _record(kind: int, body: bytes = b"") -> bytes:
    size = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 0x7F | 0x80, len(body) >> 7])
    return (bytes([kind]) if kind < 128 else bytes([kind, 1])) + size + body


def _wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def xls(rows: Rows) -> bytes:
    """A workbook of Excel 97 to 2003: records ([MS-XLS]) in a container with one stream."""
    begin, end = struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0), _biff(0x0A)
    sheet = _biff(0x809, begin.replace(b"\5", b"\x10", 1)) + b"".join(
        _biff(0x204, struct.pack("<HHHHB", at, column, 0, len(text), 1) + text.encode("utf-16-le"))
        for at, row in enumerate(rows)
        for column, text in enumerate(row)
    )
    name = b"\5\0Leads"
    length = len(_biff(0x809, begin) + _biff(0x85, b"\0" * 6 + name) + end)
    book = _biff(0x809, begin) + _biff(0x85, struct.pack("<IBB", length, 0, 0) + name) + end
    return _container("Workbook", book + sheet + end)


def _biff(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def _container(name: str, stream: bytes) -> bytes:
    """A compound file: its table of sectors, its directory, and the stream in sectors one after the other."""
    stream = stream.ljust(-(-max(len(stream), 4096) // _SECTOR) * _SECTOR, b"\0")
    sectors = len(stream) // _SECTOR
    chain = [_FAT, _END, *range(3, sectors + 2), _END]
    table = struct.pack(f"<{len(chain)}I", *chain).ljust(_SECTOR, b"\xff")
    directory = _entry("Root Entry", 5, _END, 0, child=1) + _entry(name, 2, 2, len(stream), child=_FREE)
    version = struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
    places = struct.pack("<6xIIIIIIIII", 0, 1, 1, 0, 4096, _END, 0, _END, 0)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(24, b"\0") + version + places + struct.pack("<I", 0)
    return header.ljust(_SECTOR, b"\xff") + table + directory.ljust(_SECTOR, b"\0") + stream


def _entry(name: str, kind: int, start: int, size: int, child: int) -> bytes:
    text = f"{name}\0".encode("utf-16-le")
    links = struct.pack("<HBBIII", len(text), kind, 1, _FREE, _FREE, child)
    return text.ljust(64, b"\0") + links + b"\0" * 36 + struct.pack("<IQ", start, size)


WRITERS: Mapping[str, Callable[[Rows], bytes]] = {"xls": xls, "xlsb": xlsb, "ods": ods}
