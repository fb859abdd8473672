"""What the sandbox holds, as a page for people. What is assumed about the vendor is labelled so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pipeline.sandbox.leads import detailed
from pipeline.sandbox.state import Store
from pipeline.sandbox.texts import is_assumed

_SHOWN = 50  # lines of each list
_DAMAGE = (
    *("double_dials", "dnc_dials", "stored_twice", "double_texts", "dnc_texts", "dnc_conferences"),
    "same_phone_in_flight",
)
_LEAD = (
    *("id", "ClientId", "FirstName", "LastName", "PrimaryPhone", "Campaign", "Subcampaign", "CallStatus"),
    *("WasDialed", "LastUpdated"),
)
_ASSUMED = '<b class="assumed">assumed</b>'
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 76rem; padding: 0 1rem; color: #1c2430 }
h1 { margin: 0 } h2 { margin: 1.8rem 0 .4rem; font-size: 1.1rem } p { margin: .4rem 0; max-width: 60rem }
small, .none { color: #667 } .wide { overflow-x: auto }
table { border-collapse: collapse } th, td { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top }
th { color: #667; font-weight: 600; border-bottom: 1px solid #ccd } td { border-bottom: 1px solid #eef }
td { max-width: 28rem; overflow-wrap: break-word } td.number { text-align: right }
.bad { color: #b00020; font-weight: 700 }
.assumed { background: #fff1c2; color: #6b5200; border-radius: 3px; padding: 0 .35em; font-size: .85em }
"""


def front(store: Store, texts: Mapping[str, str], state: Mapping[str, Any]) -> str:
    """The page, as HTML. `texts` are reply bodies by name; `state` is what `/sandbox/state` answers."""
    parts = [
        "<h1>DialedIn sandbox</h1>",
        "<p>A simulator of DialedIn, and of DialogTech's Click-to-FindMe. It calls nobody and texts nobody.</p>",
        f"<p>What is {_ASSUMED} is not in the vendor's document: a real account may do or say something else.</p>",
        _section("What there is", _counts(state)),
        *_lists(store, texts),
        _section("What is assumed about behaviour", _items(state["assumed_behaviour"])),
        _section("What is assumed about replies", _assumed_texts(state["assumed_texts"])),
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>DialedIn sandbox</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _lists(store: Store, texts: Mapping[str, str]) -> list[str]:
    office = store.office
    return [
        _list("Leads", "leads", [_lead(lead) for lead in map(detailed, store.leads(_SHOWN))]),
        _list("Calls that would have been made", "dials", store.dials(_SHOWN)),
        _list("Phones that Click-to-FindMe would have rung", "rings", store.rings(_SHOWN)),
        _list("Do-not-call numbers", "do-not-call", store.do_not_call(_SHOWN)),
        _list("Texts that would have been sent", "texts", office.rows("texts", _SHOWN)),
        _list("Conferences that would have been called", "conferences", office.rows("conferences", _SHOWN)),
        _list("Dial lists", "dial-lists", office.rows("dial-lists", _SHOWN)),
        _list("Playlists", "playlists", office.rows("playlists", _SHOWN)),
        _list("Skills", "skills", office.rows("skills", _SHOWN)),
        _list("Reloads", "reloads", office.rows("reloads", _SHOWN)),
        _list("Requests", "requests", [_request(line, texts) for line in store.requests(_SHOWN)]),
    ]


def _lead(lead: Mapping[str, Any]) -> dict[str, Any]:
    return {name: lead[name] for name in _LEAD}


class _Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _request(line: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """A line of the log with its parameters as text, and its reply labelled where its words are assumed."""
    parameters = "; ".join(f"{name}={value}" for name, value in line["parameters"].items())
    label = f" {_ASSUMED}" if is_assumed(line["operation"], line["reply"], texts) else ""
    shown = {name: line[name] for name in ("id", "received_at", "method", "operation")}
    reply = _Markup(escape(line["reply"]) + label)
    return {**shown, "parameters": parameters, "HTTP": line["http_status"], "reply": reply, "fault": line["fault"]}


def _section(heading: str, content: str) -> str:
    return f"<h2>{escape(heading)}</h2>{content}"


def _list(heading: str, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows, newest first, with a link to all of them."""
    link = f' <small>the last {_SHOWN}; all: <a href="/sandbox/{name}">/sandbox/{name}</a></small>'
    shown = [[_time(value) if key.endswith("_at") else value for key, value in row.items()] for row in reversed(rows)]
    content = _table(list(rows[0]), shown) if rows else ""
    return f"<h2>{escape(heading)}{link}</h2>{content or '<p class=none>none</p>'}"


def _time(iso: str) -> str:
    """To the second, in UTC, on one line."""
    return iso[:19].replace("T", " ")


def _counts(state: Mapping[str, Any]) -> str:
    """Damage first, and in red where there is any."""
    counts = {name: value for name, value in state.items() if type(value) is int}
    damage = [(name, counts.pop(name)) for name in _DAMAGE]
    told = {**counts, **{f"fault {name}": value for name, value in state["faults"].items()}}
    rest = " · ".join(f"{escape(name)} {value:,}" for name, value in told.items())
    link = '<p><small>also as JSON: <a href="/sandbox/state">/sandbox/state</a></small></p>'
    rows = [(name, value, "damage" if value else "") for name, value in damage]
    return f"<p>{rest}</p>{_table(['what would do harm', 'how often', ''], rows)}{link}"


def _items(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_ASSUMED} {escape(line)}</li>' for line in lines)}</ul>"


def _assumed_texts(texts: Mapping[str, Mapping[str, str]]) -> str:
    rows = [(name, text["body"], _Markup(f"{_ASSUMED} {escape(text['assumed'])}")) for name, text in texts.items()]
    return _table(["text", "reply", ""], rows)


def _table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, _Markup):
        return f"<td>{value}</td>"
    if isinstance(value, bool) or value is None:
        return f"<td>{'yes' if value else ''}</td>"
    kind = ' class="number"' if isinstance(value, int) else ' class="bad"' if value == "damage" else ""
    return f"<td{kind}>{escape(str(value))}</td>"
