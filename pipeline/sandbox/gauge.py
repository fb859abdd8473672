"""How much work is under way at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.sandbox.connection import Connection
from pipeline.sandbox.state import Store


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    caller: Connection | None

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody still wants the answer; who hung up and asks again asks once at a time."""
        return self.caller is None or not self.caller.gone


class ParallelGauge:
    """How much work is under way at once: the most seen, and how often for one phone.

    A request counts from when its fields are read until its answer is sent, its connection is cut, or its
    caller has hung up. Where it names no phone, its identifier counts in the phone's place.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._all: set[_Request] = set()
        self._by_subject: dict[str, list[_Request]] = {}
        self.max_in_flight = store.gauge("max_in_flight")
        self.same_phone_in_flight = store.gauge("same_phone_in_flight")

    @contextmanager
    def hold(self, subject: str, caller: Connection | None) -> Iterator[None]:
        """Counts one request about `subject` ("" for none) while it is under way."""
        request = _Request(caller)
        about_the_same = self._by_subject.setdefault(subject, [])
        if subject and request.is_waited_for and any(other.is_waited_for for other in about_the_same):
            self._note_same_phone()
        self._all.add(request)
        about_the_same.append(request)
        if len(self._all) > self.max_in_flight:
            self._note_most()
        try:
            yield
        finally:
            self._all.remove(request)
            about_the_same.remove(request)
            if not about_the_same:
                del self._by_subject[subject]

    def _note_same_phone(self) -> None:
        self.same_phone_in_flight += 1
        self._store.set_gauge("same_phone_in_flight", self.same_phone_in_flight)

    def _note_most(self) -> None:
        in_flight = sum(request.is_waited_for for request in self._all)
        if in_flight > self.max_in_flight:
            self.max_in_flight = in_flight
            self._store.set_gauge("max_in_flight", in_flight)
