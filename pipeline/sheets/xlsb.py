"""A second look at a sheet of an .xlsb, whose parts are binary records ([MS-XLSB] 2.1.4): a kind, a size, bytes.

Every formula has a value there, so none is found without one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from pipeline.sheets.formats import BUILT_IN
from pipeline.sheets.look import Look, Mark
from pipeline.sheets.model import RefusedError
from pipeline.sheets.parts import Parts
from pipeline.sheets.xlsx import mark_of

_ROW, _COLUMNS, _MERGED, _FILTERED_COLUMN = 0, 60, 176, 163
_CELL_ERROR, _FORMULA_ERROR = 3, 11
_NUMBERS = frozenset((2, 5, 9))  # a number in short or long form, a formula's number
_FORMAT, _STYLE, _STYLES_BEGIN, _STYLES_END, _SHEET = 44, 47, 617, 618, 156
_LONGEST = 64 << 20
_ERRORS = {0: "#NULL!", 7: "#DIV/0!", 15: "#VALUE!", 23: "#REF!", 29: "#NAME?", 36: "#NUM!", 42: "#N/A"}


def look(parts: Parts, name: str) -> Look:
    """What is to be known of the sheet besides its values."""
    book = parts.related("", "officeDocument") or "/xl/workbook.bin"
    styles = _styles(parts, book)
    found, row = Look(), 0
    with parts.open(_sheet_path(parts, book, name)) as stream:
        for kind, body in _records(stream):
            if kind == _ROW:
                row = _row(found, body)
            elif kind in _NUMBERS:
                if styles and (mark := styles.get(_number(body, 4) & 0xFFFFFF)):
                    found.mark(row, _number(body, 0), mark)
            elif kind in {_CELL_ERROR, _FORMULA_ERROR}:
                found.error(row, _number(body, 0), _ERRORS.get(body[8], ""))
            else:
                _other(found, kind, body)
    return found


def _number(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 4], "little")


def _row(found: Look, body: bytes) -> int:
    """The row's number, from 0."""
    row = _number(body, 0)
    found.last_row = max(found.last_row, row + 1)
    if body[11] & 0x10:
        found.hidden_rows.add(row + 1, row + 1)
    return row


def _other(found: Look, kind: int, body: bytes) -> None:
    if kind == _COLUMNS and body[16] & 1:
        found.hidden_columns.add(_number(body, 0) + 1, _number(body, 4) + 1)
    elif kind == _FILTERED_COLUMN:
        found.filtered = True
    elif kind == _MERGED:
        first_row, last_row, first_column, last_column = struct.unpack_from("<4I", body)
        found.merge((first_row + 1, first_column + 1, last_row + 1, last_column + 1))


def _records(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of every record."""
    while first := stream.read(1):
        kind = first[0]
        if kind & 0x80:
            kind = (kind & 0x7F) | (_read(stream, 1)[0] & 0x7F) << 7
        size = shift = 0
        while shift < 28:
            byte = _read(stream, 1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        yield kind, _read(stream, size)


def _read(stream: IO[bytes], size: int) -> bytes:
    body = stream.read(size) if size <= _LONGEST else b""
    if len(body) != size:
        raise RefusedError("the workbook is cut off or damaged; save or copy it again")
    return body


def _text(body: bytes, at: int) -> str:
    return body[at + 4 : at + 4 + 2 * _number(body, at)].decode("utf-16-le", "replace")


def _sheet_path(parts: Parts, book: str, name: str) -> str:
    relations = parts.relations(book)
    with parts.open(book) as stream:
        for kind, body in _records(stream):
            if kind != _SHEET:
                continue
            relation = _text(body, 8)
            if _text(body, 12 + 2 * len(relation)) == name and relation in relations:
                return relations[relation].path
    raise RefusedError(f"the workbook doesn't say where sheet {name!r} is: it is damaged; save or copy it again")


def _styles(parts: Parts, book: str) -> dict[int, Mark]:
    """By number of a style: what is to be done with its cells. Most styles are not there."""
    path = parts.related(book, "styles")
    if path is None or not parts.has(path):
        return {}
    codes, own = dict(BUILT_IN), []
    within = False
    with parts.open(path) as stream:
        for kind, body in _records(stream):
            if kind == _FORMAT:
                codes[int.from_bytes(body[:2], "little")] = _text(body, 2)
            elif kind in {_STYLES_BEGIN, _STYLES_END}:
                within = kind == _STYLES_BEGIN
            elif kind == _STYLE and within:
                own.append(int.from_bytes(body[2:4], "little"))
    marks = {number: mark_of(codes.get(code, "")) for number, code in enumerate(own)}
    return {number: mark for number, mark in marks.items() if mark is not None}
