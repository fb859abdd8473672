"""A second look at a sheet of an .xlsx: errors, formulas without values, number formats, what is hidden or merged.

The sheet's XML passes by as blocks of bytes in which only telling tokens are searched: most cells are never touched.
Whatever could make that miss a cell (prefixes, single quotes, cells that don't say where they are, comments) has the
sheet read by an XML parser instead, which takes some times as long.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Mapping
from typing import IO, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt

from pipeline.sheets.formats import BUILT_IN, Picture, has_day_and_hour, picture
from pipeline.sheets.look import Look, Mark, area, column_number, midnight, position
from pipeline.sheets.model import RefusedError
from pipeline.sheets.parts import Parts, attributes, elements, local

_BLOCK_BYTES = 1 << 18  # which stays in the processor's cache
_HEAD_BYTES = 16 << 20  # before the cells
_CELL_BYTES = 16 << 20  # a longer one is no cell
_YES = ("1", "true", "on")


def look(parts: Parts, name: str) -> Look:
    """What is to be known of the sheet besides its values."""
    book = parts.related("", "officeDocument") or "/xl/workbook.xml"
    root = parts.xml(book)
    path = _sheet_path(parts, book, root, name)
    styles = _styles(parts, book)
    found = Look()
    try:
        with parts.open(path) as stream:
            _Scan(found, styles).read(stream)
    except _OddError:
        found = Look()
        with parts.open(path) as stream:
            _parse(stream, found, styles)
    if not _wants_calculation(root):
        found.formulas = 0
    return found


def _sheet_path(parts: Parts, book: str, root: Element, name: str) -> str:
    for element in root.iter():
        if local(element.tag) == "sheet" and element.get("name") == name:
            relation = parts.relations(book).get(attributes(element).get("id", ""))
            if relation is not None:
                return relation.path
    raise RefusedError(f"the workbook doesn't say where sheet {name!r} is: it is damaged; save or copy it again")


def _wants_calculation(root: Element) -> bool:
    """Whether its program left the calculating to whoever opens it: the values it wrote are placeholders then."""
    calculation = next((element for element in root.iter() if local(element.tag) == "calcPr"), None)
    return calculation is not None and calculation.get("fullCalcOnLoad", "").lower() in _YES


def _styles(parts: Parts, book: str) -> dict[str, Mark]:
    """By number of a style: what is to be done with its cells. Most styles are not there."""
    path = parts.related(book, "styles")
    if path is None or not parts.has(path):
        return {}
    root = parts.xml(path)
    codes = dict(BUILT_IN)
    for element in root.iter():
        if local(element.tag) == "numFmt" and element.get("numFmtId", "").isdigit():
            codes.setdefault(int(element.get("numFmtId", "")), element.get("formatCode", ""))
    own = next((element for element in root if local(element.tag) == "cellXfs"), ())
    marks = {str(n): mark_of(codes.get(_whole(style.get("numFmtId")), "")) for n, style in enumerate(own)}
    return {number: mark for number, mark in marks.items() if mark is not None}


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def mark_of(code: str) -> Mark | None:
    """What a number format asks of its cells."""
    zeros = picture(code)
    if zeros is not None:
        return zeros
    return midnight if has_day_and_hour(code) else None


class _OddError(Exception):
    """The bytes are not as spreadsheet programs write them: a parser has to look."""


class _Cell(NamedTuple):
    row: int
    column: int
    style: str
    kind: str
    blank: bool


_TAG = re.compile(rb"<(\w+)((?:\s[^<>]*)?)(/?)>")
_ATTRIBUTE = re.compile(rb'([\w:.-]+)\s*=\s*(?:"([^"]*)"|\'([^\']*)\')')
_ROOT = re.compile(rb"<worksheet\s[^>]*>")
_MAIN = re.compile(rb'xmlns(:\w+)?\s*=\s*["\']http://(?:schemas\.openxmlformats\.org/spreadsheetml/2006/main'
                   rb'|purl\.oclc\.org/ooxml/spreadsheetml/main)["\']')  # fmt: skip
_DECLARED = re.compile(rb"\s*<\?xml\b[^>]*\?>")
_ENCODING = re.compile(rb'encoding\s*=\s*["\'](?:utf-?8|us-ascii)["\']', re.IGNORECASE)
_UNUSUAL = (b"='", b'= "', b' ="', b"= '")  # what cells and rows have only by unusual writers; in text it is common
_UNUSUAL_TAG = re.compile(rb"<(?:c|row)\s[^<>]*?(?:'|\s=|=\s)")
_ERROR = re.compile(rb't="e"')
_FORMULA = re.compile(rb"<f[\s/>]")
_NO_VALUE = re.compile(rb"<f(?:\s[^<>]*)?(?:/>|>[^<]*</f>)\s*(?P<value><v(?:\s[^<>]*)?(?:/>|>\s*</v>)\s*)?</c>")
_VALUE = re.compile(rb"<v(?:\s[^<>]*)?>([^<]*)</v>")
_CELL_START = re.compile(rb"<c[\s/>]")
_USUAL_CELL = re.compile(rb'<c r="([A-Z]{1,3})([0-9]{1,7})" s="([0-9]+)"(?: t="n")?><v>([0-9.]+)</v>')
_HIDDEN_ROW = re.compile(rb'<row\s[^<>]*?(?:hidden="|ht="0")[^<>]*>')
_ROW_NUMBER = re.compile(rb'<row\s[^<>]*?\br="([0-9]{1,7})"')
_MERGED = re.compile(rb"<mergeCell\s[^<>]*>")


class _Scan:
    """One sheet's blocks."""

    def __init__(self, found: Look, styles: Mapping[str, Mark]) -> None:
        self._found = found
        self._styles = {number.encode(): mark for number, mark in styles.items()}
        numbers = "|".join(sorted(styles, key=len, reverse=True)).encode()
        self._style = re.compile(rb's="(?:%s)"' % numbers) if styles else None

    def read(self, stream: IO[bytes]) -> None:
        """Looks at the whole sheet. Raises _OddError where a parser is needed."""
        block = self._head(stream)
        in_cells = True
        while True:
            more = stream.read(_BLOCK_BYTES)
            in_cells = in_cells and b"</sheetData" not in block
            end = len(block) if not more else _last_start(block) if in_cells else block.rfind(b"<")
            self._block(block, end)
            block = block[end:] + more
            if not more:
                return
            if len(block) > _CELL_BYTES:
                raise _OddError

    def _head(self, stream: IO[bytes]) -> bytes:
        """Looks at what comes before the cells; what was read beyond it."""
        head = b""
        while b"<sheetData" not in head:
            more = stream.read(_BLOCK_BYTES)
            if not more or len(head) > _HEAD_BYTES:
                raise _OddError
            head += more
        head, _, rest = head.partition(b"<sheetData")
        self._refuse_odd_head(head)
        for tag in _TAG.finditer(head):
            _head_tag(self._found, tag[1].decode(), _attributes(tag[2]))
        return rest

    @staticmethod
    def _refuse_odd_head(head: bytes) -> None:
        declared = _DECLARED.match(head.removeprefix(b"\xef\xbb\xbf"))
        if declared and b"encoding" in declared[0] and not _ENCODING.search(declared[0]):
            raise _OddError
        if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"<!" in head or head.count(b"<?") > bool(declared):
            raise _OddError
        root = _ROOT.search(head)
        names = _MAIN.findall(root[0]) if root else []
        if names != [b""]:
            raise _OddError

    def _block(self, block: bytes, end: int) -> None:
        """Looks at what begins before the end; what follows it is looked at with the next block."""
        within = _Within(block, end)
        if within.any(b"<!", b"<?"):
            raise _OddError
        if any(within.any(token[:2]) and token in block for token in _UNUSUAL) and _UNUSUAL_TAG.search(block, 0, end):
            raise _OddError
        self._rows(block, end, within)
        if within.any(b'e"'):
            self._errors(block, end)
        if within.any(b"<f"):
            self._formulas(block, end)
            self._found.filtered |= b"<filterColumn" in block
        if self._style:
            self._styled(block, end, self._style)
        if within.any(b"<m"):
            _merges(self._found, block, end)

    def _rows(self, block: bytes, end: int, within: _Within) -> None:
        if within.any(b"den=", b'ht="'):
            for tag in _HIDDEN_ROW.finditer(block, 0, end):
                _row(self._found, _attributes(tag[0]))
        last = block.rfind(b"<row", 0, end)
        if last >= 0 and (number := _ROW_NUMBER.match(block, last)):
            self._found.last_row = max(self._found.last_row, int(number[1]))

    def _errors(self, block: bytes, before: int) -> None:
        for hit in _ERROR.finditer(block, 0, before):
            start = block.rfind(b"<", 0, hit.start())
            if not _CELL_START.match(block, start):
                continue
            cell = _cell(block, start)
            end = block.find(b"</c>", start)
            value = _VALUE.search(block, start, end) if end >= 0 else None
            self._found.error(cell.row, cell.column, _unescaped(value[1]) if value else "")

    def _formulas(self, block: bytes, before: int) -> None:
        for hit in _FORMULA.finditer(block, 0, before):
            self._found.formulas += 1
            if none := _NO_VALUE.match(block, hit.start()):
                start = block.rfind(b"<", 0, hit.start())
                if not _CELL_START.match(block, start):
                    raise _OddError
                cell = _cell(block, start)
                if cell.kind == "e" or (cell.kind == "str" and none["value"]):  # marked already; an empty text
                    continue
                self._found.never_calculated(cell.row, cell.column)

    def _styled(self, block: bytes, before: int, style: re.Pattern[bytes]) -> None:
        """Marks numbers in telling styles."""
        for hit in style.finditer(block, 0, before):
            start = block.rfind(b"<", 0, hit.start())
            usual = _USUAL_CELL.match(block, start)
            if usual:
                mark = self._styles[usual[3]]
                if not _is_idle(mark, usual[4]):
                    self._found.mark(int(usual[2]) - 1, column_number(usual[1].decode()) - 1, mark)
            elif _CELL_START.match(block, start):
                cell = _cell(block, start)
                if not cell.blank and cell.kind in {"", "n"} and cell.style.encode() in self._styles:
                    self._found.mark(cell.row, cell.column, self._styles[cell.style.encode()])


def _is_idle(mark: Mark, value: bytes) -> bool:
    """Whether the mark would change nothing of this number: most have their hour, or all digits."""
    if isinstance(mark, Picture):
        return mark.is_idle(len(value))
    return b"." in value


class _Within:
    """Two or four bytes in a row, looked for as one number: `in` takes longer where the first is common."""

    def __init__(self, block: bytes, end: int) -> None:
        self._numbers = {size: _numbers(block, end, size) for size in (2, 4)}

    def any(self, *tokens: bytes) -> bool:
        """Whether any of these is there."""
        wanted = [(int.from_bytes(token, sys.byteorder), self._numbers[len(token)]) for token in tokens]
        return any(bool((numbers == token).any()) for token, by_offset in wanted for numbers in by_offset)


def _numbers(block: bytes, end: int, size: int) -> list[npt.NDArray[np.uint32]]:
    """What begins at each byte but the last ones, as numbers of so many bytes."""
    counts = ((at, (end - at) // size) for at in range(size))
    return [np.frombuffer(block, f"u{size}", count, at) for at, count in counts if count > 0]


def _last_start(block: bytes) -> int:
    """Where the last cell or row begins: what comes before is whole."""
    return max(block.rfind(b"<c "), block.rfind(b"<row"), 0)


def _cell(block: bytes, start: int) -> _Cell:
    """The cell whose tag begins there. Raises _OddError where it doesn't say where it is."""
    tag = _TAG.match(block, start)
    of = _attributes(tag[2]) if tag else {}
    place = position(of.get("r", ""))
    if tag is None or place is None:
        raise _OddError
    return _Cell(*place, of.get("s", ""), of.get("t", ""), bool(tag[3]))


def _attributes(tag: bytes) -> dict[str, str]:
    return {name.decode(): _unescaped(double or single) for name, double, single in _ATTRIBUTE.findall(tag)}


def _unescaped(text: bytes) -> str:
    return html.unescape(text.decode("utf-8", "replace")).strip()


def _head_tag(found: Look, name: str, of: Mapping[str, str]) -> None:
    """What stands before the cells: columns, and whether a filter hides rows."""
    if name == "col" and (of.get("hidden", "").lower() in _YES or of.get("width") == "0"):
        found.hidden_columns.add(_whole(of.get("min")), _whole(of.get("max")))
    if name == "sheetPr" and of.get("filterMode", "").lower() in _YES:
        found.filtered = True


def _row(found: Look, of: Mapping[str, str]) -> None:
    if of.get("hidden", "").lower() in _YES or of.get("ht") == "0":
        if not of.get("r", "").isdigit():
            raise _OddError
        found.hidden_rows.add(int(of["r"]), int(of["r"]))


def _merges(found: Look, block: bytes, end: int) -> None:
    for tag in _MERGED.finditer(block, 0, end):
        _merged(found, _attributes(tag[0]).get("ref", ""))


def _merged(found: Look, reference: str) -> None:
    if place := area(reference):
        found.merge(place)


def _parse(stream: IO[bytes], found: Look, styles: Mapping[str, Mark]) -> None:
    """The same by an XML parser, for sheets that are written in an unusual way."""
    row, column = 0, 0  # of the cell before
    for event, element in elements(stream):
        name = local(element.tag)
        if event == "start":
            if name == "row":
                row, column = _whole(element.get("r")) or row + 1, 0
                found.last_row = max(found.last_row, row)
                _row(found, {**element.attrib, "r": str(row)})
            elif name in {"col", "sheetPr"}:
                _head_tag(found, name, element.attrib)
        elif name == "c":
            place = position(element.get("r", "")) or (row - 1, column)
            column = place[1] + 1
            _parsed_cell(found, place, element, styles)
            element.clear()
        elif name == "row":
            element.clear()
        elif name == "filterColumn":
            found.filtered = True
        elif name == "mergeCell":
            _merged(found, element.get("ref", ""))


def _parsed_cell(found: Look, place: tuple[int, int], cell: Element, styles: Mapping[str, Mark]) -> None:
    parts = {local(part.tag): part for part in cell}
    kind, value = cell.get("t", ""), parts.get("v")
    text = ((value.text or "") if value is not None else "").strip()
    found.formulas += "f" in parts
    if kind == "e":
        found.error(*place, text)
    elif "f" in parts and "is" not in parts and not text:
        if kind != "str" or value is None:
            found.never_calculated(*place)
    elif kind in {"", "n"} and (mark := styles.get(cell.get("s", ""))):
        found.mark(*place, mark)
