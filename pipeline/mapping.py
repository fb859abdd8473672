"""Mappings: where each vendor field's value comes from. Checked as a file, bound to a header, applied by column."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pipeline.clean import CLEANERS, REGIONS, CleanOptions, Take
from pipeline.hours import CallingHours
from pipeline.model import UserError
from pipeline.words import listed, nearest
from schemas.catalogue import CATALOGUE
from schemas.spec import Operation, Settle

MAPPING_VERSION = 1
NOBODY = "none"  # [policy] suppress = "none": said on purpose
VENDOR = "vendor"  # [policy] calling_hours = "vendor": the vendor's own check is trusted
KEY_DIGITS = 32  # of a row key, which stands in for a ClientId that is not mapped

_Length = Annotated[int, Field(ge=1, le=1_000_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FieldSource(_Strict):
    """Where one vendor field's value comes from: a column, a constant or a template."""

    column: str | None = None
    value: str | None = None
    template: str | None = None
    map: dict[str, str] | None = None
    default: str | None = None
    clean: str | None = None
    take: Take | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> FieldSource:
        if sum(origin is not None for origin in (self.column, self.value, self.template)) != 1:
            raise ValueError("give exactly one of column, value, template")
        if self.value is not None and (self.map is not None or self.default is not None):
            raise ValueError("map and default go with column or template, not with value")
        if self.take is not None and self.column is None:
            raise ValueError("take goes with column: it says which phone of a cell, or its extension")
        if self.clean is not None and self.clean not in CLEANERS:
            raise ValueError(f"clean = {self.clean!r} is not known{nearest(self.clean, CLEANERS)}")
        return self


class SourceTable(_Strict):
    """[source]: what the file looks like, where it can't be found by itself."""

    sheet: str | None = None
    header_row: Annotated[int, Field(ge=0)] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str | None = None
    short_rows: Literal["reject", "pad"] = "reject"
    null_tokens: list[str] = []
    clear_token: str | None = None
    date_order: Literal["mdy", "dmy", "ymd"] | None = None
    regions: list[Annotated[str, Field(pattern="^[A-Z]{2}$")]] = ["US"]

    @model_validator(mode="after")
    def _tells_clear_from_nothing(self) -> SourceTable:
        token = self.clear_token
        if token is not None and (not token or token != token.strip()):
            raise ValueError("clear_token can't be empty, or begin or end with a space")
        if token in self.null_tokens:
            raise ValueError(f'clear_token = "{token}" is one of null_tokens, which mean "not given"')
        return self

    @model_validator(mode="after")
    def _knows_its_regions(self) -> SourceTable:
        for region in self.regions:
            if region not in REGIONS:
                known = ", ".join(sorted(REGIONS))
                raise ValueError(f"regions: no phone of the US numbering plan is in {region!r}; these are: {known}")
        return self


class Policy(_Strict):
    """[policy]: what may happen in the world."""

    duplicates_in_file: Literal["first", "last", "error", "keep"] = "first"
    overlong: Literal["reject", "truncate"] = "reject"
    past_dates: Literal["reject", "allow"] = "reject"
    dialing: Literal["import-only", "timezone-checked", "immediate"] = "import-only"
    client_id: Literal["key", "none"] = "key"
    suppress: str | list[str] | None = None  # files, or globs of files
    suppress_max_age_days: Annotated[int, Field(ge=1)] | None = None
    calling_hours: str | None = None  # "9:00-20:00", or VENDOR; None: as the law has them
    allow_dialing_dups: bool = False
    dial_non_callables: bool = False
    resend_unfound: bool | None = None

    @field_validator("calling_hours")
    @classmethod
    def _are_hours(cls, text: str | None) -> str | None:
        if text not in (None, VENDOR):
            CallingHours.parse(text)
        return text

    @model_validator(mode="after")
    def _has_lists_that_age(self) -> Policy:
        if self.suppress == [] or "" in self.suppress_files:
            raise ValueError('suppress names no file; say suppress = "none" on purpose')
        if self.suppress_max_age_days is not None and not self.suppress_files:
            raise ValueError("suppress_max_age_days is the age of suppress files, and none is named")
        return self

    @property
    def suppress_files(self) -> tuple[str, ...]:
        """The suppress files, or globs of them; none where nobody is named."""
        named = [self.suppress] if isinstance(self.suppress, str) else self.suppress or []
        return () if named == [NOBODY] else tuple(named)


class AfterStep(_Strict):
    """[[after]]: one call of constants, made once, when the load has ended well enough."""

    operation: str
    when: Literal["accepted", "always", "clean"] = "accepted"
    fields: dict[str, str] = {}


class MappingFile(_Strict):
    """A mapping as it is written."""

    operation: str
    unmapped: Literal["error", "ignore", "custom"] = "error"
    source: SourceTable = SourceTable()
    fields: dict[str, FieldSource]
    extra_fields: dict[str, _Length] = {}
    lengths: dict[str, _Length] = {}
    policy: Policy = Policy()
    after: list[AfterStep] = []

    def clean_options(self, now: datetime | None) -> CleanOptions:
        """What the mapping declares about its values. Callbacks before `now` are refused; None: they may be past."""
        clock = None if self.policy.past_dates == "allow" else now
        return CleanOptions(self.source.date_order, tuple(self.source.regions), clock)

    @property
    def steps(self) -> list[MappingFile]:
        """The steps after the load, each as a mapping of its own: constants under the policy that protects people.

        What the vendor looks at where it dials leads, it does not look at elsewhere.
        """
        hours = {"calling_hours": None} if self.policy.calling_hours == VENDOR else {}
        policy = self.policy.model_copy(
            update={"overlong": "reject", "allow_dialing_dups": False, "dial_non_callables": False} | hours
        )
        source = SourceTable(date_order=self.source.date_order, regions=self.source.regions)
        constants = [{name: FieldSource(value=value) for name, value in step.fields.items()} for step in self.after]
        return [
            MappingFile(operation=step.operation, fields=fields, source=source, policy=policy)
            for step, fields in zip(self.after, constants, strict=True)
        ]

    @model_validator(mode="before")
    @classmethod
    def _plain_columns(cls, data: Any) -> Any:
        """`Name = "Header"` is short for `Name = { column = "Header" }`."""
        if isinstance(data, dict) and isinstance(data.get("fields"), dict):
            fields = {k: {"column": v} if isinstance(v, str) else v for k, v in data["fields"].items()}
            return {**data, "fields": fields}
        return data


@dataclass(frozen=True, slots=True)
class Assignment:
    """A vendor field, by the name that is sent, with its origin and cleaner."""

    field: str
    origin: FieldSource
    cleaner: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A mapping bound to one header: ready to be applied chunk by chunk."""

    operation: Operation
    assignments: tuple[Assignment, ...]
    lengths: Mapping[str, int]
    policy: Policy
    notes: tuple[str, ...] = ()
    clear_token: str | None = None
    null_tokens: tuple[str, ...] = ()  # a cell that, trimmed, is one of them says nothing

    @property
    def columns(self) -> tuple[str, ...]:
        """The frame's columns after `apply`, as they are sent."""
        return tuple(a.field for a in self.assignments)

    @property
    def columns_used(self) -> frozenset[str]:
        """The source's columns that any field comes from."""
        return frozenset(column for a in self.assignments for column in columns_of(a.origin))

    @property
    def columns_by_field(self) -> dict[str, str]:
        """The source's column that a field comes from, where it is one column."""
        return {a.field: a.origin.column for a in self.assignments if a.origin.column is not None}


def parse(text: str, name: str, operation: str | None = None) -> MappingFile:
    """The mapping in `text`, checked; `operation` overrides the one that it names.

    Raises UserError with the key that is wrong and the nearest valid one.
    """
    try:
        mapping = MappingFile.model_validate(_data(text, name, operation))
    except ValidationError as error:
        raise UserError(f"mapping {name}: {_told_of(error.errors()[0])}") from None
    for check in _checks(mapping, name):
        check()
    return mapping


def findings(text: str, name: str, operation: str | None = None) -> list[str]:
    """All that is wrong with the mapping in `text`, whatever file it is for: what `parse` would raise, and the rest."""
    try:
        mapping = MappingFile.model_validate(_data(text, name, operation))
        operation_of(mapping, name)
    except ValidationError as error:
        return [f"mapping {name}: {_told_of(one)}" for one in error.errors()]
    except UserError as error:
        return [str(error)]
    return _raised(*_checks(mapping, name), partial(_check_required, mapping, name))


def misfits(mapping: MappingFile, name: str, headers: Sequence[str], offered: Collection[str] = ()) -> list[str]:
    """Why the mapping can't be bound to this header: what `bind` would raise, and the rest; [] where it can."""
    missing = _missing_columns(columns_named(mapping), headers, name)
    return missing or _raised(partial(bind, mapping, name, headers, offered))


def _raised(*checks: Callable[[], object]) -> list[str]:
    told = []
    for check in checks:
        try:
            check()
        except UserError as error:
            told.append(str(error))
    return told


def _data(text: str, name: str, operation: str | None) -> dict[str, Any]:
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))  # some editors put a mark in front
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"mapping {name}: not valid TOML: {error}") from None
    return data if operation is None else data | {"operation": operation}


def step_name(name: str, number: int) -> str:
    """What messages call a step after the load of the mapping `name`."""
    return f"{name}: [[after]] {number}"


def operation_of(mapping: MappingFile, name: str) -> Operation:
    """The operation that the mapping names."""
    return operation_named(mapping.operation, f"mapping {name}: operation =")


def operation_named(operation: str, where: str) -> Operation:
    """The operation of that name. Raises UserError, which begins with `where`, and names the nearest one."""
    if operation not in CATALOGUE:
        near = nearest(operation, CATALOGUE)
        raise UserError(f"{where} {operation!r} is not known{near}; see: leads operations")
    return CATALOGUE[operation]


def columns_named(mapping: MappingFile) -> frozenset[str]:
    """The columns of a source that the mapping names, whether the file has them or not."""
    return frozenset(column for origin in mapping.fields.values() for column in columns_of(origin))


def bind(mapping: MappingFile, name: str, headers: Sequence[str], offered: Collection[str] = ()) -> Plan:
    """The mapping bound to a source's header. Raises UserError where a column is missing or left unmapped.

    The `offered` ones among the headers may be left without a word.
    """
    operation = operation_of(mapping, name)
    fields = {operation.wire_name(field): origin for field, origin in mapping.fields.items()}
    used = columns_named(mapping)
    if missing := _missing_columns(used, headers, name):
        raise UserError(missing[0])
    token = mapping.source.clear_token
    left = [h for h in headers if h not in used and h not in offered]
    if left and mapping.unmapped == "error":
        raise UserError(_unmapped_text(operation, left, name))
    if mapping.unmapped == "custom":
        fields |= _custom_fields(operation, left, fields, name)
    notes = (f"columns not sent: {listed(left)}",) if left and mapping.unmapped == "ignore" else ()
    fields = _with_identity(operation, fields, name)
    if token is not None:
        fields = {field: _letting_through(origin, token) for field, origin in fields.items()}
    assignments = _assignments(operation, fields, name)
    nothing = tuple(mapping.source.null_tokens)
    return Plan(operation, assignments, _limits(operation, mapping), mapping.policy, notes, token, nothing)


def _with_identity(operation: Operation, fields: dict[str, FieldSource], name: str) -> dict[str, FieldSource]:
    """The fields with the one that says by which of them a lead is looked up, where the mapping leaves that open.

    Raises UserError where it names one that is not mapped.
    """
    identity = operation.identity
    if identity is None:
        return fields
    if identity.by not in fields:
        mapped = (by for by, field in identity.fields.items() if field in fields)
        return {**fields, identity.by: FieldSource(value=next(mapped, [*identity.fields][-1]))}
    own = identity.fields.get(fields[identity.by].value or "")
    if own is not None and own not in fields:
        raise UserError(f"mapping {name}: [fields] {identity.by} looks leads up by {own}: add that under [fields]")
    return fields


def _letting_through(origin: FieldSource, token: str) -> FieldSource:
    """The origin with a map, if it has one, that leaves the clear token as it is, unless it says otherwise."""
    return origin if origin.map is None else origin.model_copy(update={"map": {token: token, **origin.map}})


_TEMPLATE_PART = re.compile(r"(?P<literal>[^{}]+|\{\{|\}\})|\{(?P<column>[^{}]*)\}|[{}]")


def template_parts(template: str) -> list[tuple[str, str | None]]:
    """The template as (literal, None) and ("", column); {{ and }} stand for braces.

    All that stands between two braces is a header: no format, attribute or index is read into it.
    """
    parts: list[tuple[str, str | None]] = []
    for found in _TEMPLATE_PART.finditer(template):
        literal, column = found["literal"], found["column"]
        if literal is None and column is None:
            raise ValueError("a brace stands alone; write {{ or }} for a brace that is sent")
        parts.append(({"{{": "{", "}}": "}"}.get(literal, literal or ""), column))
    return parts


def columns_of(origin: FieldSource) -> list[str]:
    """The columns of the source that a value comes from."""
    if origin.column is not None:
        return [origin.column]
    if origin.template is not None:
        return [column for _, column in template_parts(origin.template) if column is not None]
    return []


def _assignments(operation: Operation, fields: Mapping[str, FieldSource], mapping: str) -> tuple[Assignment, ...]:
    """In the declaration's order, then the rest by name; fields that the declaration requires are always there."""
    _refuse_lacking(operation, fields, mapping)
    documented = [name for name in operation.by_name if name in fields]
    others = sorted(set(fields) - set(documented))
    return tuple(_assignment(operation, name, fields[name]) for name in (*documented, *others))


def _refuse_lacking(operation: Operation, fields: Mapping[str, FieldSource], mapping: str) -> None:
    """Raises UserError where a required field is not mapped, or is a constant that says nothing."""
    required = [f.name for f in operation.fields if f.required]
    if absent := [field for field in required if field not in fields]:
        raise UserError(f"mapping {mapping}: {operation.name} needs {', '.join(absent)}: add it under [fields]")
    if blank := [field for field in required if (value := fields[field].value) is not None and not value.strip()]:
        raise UserError(f"mapping {mapping}: {', '.join(blank)}: {operation.name} needs it; fill in the empty value")


def _assignment(operation: Operation, name: str, origin: FieldSource) -> Assignment:
    known = operation.by_name.get(name)
    default = known.cleaner if known else ("us_phone" if name.endswith("Phone") else "text")
    return Assignment(name, origin, origin.clean or default)


def _limits(operation: Operation, mapping: MappingFile) -> dict[str, int]:
    named = {**mapping.extra_fields, **mapping.lengths}
    return {operation.wire_name(name): limit for name, limit in named.items()}


def _checks(mapping: MappingFile, name: str) -> Iterator[Callable[[], None]]:
    """What a mapping must pass, whatever file it is for."""
    operation = operation_of(mapping, name)
    yield partial(_check_hours, operation, mapping, name)
    yield partial(_check_clearing, operation, mapping, name)
    for field in mapping.extra_fields:
        yield partial(_check_extra, operation, field, name)
    for field, origin in mapping.fields.items():
        yield partial(_check_field, operation, mapping, field, name)
        yield partial(_check_template, origin, field, name)
        yield partial(_check_cleaner, operation, field, origin, name)
    yield partial(_check_once, operation, mapping, name)
    for field in mapping.lengths:
        yield partial(_check_field, operation, mapping, field, name, table="lengths")
    yield partial(_check_key_fits, operation, mapping, name)
    for number, step in enumerate(mapping.steps, 1):
        yield partial(_check_step, mapping, step, step_name(name, number))


def _check_hours(operation: Operation, mapping: MappingFile, name: str) -> None:
    if mapping.policy.calling_hours == VENDOR and not heeds_hours(operation, mapping.policy):
        raise UserError(
            f'mapping {name}: calling_hours = "vendor" goes only with dialing = "timezone-checked", where the vendor '
            "looks at the customer's hour; leave it out"
        )


def _check_clearing(operation: Operation, mapping: MappingFile, name: str) -> None:
    if mapping.source.clear_token is not None and not operation.clears:
        raise UserError(f"mapping {name}: [source] clear_token: {operation.name} clears no fields; leave it out")


def _check_once(operation: Operation, mapping: MappingFile, name: str) -> None:
    """No field is named in two spellings."""
    seen: dict[str, str] = {}
    for field in mapping.fields:
        wire = operation.wire_name(field)
        if wire in seen:
            raise UserError(f"mapping {name}: [fields] {field!r} and {seen[wire]!r} name one field, {wire}; keep one")
        seen[wire] = field


def _check_required(mapping: MappingFile, name: str) -> None:
    operation = operation_of(mapping, name)
    fields = {operation.wire_name(field): origin for field, origin in mapping.fields.items()}
    _refuse_lacking(operation, _with_identity(operation, fields, name), name)


def heeds_hours(operation: Operation, policy: Policy) -> bool:
    """Whether the vendor itself looks at the customer's hour before it calls."""
    return bool(operation.dialing) and operation.dialing[policy.dialing].heeds_hours


def _check_step(mapping: MappingFile, step: MappingFile, name: str) -> None:
    """A step goes to the vendor that the rows go to: under the same credentials, account and lock."""
    for check in _checks(step, name):
        check()
    vendor, own = operation_of(mapping, name).vendor, operation_of(step, name).vendor
    if own is not vendor:
        raise UserError(f"mapping {name}: {step.operation} is {own.name}'s, and the rows go to {vendor.name}")
    bind(step, name, ())


def _check_field(operation: Operation, mapping: MappingFile, field: str, name: str, table: str = "fields") -> None:
    known = operation.by_name.get(field)
    if known and known.from_policy:
        raise UserError(
            f"mapping {name}: [{table}] {field} can't be set here: a cell must never cause a call; "
            'use [policy] (dialing = "import-only", "timezone-checked" or "immediate")'
        )
    if known or (operation.custom and field in mapping.extra_fields):
        return
    if operation.custom and field.startswith(operation.custom.prefix):
        _check_custom(operation, field, name)
        return
    hint = ""
    if operation.custom:
        hint = f"; custom fields start with {operation.custom.prefix}, other real lead columns go under [extra_fields]"
    near = nearest(field, [n for n, f in operation.by_name.items() if not f.from_policy])
    raise UserError(f"mapping {name}: [{table}] {field!r} is not a field of {operation.name}{near}{hint}")


def _check_extra(operation: Operation, field: str, name: str) -> None:
    """[extra_fields] names lead columns: nothing that policy, operation or account sets, no name that PHP changes."""
    custom = operation.custom
    if custom is None:
        raise UserError(f"mapping {name}: [extra_fields]: {operation.name} takes no fields beyond its own")
    ours = [n for n, f in operation.by_name.items() if f.from_policy] + list(operation.fixed)
    ours += [c.parameter for group in operation.vendor.credentials for c in group] + [*operation.vendor.reserved]
    if field.casefold() in {word.casefold() for word in ours}:
        raise UserError(f"mapping {name}: [extra_fields] {field} is no lead column and can't be set from a file")
    documented = next((n for n in operation.by_name if n.casefold() == field.casefold() and n != field), None)
    if documented is not None:
        raise UserError(f"mapping {name}: [extra_fields] {field}: write it as the vendor does, {documented}")
    if not field.startswith(custom.prefix) and " " in field:
        raise UserError(f"mapping {name}: [extra_fields] {field!r}: the vendor's server changes spaces in names")
    _check_custom(operation, field, name)


def _check_cleaner(operation: Operation, field: str, origin: FieldSource, name: str) -> None:
    """The phone that is called keeps its cleaner: suppression, regions and repeats go by its ten digits."""
    if field == operation.phone and origin.clean not in (None, operation.by_name[field].cleaner):
        raise UserError(f"mapping {name}: [fields] {field}: clean can't be set for the phone that may be called")


def _check_key_fits(operation: Operation, mapping: MappingFile, name: str) -> None:
    """Where rows without ClientId get their key as one, the account must take it whole: it finds the lead again."""
    limit = mapping.lengths.get(operation.client_id or "")
    if limit is not None and limit < KEY_DIGITS and sets_client_id(operation, mapping.policy):
        raise UserError(
            f"mapping {name}: [lengths] {operation.client_id} = {limit}: the key that is sent where a row has none "
            f'has {KEY_DIGITS} characters; set [policy] client_id = "none" to go without it'
        )


def sets_client_id(operation: Operation, policy: Policy) -> bool:
    """Whether a row without ClientId is sent with its key as one: so that a search, or a person, can find it."""
    found_by = operation.settle is Settle.SEARCH or operation.carries_key
    return operation.client_id is not None and found_by and policy.client_id == "key"


def _check_custom(operation: Operation, field: str, name: str) -> None:
    custom = operation.custom
    assert custom is not None
    bare = field.removeprefix(custom.prefix)
    bad = [c for c in custom.forbidden if c in field]
    if bad or not bare or bare != bare.strip() or re.search(r"[\x00-\x1f]", field):
        raise UserError(
            f"mapping {name}: {field!r} can't be addressed: the vendor's server changes "
            f"{' '.join(custom.forbidden)} in names, and a name can't be empty, or begin or end with a space"
        )


def _check_template(origin: FieldSource, field: str, name: str) -> None:
    try:
        columns = columns_of(origin)
    except ValueError as error:
        raise UserError(f"mapping {name}: [fields] {field}: template {origin.template!r}: {error}") from None
    if origin.template is not None and (not columns or "" in columns):
        raise UserError(f"mapping {name}: [fields] {field}: a template names columns in braces, such as {{Company}}")


def _custom_fields(
    operation: Operation, headers: Sequence[str], taken: Mapping[str, FieldSource], name: str
) -> dict[str, FieldSource]:
    """The columns that nobody mapped as custom fields, by the names that are sent."""
    if operation.custom is None:
        raise UserError(f'mapping {name}: unmapped = "custom": {operation.name} has no custom fields')
    fields: dict[str, FieldSource] = {}
    names = {field.casefold() for field in taken}  # a database tells no columns apart by case
    for header in headers:
        field = f"{operation.custom.prefix}{header}"
        _check_custom(operation, field, name)
        wire = operation.wire_name(field)
        if wire.casefold() in names:
            raise UserError(
                f"mapping {name}: column {header!r} would be sent as {wire}, which is taken; map it yourself"
            )
        names.add(wire.casefold())
        fields[wire] = FieldSource(column=header)
    return fields


def _missing_columns(used: Iterable[str], headers: Sequence[str], name: str) -> list[str]:
    has = f"it has: {listed(headers)}"
    return [
        f"mapping {name}: the file has no column {column!r}{nearest(column, headers)}; {has}"
        for column in sorted(set(used).difference(headers))
    ]


def _unmapped_text(operation: Operation, left: Sequence[str], name: str) -> str:
    fields = [n for n, f in operation.by_name.items() if not f.from_policy]
    return (
        f"mapping {name}: columns of the file that it doesn't mention: {listed([*map(repr, left)])}"
        f'{nearest(left[0], fields)}; map them, or set unmapped = "ignore" (or "custom" to send them as adv_ fields)'
    )


def _told_of(first: ErrorDetails) -> str:
    """What is wrong, as `key: what`, with the nearest valid key where one is unknown."""
    where = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return f"unknown key {where!r}{nearest(key, _keys_beside(first['loc']))}"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}"


def _place(location: tuple[int | str, ...]) -> str:
    """Where in the mapping: steps are counted from 1."""
    parts = [str(part) for part in location]
    if len(location) > 1 and location[0] == "after" and isinstance(location[1], int):
        return ": ".join(part for part in (f"[[after]] {location[1] + 1}", ".".join(parts[2:])) if part)
    return ".".join(parts) or "the file"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "source": SourceTable,
        "policy": Policy,
        "fields": FieldSource,
        "after": AfterStep,
    }
    model = models.get(str(location[0]), MappingFile) if len(location) > 1 else MappingFile
    return list(model.model_fields)
