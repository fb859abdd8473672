"""Which column of a list goes to which field of an operation, how sure that is, and why. Pure: no file is read here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipeline.likeness import NOT_LIKE, Likeness, likeness, words
from pipeline.shapes import Column
from schemas.meanings import MEANINGS, Meaning, Shape
from schemas.spec import Field, Operation, Together

# A column is taken for a field where it is at least so sure; between the two, the choice is left to the user.
CONFIDENT = 0.75
POSSIBLE = 0.5

_BEFORE = 0.98  # the same header went to this field before
_BY_VALUES = {Shape.PHONE: 0.6, Shape.STATE: 0.55, Shape.ZIP: 0.55}  # where the header says nothing
_PROOF = 3  # values: fewer prove nothing by themselves
_NOT_A_NAME = frozenset({"column", "col", "field", "unnamed"})


class Used(NamedTuple):
    """The field that a header went to before, by which mapping, and its length where it is an extra field."""

    field: str
    mapping: str
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A column that may be a field's, how sure that is from 0 to 1, and why."""

    field: str
    column: str
    confidence: float
    why: str
    filled: float = 1.0  # the share of its cells that say something
    own_name: bool = False  # the header is the vendor's own name of the field
    before: bool = False  # the header went there before
    in_place_of: frozenset[str] = frozenset()  # fields: it is taken only where none of them has a column

    @property
    def rank(self) -> tuple[bool, float]:
        """What goes first, where several columns may be a field's: of columns alike, the one that is less blank."""
        return self.before, self.confidence - 0.2 * (1 - self.filled)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is suggested for a list.

    `taken` are in the operation's order. `open` has for fields without a column those that may be theirs. `named` are
    columns for fields that take names of things in the account, or go together with others. `missing` are required
    fields of which no column may be.
    """

    operation: Operation
    columns: tuple[Column, ...]
    taken: tuple[Candidate, ...]
    constants: Mapping[str, str] = field(default_factory=dict)
    open: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    named: tuple[Candidate, ...] = ()
    missing: tuple[Field, ...] = ()
    extra_fields: Mapping[str, int] = field(default_factory=dict)

    @property
    def by_header(self) -> dict[str, Column]:
        """The columns by their headers."""
        return {column.header: column for column in self.columns}

    @property
    def left(self) -> tuple[Column, ...]:
        """Columns that no field takes, or may take."""
        told = {candidate.column for candidate in (*self.taken, *self.named, *self._possible())}
        return tuple(column for column in self.columns if column.header not in told)

    def _possible(self) -> Iterator[Candidate]:
        for candidates in self.open.values():
            yield from candidates

    def column_of(self, name: str) -> Column | None:
        """The column that goes to the field `name`."""
        header = next((candidate.column for candidate in self.taken if candidate.field == name), None)
        return None if header is None else self.by_header[header]

    @property
    def foreign_regions(self) -> tuple[str, ...]:
        """The regions to which most phones of the list belong, where that is not the US."""
        phones = self.column_of(self._phone_field)
        regions = phones.regions if phones else {}
        if not regions or 2 * regions.get("US", 0) >= sum(regions.values()):
            return ()
        return tuple(region for region in regions if region != "US")

    @property
    def _phone_field(self) -> str:
        identifier = self.operation.identifier
        return self.operation.phone or (identifier[1] if identifier else "")

    @property
    def dates(self) -> tuple[Column, ...]:
        """The columns that go to fields of dates."""
        names = [name for name, known in self.operation.by_name.items() if known.cleaner == "callback_date"]
        return tuple(column for name in names if (column := self.column_of(name)))

    @property
    def undecided(self) -> tuple[str, ...]:
        """What is left to the user: fields, and keys of [source]."""
        dated = all(column.date_order is not None for column in self.dates)
        keys = ([] if dated else ["date_order"]) + (["regions"] if self.foreign_regions else [])
        return (*self.open, *keys)

    @property
    def is_decided(self) -> bool:
        """Whether nothing is left to the user but the names of things in the account."""
        return not self.undecided and all(known.is_name for known in self.missing)


def suggest(
    columns: Sequence[Column], operation: Operation, used: Mapping[str, Used], given: Mapping[str, str]
) -> Suggestion:
    """The suggestion for a list's columns.

    `used` says by header in lower case what earlier mappings did, `given` which fields are constants.
    """
    found = (one for one in _candidates(columns, operation, used) if one.field not in given)
    looked_up, pairs = _identified(operation, sorted(found, key=lambda one: one.rank, reverse=True))
    constants = {**given, **looked_up}
    taken = _assigned(operation, pairs)
    taken, alone = _together(operation, taken)
    filled = {candidate.field for candidate in taken} | set(constants)
    free = [candidate for candidate in pairs if not _meets(candidate, taken)]
    names = [candidate for candidate in free if not _may_take(operation, candidate)]
    left_open = _open(operation, free)
    return Suggestion(
        operation=operation,
        columns=tuple(columns),
        taken=tuple(sorted(taken, key=lambda candidate: _place(operation, candidate.field))),
        constants=constants,
        open=left_open,
        named=(*alone, *_first_by_column(names)),
        missing=tuple(
            one for one in operation.fields if _needed(operation, one) and one.name not in {*filled, *left_open}
        ),
        extra_fields={one.field: one.length for one in used.values() if one.length and one.field in filled},
    )


def _place(operation: Operation, name: str) -> tuple[int, str]:
    names = list(operation.by_name)
    return (names.index(name) if name in names else len(names), name)


def _needed(operation: Operation, known: Field) -> bool:
    """Whether the mapping must name it; by which field a lead is looked up may be left open."""
    found_by_itself = operation.identity is not None and operation.identity.by == known.name
    return known.required and not found_by_itself


# --- How sure each pair of a column and a field is ---


def _candidates(columns: Sequence[Column], operation: Operation, used: Mapping[str, Used]) -> Iterator[Candidate]:
    for column in columns:
        before = used.get(column.header.casefold())
        likes = _likes(column.header)
        if before is not None and not _is_unnamed(column.header) and _can_take(operation, before):
            yield _as_before(column, before, likes)
            continue
        others = max(like.score for meaning, like in likes.items() if not meaning.fields)
        for meaning, like in likes.items():
            for name in _targets(operation, meaning):
                yield from _judged(column, meaning, name, like if like.score >= others else NOT_LIKE, others)


def _as_before(column: Column, before: Used, likes: Mapping[Meaning, Likeness]) -> Candidate:
    """Where the header went before: sure, unless the values are none of that field's this time."""
    meanings = [meaning for meaning in MEANINGS if before.field in meaning.fields]
    share = column.share(meanings[0].shape if meanings else Shape.TEXT)
    fits = share.agreement if share.total else 1.0
    in_place_of = next((meaning.in_place_of for meaning in meanings if likes[meaning].same), frozenset[str]())
    why = f"the header went there in {before.mapping}" + ("" if fits == 1 else f"; {share.right} of {share.total} fit")
    confidence = _BEFORE * (0.6 + 0.4 * fits)
    return Candidate(before.field, column.header, confidence, why, column.filled, before=True, in_place_of=in_place_of)


def _can_take(operation: Operation, before: Used) -> bool:
    known = operation.by_name.get(before.field)
    if known is not None:
        return not known.from_policy
    custom = operation.custom
    return custom is not None and (before.field.startswith(custom.prefix) or before.length is not None)


def _likes(header: str) -> dict[Meaning, Likeness]:
    """How like the header is to each meaning; where it is a spelling of one, it is no slip of another."""
    likes = {meaning: likeness(header, meaning) for meaning in MEANINGS}
    same = any(like.same for like in likes.values())
    return {meaning: NOT_LIKE if same and not like.same else like for meaning, like in likes.items()}


def _targets(operation: Operation, meaning: Meaning) -> list[str]:
    """The fields of the operation that take this, and by what it can look a lead up."""
    known = {name for name, one in operation.by_name.items() if not one.from_policy}
    return [name for name in meaning.fields if name in known | set(_looked_up_by(operation))]


def _looked_up_by(operation: Operation) -> tuple[str, ...]:
    return operation.by_name[operation.identifier[0]].choices if operation.identifier else ()


def _judged(column: Column, meaning: Meaning, name: str, like: Likeness, others: float) -> Iterator[Candidate]:
    """The candidate, unless the header says more clearly that the column is something else."""
    own = words(column.header) == words(name)
    if own:
        like = Likeness(same=True, score=1.0)
    if not like.score and (others >= POSSIBLE or not _may_be_told_by_values(column.header, meaning)):
        return
    confidence = _confidence(like, meaning.shape, column)
    if confidence >= POSSIBLE:
        why = _reason(like, meaning.shape, column)
        yield Candidate(
            name, column.header, confidence, why, column.filled, own_name=own, in_place_of=meaning.in_place_of
        )


def _may_be_told_by_values(header: str, meaning: Meaning) -> bool:
    """Phones always, the rest where the header is only a number."""
    return _is_unnamed(header) or meaning.shape is Shape.PHONE


def _is_unnamed(header: str) -> bool:
    """Whether it says no more than the column's position: the next list may have something else there."""
    return all(word.isdigit() or word in _NOT_A_NAME for word in words(header))


def _confidence(like: Likeness, shape: Shape, column: Column) -> float:
    """From what the header says and what the values say, 0 to 1.

    Values that agree don't make sure what the header leaves open: they may be somebody else's.
    """
    share = column.share(shape)
    if not like.score:
        return _BY_VALUES.get(shape, 0.0) * share.right / share.total if share.total >= _PROOF else 0.0
    if shape is Shape.TEXT or not share.total:
        return like.score
    if like.same:
        return like.score * (0.6 + 0.4 * share.agreement)
    sure = like.score * (0.3 + 0.7 * share.agreement)
    return sure + 0.25 * (1 - sure) * share.right / share.total if share.agreement == 1 else sure


def _reason(like: Likeness, shape: Shape, column: Column) -> str:
    share = column.share(shape)
    header = "the header" if like.same else "like the header" if like.score else "the values alone"
    if not share.total:
        return f"{header}; the column is blank"
    return header if shape is Shape.TEXT else f"{header}; {share.right} of {share.total} values are {shape}"


# --- One column for each field, one field for each column ---


def _meets(candidate: Candidate, taken: Iterable[Candidate]) -> bool:
    return any(one.field == candidate.field or one.column == candidate.column for one in taken)


def _may_take(operation: Operation, candidate: Candidate) -> bool:
    """Whether likeness will do: what names a thing in the account must be said, or be headed as the vendor's field."""
    known = operation.by_name.get(candidate.field)
    if known is None or not known.is_name or candidate.field == operation.client_id or candidate.before:
        return True
    return candidate.own_name and not known.required


def _assigned(operation: Operation, pairs: Sequence[Candidate]) -> list[Candidate]:
    """The surest first; what stands in place of other fields comes last, if they have no column."""
    taken: list[Candidate] = []
    sure = [one for one in pairs if one.confidence >= CONFIDENT and _may_take(operation, one)]
    for candidate in sorted(sure, key=lambda one: bool(one.in_place_of)):
        if not _meets(candidate, taken) and not candidate.in_place_of & {one.field for one in taken}:
            taken.append(candidate)
    return taken


def _identified(operation: Operation, pairs: list[Candidate]) -> tuple[dict[str, str], list[Candidate]]:
    """By what a lead is looked up: the constant that says it, and the candidates with the column that has the value."""
    if operation.identifier is None:
        return {}, pairs
    by, value = operation.identifier
    rest = [candidate for candidate in pairs if candidate.field in operation.by_name]
    for choice in _looked_up_by(operation):
        found = next((c for c in pairs if c.field == choice and c.confidence >= CONFIDENT), None)
        if found is not None:
            kept = [candidate for candidate in rest if candidate.column != found.column]
            return {by: choice}, [replace(found, field=value, own_name=True), *kept]
    return {}, rest


def _together(operation: Operation, taken: list[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """(what can be sent, what can't since a field that goes with it has no column)."""
    given = {candidate.field for candidate in taken}
    groups = [set(rule.fields) for rule in operation.rules if isinstance(rule, Together)]
    alone = set().union(*(group for group in groups if not group <= given))
    return [c for c in taken if c.field not in alone], [c for c in taken if c.field in alone]


def _open(operation: Operation, free: Sequence[Candidate]) -> dict[str, tuple[Candidate, ...]]:
    """What may be a field's and isn't sure."""
    found: dict[str, tuple[Candidate, ...]] = {}
    for candidate in free:
        if _may_take(operation, candidate) and candidate.confidence < CONFIDENT and not candidate.in_place_of:
            found[candidate.field] = (*found.get(candidate.field, ()), candidate)
    return found


def _first_by_column(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.column, candidate)
    return tuple(first.values())
