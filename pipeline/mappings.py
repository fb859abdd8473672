"""Finding a mapping: a path, else ./mappings/NAME.toml, else one that is shipped."""

from __future__ import annotations

from pathlib import Path

import mappings as shipped
from pipeline import mapping
from pipeline.mapping import MappingFile
from pipeline.model import UserError
from pipeline.words import nearest


def read(name: str, operation: str | None) -> tuple[MappingFile, Path, str]:
    """(mapping, path, text) for a path or a name. Raises UserError naming the mappings that there are."""
    path, text = find(name)
    return mapping.parse(text, path.name, operation), path, text


def find(name: str) -> tuple[Path, str]:
    """(path, text) for a path or a name, whatever the text says. Raises UserError as `read` does."""
    path = _find(name)
    try:
        return path, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"mapping {path}: can't be read: {reason}") from None


def names() -> list[str]:
    """The mappings that go by a name."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.toml")})


def _folders() -> tuple[Path, ...]:
    return (Path("mappings"), *(Path(folder) for folder in shipped.__path__))


def _find(name: str) -> Path:
    given = Path(name)
    if (len(name) < 200 and given.is_file()) or given.suffix == ".toml" or len(given.parts) > 1:
        return given
    for folder in _folders():
        if (path := folder / f"{name}.toml").exists():
            return path
    known = names()
    raise UserError(f"no mapping {name!r}{nearest(name, known)}; give a path, or one of: {', '.join(known)}")
