"""Workbooks that are ZIP archives (xlsx, xlsb, ods): values by python-calamine, the rest by a second look."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import python_calamine as calamine

from pipeline.sheets import ods, xlsb, xlsx
from pipeline.sheets.look import Look
from pipeline.sheets.model import PROTECTED, Bounds, Grid, Listed, RefusedError
from pipeline.sheets.parts import Parts, refuse_bombs
from pipeline.sheets.unpacked import unpacked

_LOOKS: Mapping[str, Callable[[Parts, str], Look]] = MappingProxyType(
    {"xlsx": xlsx.look, "xlsb": xlsb.look, "ods": ods.look}
)


class ZippedBook:
    """A workbook that is open."""

    def __init__(self, workbook: calamine.CalamineWorkbook, parts: Parts, kind: str) -> None:
        self._workbook, self._parts, self._kind = workbook, parts, kind
        self.tables = [
            Listed(meta.name, meta.visible == calamine.SheetVisibleEnum.Visible)
            for meta in workbook.sheets_metadata
            if meta.typ == calamine.SheetTypeEnum.WorkSheet
        ]

    def grid(self, name: str) -> Grid:
        """The values of a sheet."""
        sheet = self._workbook.get_sheet_by_name(name)
        if sheet.start is None or sheet.end is None:
            return Grid(iter(()), 0, 0, 0)
        return Grid(sheet.iter_rows(), sheet.end[0] + 1, sheet.width, sheet.start[1])

    def read(self, name: str) -> tuple[Grid, Look]:
        """The values of a sheet, and what is to be known of it besides: looked at while calamine parses."""
        with ThreadPoolExecutor(1) as beside:
            look = beside.submit(_LOOKS[self._kind], self._parts, name)
            grid = self.grid(name)
            return grid, look.result()


@contextmanager
def opened(path: Path, kind: str, bounds: Bounds, copy: Path) -> Iterator[ZippedBook]:
    """The workbook; an .xlsx may be unpacked to `copy` meanwhile.

    Raises RefusedError where it is protected, too large or can't be read.
    """
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        refuse_bombs(archive, bounds)
        if kind == "xlsx":
            path = stack.enter_context(unpacked(archive, copy))
            archive = stack.enter_context(zipfile.ZipFile(path))
        try:
            yield ZippedBook(calamine.CalamineWorkbook.from_path(path), Parts(archive), kind)
        except calamine.PasswordError:
            raise RefusedError(PROTECTED) from None
