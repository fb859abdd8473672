"""A row that is looked up first: nobody is there → it is inserted; one is → that lead is updated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline import doubt, matches
from pipeline.delivery import Delivery, Endpoint, Sender, Trail
from pipeline.doubt import Sighting
from pipeline.matches import Lead
from pipeline.model import Judgement, Outcome, Payload, Status
from schemas.spec import Composed, Operation

_NAMED_AT_MOST = 5  # ids of several matches that a message names
_BEST_FIRST = (
    Status.ACCEPTED,
    Status.SKIPPED,
    Status.DUPLICATE,
    Status.REJECTED,
    Status.FAILED,
    Status.NOT_ATTEMPTED,
    Status.UNKNOWN,
)


@dataclass(frozen=True, slots=True)
class Steps:
    """Where the steps of a composed operation go, besides the insert. `update_all`: several matches are updated."""

    operation: Operation
    parts: Composed
    search: Endpoint
    update: Endpoint
    update_all: bool

    def deliver(self, sender: Sender, insert: Endpoint, payload: Payload, trail: Trail) -> ComposedDelivery:
        """The delivery of one row; `insert` has the composed operation's column of the retry table."""
        return ComposedDelivery(self, sender, replace(insert, operation=self.parts.insert), payload, trail)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search said: the leads by id, or None where its answer is not clear."""

    leads: Mapping[str, Lead] | None
    answer: Outcome


class ComposedDelivery(Delivery):
    """The requests of one row: a search, then its insert or its updates, each up to the attempts allowed.

    Its own request, which may be in doubt, is the insert. An update in doubt has been repeated already.
    """

    def __init__(self, steps: Steps, sender: Sender, insert: Endpoint, payload: Payload, trail: Trail) -> None:
        super().__init__(sender, insert, payload, matches.insert_form(steps.operation, payload), trail)
        self._steps = steps
        self._step_payload = replace(payload, prior=None, doubted_at=None)
        self._seen: _Found | None = None  # by the last look, until it is acted upon
        self._updates: list[Delivery] = []
        self._search_can_tell = True

    @property
    def attempts(self) -> int:
        """How many inserts and updates were requested."""
        return super().attempts + sum(update.attempts for update in self._updates)

    @property
    def can_be_looked_up(self) -> bool:
        """Whether a search can tell what became of it: of an insert, not of an update."""
        return self._search_can_tell

    async def outcome(self) -> Outcome:
        """The outcome after the last request. UNKNOWN means in doubt."""
        self._search_can_tell = False
        before, self._seen = self._seen, None
        seen = before or await self._search(self._steps.search)
        if seen.leads is None:
            return self._without_answer(seen.answer)
        if len(seen.leads) > 1 and not self._steps.update_all:
            return self._without_request(seen, Status.SKIPPED, "several_matches", _several(seen.leads))
        if seen.leads and not matches.update_fields(self._steps.operation, self.payload):
            return self._without_request(seen, Status.ACCEPTED, "unchanged", "it is there, with nothing to change")
        if before is None and not await self._sender.admitted():
            return self.interrupted()
        return await (self._update(seen) if seen.leads else self._insert())

    async def look(self, search: Endpoint) -> Sighting:
        """What one search says of it, while it is in doubt: by what it is looked up by in any case."""
        self._seen = seen = await self._search(search)
        if not seen.leads:
            return Sighting.UNCLEAR if seen.leads is None else Sighting.NOBODY
        # Before an insert of this delivery nobody was there.
        is_ours = super().attempts and doubt.our_leads(seen.answer.judgement, self.payload)
        return Sighting.OURS if is_ours else Sighting.THERE

    def found(self, doubtful: Outcome) -> Outcome:
        """What its doubtful outcome becomes where a look has shown that its insert has arrived."""
        assert self._seen is not None
        proved = super().found(doubtful)
        return replace(proved, code="inserted", judgement=_with_result(proved.judgement, self._seen))

    def interrupted(self) -> Outcome:
        """The outcome of a row that was cut short: in doubt if an insert or update was under way or is in doubt."""
        for cut in (update.interrupted() for update in self._updates):
            if cut.status is Status.UNKNOWN:
                self._left = True
                return self.outcome_of(cut.status, cut.judgement)
        return super().interrupted()

    async def _search(self, endpoint: Endpoint) -> _Found:
        form = matches.search_form(self._steps.operation, self.payload)
        search = Delivery(self._sender, endpoint, self._step_payload, form, self.trail)
        answer = await search.outcome()
        self.trail.tell()
        if answer.status is Status.UNKNOWN and search.attempts_left:  # it was cut short by the end of the run
            answer = replace(answer, status=Status.NOT_ATTEMPTED)
        return _Found(matches.found(self._steps.operation, self.payload, answer.judgement), answer)

    def _without_answer(self, answer: Outcome) -> Outcome:
        """The outcome where the search has no clear answer: nothing was sent."""
        judgement = answer.judgement
        if answer.status is Status.ACCEPTED:
            text = "the search answered with a lead that has no id, or does not show by what it was found"
            judgement = replace(judgement, code="unclear_match", message=text, lead_id=None)
        kept = (Status.REJECTED, Status.FAILED, Status.NOT_ATTEMPTED)
        return self._ended(answer.status if answer.status in kept else Status.FAILED, judgement, answer.latency_ms)

    def _without_request(self, seen: _Found, status: Status, code: str, message: str) -> Outcome:
        judgement = replace(_with_result(seen.answer.judgement, seen), code=code, message=message)
        return self._ended(status, judgement, seen.answer.latency_ms)

    async def _insert(self) -> Outcome:
        self._search_can_tell = True
        outcome = await super().outcome()
        return replace(outcome, code="inserted") if outcome.status is Status.ACCEPTED else outcome

    async def _update(self, seen: _Found) -> Outcome:
        """Updates every lead that was found, one after the other; what went worst is the row's outcome."""
        outcomes: list[Outcome] = []
        for lead_id in seen.leads or ():
            if outcomes and not await self._sender.admitted():
                outcomes.append(self.interrupted())
                break
            outcome = await self._update_one(lead_id)
            outcomes.append(_of_lead(lead_id, outcome) if len(seen.leads or ()) > 1 else outcome)
        worst = max(outcomes, key=lambda outcome: _BEST_FIRST.index(outcome.status))
        ended = self._ended(worst.status, _with_result(worst.judgement, seen), worst.latency_ms)
        return replace(ended, code="updated") if ended.status is Status.ACCEPTED else ended

    async def _update_one(self, lead_id: str) -> Outcome:
        form = matches.update_form(self._steps.operation, self.payload, lead_id)
        # What its insert waits for, an update waits for: it may give the lead a callback, or another phone to dial.
        endpoint = replace(self._steps.update, bars=self._endpoint.bars)
        update = Delivery(self._sender, endpoint, self._step_payload, form, self.trail)
        self._updates.append(update)
        outcome = await update.outcome()
        self._left |= outcome.sent
        return outcome

    def _ended(self, status: Status, judgement: Judgement, latency_ms: float | None) -> Outcome:
        """An outcome of this row. What may have arrived before is not known to be undelivered by what failed since."""
        if self._doubt is not None and status in (Status.FAILED, Status.NOT_ATTEMPTED):
            status, judgement = Status.UNKNOWN, replace(self._doubt, reply=judgement.reply)
        return self.outcome_of(status, judgement, latency_ms)


def _of_lead(lead_id: str, outcome: Outcome) -> Outcome:
    """The outcome of one of several updates: a message says of which."""
    text = outcome.judgement.message
    named = replace(outcome.judgement, message=text and f"lead {lead_id}: {text}")
    return replace(outcome, judgement=named)


def _several(leads: Mapping[str, Lead]) -> str:
    named = ", ".join([*leads][:_NAMED_AT_MOST])
    more = ", …" if len(leads) > _NAMED_AT_MOST else ""
    return f"{len(leads)} leads match ({named}{more}): none was changed"


def _with_result(judgement: Judgement, seen: _Found) -> Judgement:
    """The judgement with what the search had found, and the lead's id where it was one."""
    only = next(iter(seen.leads)) if seen.leads and len(seen.leads) == 1 else None
    return replace(judgement, result=seen.answer.judgement.result, lead_id=only)
