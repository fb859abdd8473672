"""Payloads by column: row keys, claims, and form bodies. Credentials are not in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from urllib.parse import quote_plus

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.distinct import each_once
from pipeline.mapped import cells
from pipeline.mapping import KEY_DIGITS, Plan, Policy, sets_client_id
from schemas.spec import CLEARED, Operation

KEY_VERSION = 1


@dataclass(frozen=True, slots=True)
class Target:
    """Where payloads go: the endpoint's URL and the account; both are part of every row key."""

    url: str
    account: str


@dataclass(frozen=True, slots=True)
class Payloads:
    """Payloads of a chunk as columns, one element per row of the frame they were built from.

    `phone`, `identifier` and `client_id` are "" where a row has none.
    """

    row_key: pa.StringArray  # null where there are no keys
    phone: pa.StringArray
    identifier: pa.StringArray
    client_id: pa.StringArray
    body: pa.StringArray
    sha256: pa.StringArray


class Repeated(NamedTuple):
    """Of rows in a file where duplicates are kept: their `base_keys`, and which of its key each is, from 1."""

    base: pa.StringArray
    occurrence: npt.NDArray[np.int64]


def build(plan: Plan, frame: pd.DataFrame, target: Target | None, repeated: Repeated | None = None) -> Payloads:
    """Keys, claims and form bodies of the valid rows in `frame` (text, names as sent).

    Where no target is known there are no keys, and bodies lack the ClientId that would be made of them.
    """
    operation = plan.operation
    columns = {str(name): cells(frame, str(name)) for name in frame.columns}
    known = _known(plan, columns)
    phone, identifier = phones(operation, known, len(frame)), identifiers(operation, known, len(frame))
    keys = pa.nulls(len(frame), pa.string())
    if target is not None:
        keys = _keys(operation, known, target, repeated, len(frame))
        columns = _with_client_id(operation, plan.policy, columns, keys)
    body = _emptied(plan, form(_sent(operation, plan.policy, columns), len(frame)))
    client_id = _known(plan, columns).get(operation.client_id or "", _blank(len(frame)))
    return Payloads(keys, phone, identifier, client_id, body, _hex_digests(body))


def _known(plan: Plan, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """What keys and claims are made of: a field that is cleared has no value."""
    if plan.clear_token is None:
        return columns
    return {name: pc.if_else(pc.equal(column, CLEARED), "", column) for name, column in columns.items()}


def _emptied(plan: Plan, bodies: pa.StringArray) -> pa.StringArray:
    """The bodies with nothing in the place of CLEARED, which no other value can begin with."""
    return bodies if plan.clear_token is None else pc.replace_substring(bodies, "=" + quote_plus(CLEARED), "=")


def base_keys(plan: Plan, frame: pd.DataFrame, target: Target) -> pa.StringArray:
    """The row keys of `frame` before the occurrences of each are counted."""
    columns = {str(name): cells(frame, str(name)) for name in frame.columns}
    return row_keys(plan.operation, _known(plan, columns), target, None, len(frame))


def _keys(
    operation: Operation, columns: dict[str, pa.Array], target: Target, repeated: Repeated | None, rows: int
) -> pa.StringArray:
    """The row keys; of most rows of a file with duplicates they are known already."""
    if repeated is None:
        return row_keys(operation, columns, target, None, rows)
    later = repeated.occurrence > 1
    if not later.any():
        return repeated.base
    mask = pa.array(later)
    some = {name: column.filter(mask) for name, column in columns.items()}
    counted = row_keys(operation, some, target, repeated.occurrence[later], int(later.sum()))
    return pc.replace_with_mask(repeated.base, mask, counted)


def row_keys(
    operation: Operation,
    columns: Mapping[str, pa.Array],
    target: Target,
    occurrence: npt.NDArray[np.int64] | None,
    rows: int,
) -> pa.StringArray:
    """Row keys, version 1: 32 hex digits of SHA-256 over length-prefixed parts.

    The parts are the target's URL, account, operation, campaign, subcampaign, ClientId as mapped, phone or
    identifier, what the operation declares besides, and the occurrence where it is 2 or more.
    """
    common = "".join(f"{len(part.encode())}:{part}" for part in (target.url, target.account, operation.name))
    named = ("Campaign", "Subcampaign", operation.client_id or "")
    parts = [
        *(_blank(rows) if name in operation.not_in_key else columns.get(name, _blank(rows)) for name in named),
        _phone_or_identifier(operation, columns, rows),
        *(columns.get(name, _blank(rows)) for name in operation.in_key),
    ]
    prefixed = [common, *(piece for part in parts for piece in (_length(part), ":", part))]
    if occurrence is not None:
        again = pa.array(["" if n < 2 else str(n) for n in occurrence], pa.string())
        prefixed.append(pc.if_else(pc.equal(again, ""), "", pc.binary_join_element_wise(_length(again), again, ":")))
    return _hex_digests(pc.binary_join_element_wise(*prefixed, ""), KEY_DIGITS)


def _length(part: pa.Array) -> pa.Array | str:
    """In bytes, as text: by row, or for all rows alike, as phones have it."""
    lengths = pc.binary_length(part)
    least, most = pc.min_max(lengths).values()
    return str(most) if least == most else lengths.cast(pa.string())


def identities(operation: Operation, columns: Mapping[str, pa.Array], rows: int) -> npt.NDArray[np.int64]:
    """64 bits per row for counting repeats: the phone's own digits, else a hash; 0 where a row has none."""
    if operation.duplicates_by is None:
        return np.zeros(rows, dtype=np.int64)
    of = phones if operation.duplicates_by == "phone" else identifiers
    return _as_numbers(of(operation, columns, rows))


def identities_told(told: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The same of rows that were made into payloads, from what those name: phones or identifiers."""
    return _as_numbers(pc.fill_null(told.combine_chunks(), ""))


def key_identities(keys: pa.StringArray) -> npt.NDArray[np.int64]:
    """64 bits of each row key, for counting occurrences of one key."""
    halves = np.frombuffer(bytes.fromhex("".join(keys.to_pylist())), dtype=">u8")
    return (halves[::2].astype(np.uint64) ^ np.uint64(1 << 63)).view(np.int64)


def _as_numbers(texts: pa.Array) -> npt.NDArray[np.int64]:
    if pc.all(_are_numbers(texts), skip_nulls=False).as_py():
        return np.asarray(texts.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    return np.array([_as_number(text) for text in texts.to_pylist()], dtype=np.int64)


def _are_numbers(texts: pa.Array) -> pa.BooleanArray:
    """Where a text is one to seventeen digits, the first of them not 0."""
    digits = pc.and_(pc.ascii_is_decimal(texts), pc.invert(pc.starts_with(texts, "0")))
    return pc.and_(digits, pc.less_equal(pc.binary_length(texts), 17))


def _as_number(text: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= 17:
        return int(text)
    # Negative, so that no hash is taken for a phone.
    return -1 - (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1)


def phones(operation: Operation, columns: Mapping[str, pa.Array], rows: int) -> pa.StringArray:
    """The phone that each call affects; "" where it names none."""
    named = columns.get(operation.phone or "", _blank(rows))
    if operation.identifier is None:
        return named
    by, value = (columns[name] for name in operation.identifier)
    special = operation.by_name[operation.identifier[1]].cleaner_when
    by_phone = [name for name, cleaner in special[1].items() if cleaner == "us_phone"] if special else []
    return pc.if_else(pc.is_in(by, value_set=pa.array(by_phone, pa.string())), value, named)


def identifiers(operation: Operation, columns: Mapping[str, pa.Array], rows: int) -> pa.StringArray:
    """What each call looks up, as "ClientId:17"; for operations that look nothing up, the ClientId that is set.

    What only carries a key names nobody: rows may share it.
    """
    if operation.identifier is not None:
        by, value = (columns[name] for name in operation.identifier)
        return pc.binary_join_element_wise(by, value, ":")
    if operation.identity is not None:
        by, value = columns[operation.identity.by], _blank(rows)
        for search_field, own in operation.identity.fields.items():
            value = pc.if_else(pc.equal(by, search_field), columns.get(own, _blank(rows)), value)
        return pc.binary_join_element_wise(by, value, ":")
    if operation.client_id is None or operation.client_id not in columns or operation.carries_key:
        return _blank(rows)
    value = columns[operation.client_id]
    return pc.if_else(pc.equal(value, ""), "", pc.binary_join_element_wise(operation.client_id, value, ":"))


def _phone_or_identifier(operation: Operation, columns: Mapping[str, pa.Array], rows: int) -> pa.StringArray:
    of = identifiers if operation.identifier is not None or operation.identity is not None else phones
    return of(operation, columns, rows)


def _with_client_id(
    operation: Operation, policy: Policy, columns: dict[str, pa.Array], keys: pa.StringArray
) -> dict[str, pa.Array]:
    """A row without ClientId gets its key as one, where it is to be found by it."""
    name = operation.client_id
    if name is None or not sets_client_id(operation, policy):
        return columns
    mapped = columns.get(name, _blank(len(keys)))
    return {**columns, name: pc.if_else(pc.equal(mapped, ""), keys, mapped)}


def _sent(operation: Operation, policy: Policy, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array | str]:
    """Every parameter that is sent, in one order: fixed ones, the policy's, then the fields as declared."""
    set_by_policy = dict(operation.dialing[policy.dialing].parameters) if operation.dialing else {}
    flags = {field.name: field.policy_flag for field in operation.fields if field.policy_flag}
    set_by_policy |= {name: "1" for name, flag in flags.items() if getattr(policy, flag)}
    documented = [name for name in operation.by_name if name in columns]
    others = sorted(set(columns) - set(documented))
    return {**operation.fixed, **set_by_policy, **{name: columns[name] for name in (*documented, *others)}}


def form(parameters: Mapping[str, pa.Array | str], rows: int) -> pa.StringArray:
    """application/x-www-form-urlencoded bodies; empty values are left out."""
    head, *parts = [_pairs("&" + quote_plus(name) + "=", value) for name, value in parameters.items()] or [""]
    # Not joined by "&" with nulls skipped: Arrow drops rows whose parts are all null.
    if isinstance(head, str):
        return pc.binary_join_element_wise(head.removeprefix("&"), *parts, _blank(rows), "")
    return pc.utf8_slice_codeunits(pc.binary_join_element_wise(head, *parts, ""), start=1)


def _pairs(prefix: str, value: pa.Array | str) -> pa.Array | str:
    """By row, or for all rows alike."""
    return prefix + quote_plus(value) if isinstance(value, str) else each_once(partial(_pair, prefix), value)


def _pair(prefix: str, value: pa.Array) -> pa.Array:
    pairs, left_out = pc.binary_join_element_wise(prefix, _quoted(value), ""), pc.equal(value, "")
    return pc.if_else(left_out, "", pairs) if pc.any(left_out).as_py() else pairs


def _quoted(values: pa.Array) -> pa.Array:
    """Values as quote_plus writes them: by column where only blanks need it, else each distinct value once."""
    if not len(values):  # it may have no buffers
        return values
    offsets, text = _bytes_of(values)
    spaced = pc.replace_substring(values, " ", "+") if (text == _BLANK_BYTE).any() else values
    strange = np.flatnonzero(_IS_QUOTED[text])
    if not strange.size:
        return spaced
    mask = np.zeros(len(values), dtype=np.bool_)
    mask[np.searchsorted(offsets, strange + offsets[0], side="right") - 1] = True
    odd = pa.array(mask)
    distinct = values.filter(odd).dictionary_encode()
    encoded = pa.array([quote_plus(value) for value in distinct.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(spaced, odd, encoded.take(distinct.indices))


_BLANK_BYTE = ord(" ")
_IS_QUOTED = np.array([not (chr(byte) == " " or quote_plus(bytes([byte])) == chr(byte)) for byte in range(256)])


def _bytes_of(values: pa.StringArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Where in Arrow's buffer each value begins and the last one ends; and the bytes of all values."""
    _, offsets, text = values.buffers()
    at = np.frombuffer(offsets, dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    return at, np.frombuffer(text or b"", dtype=np.uint8)[at[0] : at[-1]]


def _hex_digests(texts: pa.StringArray, digits: int = 64) -> pa.StringArray:
    """The first hex digits of each text's SHA-256."""
    found = [hashlib.sha256(text).digest()[: digits // 2] for text in texts.cast(pa.binary()).to_pylist()]
    ends = np.arange(0, digits * len(found) + 1, digits, dtype=np.int32)
    joined = b"".join(found).hex().encode()  # one text, and no object for each
    return pa.StringArray.from_buffers(len(found), pa.py_buffer(ends), pa.py_buffer(joined))


def _blank(rows: int) -> pa.StringArray:
    return pa.repeat(pa.scalar("", pa.string()), rows)
