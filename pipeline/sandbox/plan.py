"""Which fault a request meets: the next one planned for its phone, else one by the profile's chances."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.model import UserError
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.faults import FAULTS, NO_FAULT, Fault
from pipeline.sandbox.state import Store

Plan = Mapping[str, Sequence[str]]


def read_plan(path: Path) -> Plan:
    """The plan in a JSON file: {"2025550123": ["stored_timeout", "none", "http_502"]}.

    A file that can't be read or isn't of that form, and a fault that doesn't exist, are UserErrors.
    """
    try:
        plan = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"can't read the plan {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"the plan {path} is no JSON: {error}") from error
    if not isinstance(plan, dict) or not all(_is_list_of_text(names) for names in plan.values()):
        raise UserError(f"the plan {path} must map each phone to a list of fault names")
    check_plan(plan)
    return plan


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def check_plan(plan: Plan) -> None:
    """Raises UserError where a fault of the plan doesn't exist."""
    for phone, names in plan.items():
        unknown = [name for name in names if name not in FAULTS and name != NO_FAULT]
        if unknown:
            known = ", ".join((NO_FAULT, *FAULTS))
            raise UserError(f"no sandbox fault is named {unknown[0]!r}, planned for {phone}; there are {known}")


class Faults:
    """Chooses the fault of each request. How much of a plan is used up is kept in the state."""

    def __init__(self, config: SandboxConfig, store: Store) -> None:
        check_plan(config.plan)
        self._config = config
        self._store = store
        self._rng = random.Random(config.seed)  # noqa: S311 - faults that can be repeated

    def for_request(self, phone: str, identifier: tuple[str, str], *, is_search: bool) -> Fault | None:
        """The fault of a request, or None. Belongs in the transaction of the request.

        `identifier` is its SearchField and Identifier: a request that names no phone is about the phone with
        which that ClientId last came in, or of that LeadId.
        """
        if self._config.plan:
            phone = phone or self._store.phone_behind(*identifier)
            if phone in self._config.plan:
                return self._planned(phone)
        fault = FAULTS.get(self._config.profile.choose_fault(self._rng) or NO_FAULT)
        return None if fault and is_search and not fault.searches_too else fault

    def _planned(self, phone: str) -> Fault | None:
        names = self._config.plan[phone]
        used = self._store.count_up(f"planned for {phone}") - 1
        return FAULTS.get(names[used]) if used < len(names) else None
