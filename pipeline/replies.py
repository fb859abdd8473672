"""What a reply means. `judge` is a pure function over the operation's reply rules."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from pipeline.model import Judgement, Reply
from schemas.spec import Operation, ReplyRule, Verdict, XmlReply

REPLY_KEPT = 500  # characters of a reply that the report keeps
RETRY_AFTER_AT_MOST = 120.0  # seconds; a longer wait is the operator's decision
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_MARKUP = re.compile(r"<[a-z!/?]", re.IGNORECASE)


def judge(operation: Operation, reply: Reply, now: datetime) -> Judgement:
    """The verdict on one reply. The HTTP status is looked at first; 200 alone never means delivered."""
    verdict = _by_status(reply, now)
    if verdict is not None:
        return _kept(verdict, reply.http_status, reply.body)
    judged = _by_text if len(reply.body) <= REPLY_KEPT else _by_text.__wrapped__
    return judged(operation, reply.http_status, reply.body)


@lru_cache(maxsize=1024)  # a run of a million rows sees a handful of replies
def _by_text(operation: Operation, http_status: int, body: str) -> Judgement:
    told = _xml(operation.xml_reply, body) if operation.xml_reply else None
    if told is not None:
        verdict = replace(_by_rules(operation, told.line, told.line), result=told.result)
    else:
        verdict = _by_json(operation, body.strip()) or _by_rules(operation, body, normalise(body))
    return _kept(verdict, http_status, body)


class _Xml(NamedTuple):
    """What a reply of XML says, and the number of the call as JSON, if it has one."""

    line: str
    result: str | None


def _xml(form: XmlReply, body: str) -> _Xml | None:
    """The reply as "name=value name=value"; None where it is no XML of this form. A DTD may be there, entities not."""
    try:
        root = fromstring(_storable(body).strip(), forbid_dtd=False, forbid_entities=True, forbid_external=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # no XML, entities, an unknown encoding
        return None
    names = [child.tag for child in root]
    between = [root.text, *(child.tail for child in root)]
    if root.tag != form.root or not names or len(set(names)) < len(names):
        return None
    if any(len(child) for child in root) or any(text and text.strip() for text in between):
        return None
    told = {child.tag: " ".join((child.text or "").split()) for child in root}
    call_id = told.pop(form.call_id, "")
    line = " ".join(f"{name}={value}" for name, value in told.items())
    return _Xml(line, json.dumps({form.call_id: call_id}) if call_id else None)


def _kept(verdict: Judgement, http_status: int, body: str) -> Judgement:
    """The verdict with what the report keeps of the reply."""
    return Judgement(
        verdict=verdict.verdict,
        code=verdict.code,
        message=verdict.message,
        http_status=http_status,
        reply=normalise(body)[:REPLY_KEPT],
        result=verdict.result,
        lead_id=verdict.lead_id,
        retry_after_seconds=verdict.retry_after_seconds,
        still_at_work=verdict.still_at_work,
        maybe_refused=verdict.maybe_refused,
    )


def normalise(body: str) -> str:
    """The reply's text on one line: <br> becomes a space, whitespace is collapsed, ends are trimmed."""
    return " ".join(_BREAK.sub(" ", _storable(body)).split())


def _by_status(reply: Reply, now: datetime) -> Judgement | None:
    status = reply.http_status
    wait = retry_after_seconds(reply.retry_after, now)
    if 200 <= status < 300:
        return None
    if status == 429 or (status == 503 and wait is not None):
        return Judgement(Verdict.THROTTLED, "throttled", f"HTTP {status}: asked to slow down", retry_after_seconds=wait)
    if status == 401 and _is_one_plain_line(reply.body):  # a page comes from something in between
        return Judgement(Verdict.CREDENTIALS, "credentials", "HTTP 401: the credentials were refused")
    if status == 408 or status >= 500 or status < 200:
        return Judgement(Verdict.IN_DOUBT, f"http_{status}", f"HTTP {status}: may or may not have arrived")
    if status < 400:
        return Judgement(
            Verdict.MISCONFIGURED,
            "redirected",
            f"HTTP {status}: redirects are not followed; check the base URL",
        )
    return Judgement(
        Verdict.MISCONFIGURED, f"http_{status}", f"HTTP {status}: check the base URL and the account's access"
    )


def _by_json(operation: Operation, body: str) -> Judgement | None:
    if not (operation.json_search and body.startswith("{")):
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # cut off, a number of thousands of digits, nested without end
        return Judgement(Verdict.IN_DOUBT, "truncated_reply", "the search result is cut off")
    return _search_result(found, body)


def _search_result(found: object, body: str) -> Judgement:
    """Both shapes of a search: {"id", "LeadExists"} and {"Leads": […]}; anything else is no answer."""
    match found:
        case {"LeadExists": True, **rest}:
            return _found(rest.get("id"), body)
        case {"LeadExists": False}:
            return Judgement(Verdict.ACCEPTED, "not_found")
        case {"Leads": [dict(first), *others]} if all(isinstance(other, dict) for other in others):
            return _found(first.get("id") if not others else None, body)
        case {"Leads": [] | None}:
            return Judgement(Verdict.ACCEPTED, "not_found")
    if found == {}:
        return Judgement(Verdict.ACCEPTED, "not_found")
    return Judgement(Verdict.IN_DOUBT, "unreadable_reply", "the search answered in a form that is not known")


def _found(lead_id: object, body: str) -> Judgement:
    known = isinstance(lead_id, int | str) and not isinstance(lead_id, bool)
    return Judgement(
        Verdict.ACCEPTED, "found", result=_storable(body), lead_id=_storable(str(lead_id)) if known else None
    )


def _storable(text: str) -> str:
    """`text` without what databases and Parquet refuse: halves of characters, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _by_rules(operation: Operation, body: str, text: str) -> Judgement:
    plain = _is_one_plain_line(body)
    for rule in operation.replies:
        if (plain or not rule.one_line) and (match := rule.matches(text)):
            return _ruled(rule, text, match[1] if rule.tells else None)
    if not text:
        return Judgement(Verdict.IN_DOUBT, "empty_reply", "an empty reply: may or may not have arrived")
    return Judgement(Verdict.IN_DOUBT, "unreadable_reply", "a reply that no rule knows: may or may not have arrived")


def _ruled(rule: ReplyRule, text: str, result: str | None) -> Judgement:
    message = "" if rule.verdict is Verdict.ACCEPTED else text[:REPLY_KEPT]
    return Judgement(
        rule.verdict,
        rule.code,
        message,
        result=result,
        still_at_work=rule.still_at_work,
        maybe_refused=rule.maybe_refused,
    )


def _is_one_plain_line(body: str) -> bool:
    """Words inside an HTML page, or in one of several lines, are never a verdict."""
    text = _BREAK.sub(" ", body).strip()
    return "\n" not in text and not _MARKUP.search(text)


def retry_after_seconds(header: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, 0 to 120; None where it says nothing readable."""
    if not header:
        return None
    if header.strip().isdecimal():
        return min(float(header), RETRY_AFTER_AT_MOST)
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_AT_MOST)
