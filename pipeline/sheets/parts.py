"""The parts of a workbook that is a ZIP archive: found as its relations name them, bounded, read safely."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from pipeline.sheets.model import Bounds, RefusedError


class Relation(NamedTuple):
    """What a part refers to: the kind of it (the last word of its address), and its path in the archive."""

    kind: str
    path: str


class Parts:
    """An archive whose parts are found in any spelling that spreadsheet programs accept."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = {_plain(name): name for name in archive.namelist()}

    def has(self, path: str) -> bool:
        """Whether there is such a part."""
        return _plain(path) in self._names

    def open(self, path: str) -> IO[bytes]:
        """A part as a stream of bytes. Raises RefusedError where there is none."""
        name = self._names.get(_plain(path))
        if name is None:
            raise RefusedError(f"the workbook has no part {path}: it is damaged; save or copy it again")
        return self._archive.open(name)

    def xml(self, path: str) -> Element:
        """A small part's XML."""
        with self.open(path) as stream:
            root: Element = ElementTree.parse(stream, forbid_dtd=True).getroot()
            return root

    def relations(self, path: str) -> dict[str, Relation]:
        """What a part refers to, by identifier; of "" the whole package."""
        folder, name = posixpath.split(path)
        where = posixpath.join(folder, "_rels", f"{name}.rels")
        if not self.has(where):
            return {}
        return {
            of["Id"]: Relation(of.get("Type", "").rpartition("/")[2], _joined(folder, of["Target"]))
            for of in (element.attrib for element in self.xml(where))
            if "Id" in of and "Target" in of and of.get("TargetMode") != "External"
        }

    def related(self, path: str, kind: str) -> str | None:
        """The first part of that kind which a part refers to."""
        return next((relation.path for relation in self.relations(path).values() if relation.kind == kind), None)


def refuse_bombs(archive: zipfile.ZipFile, bounds: Bounds) -> None:
    """Raises RefusedError where the parts are larger than a list can be; the reader then holds them to their word."""
    size = sum(part.file_size for part in archive.infolist())
    if size > bounds.unpacked_bytes:
        raise RefusedError(
            f"the workbook unpacks to {size / (1 << 30):,.1f} GiB, more than {bounds.unpacked_bytes / (1 << 30):,.1f}; "
            "save the list alone as a new .xlsx, or as CSV"
        )


def _plain(path: str) -> str:
    return path.replace("\\", "/").lstrip("/").lower()


def _joined(folder: str, target: str) -> str:
    target = target.replace("\\", "/")
    return target if target.startswith("/") else posixpath.normpath(posixpath.join("/", folder, target))


def local(tag: str) -> str:
    """A tag's or attribute's name without its namespace: strict and transitional files differ in it alone."""
    return tag.rpartition("}")[2]


def attributes(element: Element) -> Mapping[str, str]:
    """An element's attributes without namespaces."""
    return {local(name): value for name, value in element.attrib.items()}


def elements(stream: Any) -> Iterator[tuple[str, Element]]:
    """(start or end, element) of a large part, safely; who reads it clears what is done with."""
    yield from ElementTree.iterparse(stream, events=("start", "end"), forbid_dtd=True)
