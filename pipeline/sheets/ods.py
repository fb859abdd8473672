"""A second look at a sheet of an OpenDocument file: errors, formulas without values, zeros, what is hidden or merged.

All sheets are in one XML part. Where nothing in it can matter, it is only searched; else it is parsed. A day with an
hour has its own spelling there, which calamine keeps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from pipeline.cells import stands_in
from pipeline.sheets.formats import Picture, picture
from pipeline.sheets.look import Look
from pipeline.sheets.parts import Parts, attributes, elements, local

_CONTENT, _STYLES = "/content.xml", "/styles.xml"
_BLOCK_BYTES = 1 << 20
_OVERLAP = 1 << 12
_TELLING = re.compile(
    rb'min-integer-digits="(?:[2-9]|1[0-9])|"error"|>#[A-Z]|>Err:|"(?:collapse|filter)"'
    rb'|-spanned="(?:[2-9]|1[0-9])|:formula="[^"<]*"(?![^<>]*value-type)'
)
_CODE = re.compile(r"Err:[0-9]{3}")
_CELLS = frozenset(("table-cell", "covered-table-cell"))
_FARTHEST = 1 << 20


def look(parts: Parts, name: str) -> Look:
    """What is to be known of the sheet besides its values."""
    found = Look()
    if _is_telling(parts, _CONTENT) or (parts.has(_STYLES) and _is_telling(parts, _STYLES)):
        _Reading(found, name, parts).read()
    return found


def _is_telling(parts: Parts, path: str) -> bool:
    block = b""
    with parts.open(path) as stream:
        while more := stream.read(_BLOCK_BYTES):
            block = block[-_OVERLAP:] + more
            if _TELLING.search(block):
                return True
    return False


@dataclass(slots=True)
class _Style:
    """A cell style: its parent's name and that of its number format."""

    parent: str
    format: str


@dataclass(slots=True)
class _Styles:
    cells: dict[str, _Style] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)  # of number formats, in a spreadsheet's words

    def picture(self, name: str) -> Picture | None:
        """The leading zeros of a cell style."""
        for _ in range(10):  # parents of parents
            style = self.cells.get(name)
            if style is None:
                return None
            if style.format:
                return picture(self.codes.get(style.format, ""))
            name = style.parent
        return None

    def add(self, element: Element) -> None:
        """Takes a style or a number format in."""
        of = attributes(element)
        if local(element.tag) == "style" and of.get("family") == "table-cell":
            self.cells[of.get("name", "")] = _Style(of.get("parent-style-name", ""), of.get("data-style-name", ""))
        elif local(element.tag) == "number-style":
            self.codes[of.get("name", "")] = self._code(element)

    def _code(self, style: Element) -> str:
        """A number format in a spreadsheet's words, with its conditions."""
        own, conditions = "", ""
        for part in style:
            of = attributes(part)
            if local(part.tag) == "number":
                own += _digits(part, of)
            elif local(part.tag) == "text":
                own += f'"{part.text or ""}"'
            elif local(part.tag) == "map":
                condition = of.get("condition", "").replace("value()", "").replace("!=", "<>")
                conditions += f"[{condition}]{self.codes.get(of.get('apply-style-name', ''), '')};"
        return conditions + own


def _digits(number: Element, of: Mapping[str, str]) -> str:
    """The places of a number: 00000, with text between them where it has some."""
    if of.get("grouping") == "true" or _count(of.get("decimal-places"), 0):
        return "0.0"
    places = list("0" * min(_count(of.get("min-integer-digits"), 1), 40))
    inside = [(attributes(part).get("position", ""), part.text or "") for part in number]
    for from_right, text in sorted((int(at), text) for at, text in inside if at.isdigit()):
        if from_right <= len(places):
            places.insert(len(places) - from_right - sum(len(p) > 1 for p in places), f'"{text}"')
    return "".join(places)


def _count(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default


class _Reading:
    """One sheet's rows, one after the other."""

    def __init__(self, found: Look, name: str, parts: Parts) -> None:
        self._found, self._name, self._parts = found, name, parts
        self._styles = _Styles()
        self._row = self._column = 0  # from 0
        self._defaults: list[tuple[int, str]] = []  # (end of the columns, their cells' style)

    def read(self) -> None:
        """Looks at the styles, then at the sheet."""
        for path in (_STYLES, _CONTENT):
            if self._parts.has(path):
                self._read_part(path)

    def _read_part(self, path: str) -> None:
        here, depth = False, 0
        with self._parts.open(path) as stream:
            for event, element in elements(stream):
                name = local(element.tag)
                if name == "table":
                    depth += 1 if event == "start" else -1
                    if depth == 1 and event == "start":
                        here = attributes(element).get("name") == self._name
                elif event == "end" and not depth:
                    self._styles.add(element)
                if here and depth == 1:
                    self._element(event, name, element)
                if event == "end" and depth and name in {"table-row", "shapes"}:
                    element.clear()

    def _element(self, event: str, name: str, element: Element) -> None:
        if name == "table-column" and event == "start":
            self._columns(attributes(element))
        elif name == "table-row" and event == "end":
            self._whole_row(element)
        elif name == "database-range" or (name == "filter" and event == "end"):
            self._found.filtered = True

    def _columns(self, of: Mapping[str, str]) -> None:
        first = self._defaults[-1][0] if self._defaults else 0
        end = first + _count(of.get("number-columns-repeated"), 1)
        self._defaults.append((end, of.get("default-cell-style-name", "")))
        if of.get("visibility") in {"collapse", "filter"}:
            self._found.hidden_columns.add(first + 1, end)

    def _whole_row(self, row: Element) -> None:
        of = attributes(row)
        repeated = min(_count(of.get("number-rows-repeated"), 1), _FARTHEST)
        if of.get("visibility") in {"collapse", "filter"}:
            self._found.hidden_rows.add(self._row + 1, self._row + repeated)
            self._found.filtered = self._found.filtered or of["visibility"] == "filter"
        self._column = 0
        for cell in row:
            if local(cell.tag) in _CELLS:
                self._cell(cell, of.get("default-cell-style-name", ""), repeated)
        self._row += repeated

    def _cell(self, cell: Element, row_style: str, rows: int) -> None:
        of = attributes(cell)
        repeated = _count(of.get("number-columns-repeated"), 1)
        first, self._column = self._column, self._column + repeated
        self._merge(of, first)
        shown = "".join(text for part in cell if local(part.tag) == "p" for text in part.itertext()).strip()
        kind = of.get("value-type", "")
        if not shown and not kind and "formula" not in of:
            return
        style = of.get("style-name", "") or row_style or self._default(first)
        for row in range(self._row, self._row + rows):
            for column in range(first, min(first + repeated, _FARTHEST)):
                self._mark(row, column, _said(kind, shown, "formula" in of), style)

    def _mark(self, row: int, column: int, found: str, style: str) -> None:
        if found == "uncalculated":
            self._found.never_calculated(row, column)
        elif found == "number":
            if zeros := self._styles.picture(style):
                self._found.mark(row, column, zeros)
        elif found:
            self._found.error(row, column, found)

    def _merge(self, of: Mapping[str, str], column: int) -> None:
        rows, columns = _count(of.get("number-rows-spanned"), 1), _count(of.get("number-columns-spanned"), 1)
        if rows > 1 or columns > 1:
            self._found.merge((self._row + 1, column + 1, self._row + rows, column + columns))

    def _default(self, column: int) -> str:
        return next((style for end, style in self._defaults if column < end), "")


def _said(kind: str, shown: str, formula: bool) -> str:
    """What a cell is: `number`, `uncalculated`, the text of its error, "" for anything else."""
    if kind == "error" or (formula and (stands_in(shown) or _CODE.fullmatch(shown))):
        return shown or "#ERROR!"
    if formula and not kind and not shown:
        return "uncalculated"
    return "number" if kind == "float" else ""
