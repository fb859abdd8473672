"""What an operation's request must hold, before anything is done."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import wraps

from pipeline.sandbox.dialer import Dialer
from pipeline.sandbox.php import Form

_Apply = Callable[[Dialer, Form, datetime], str]


def needs(*names: str) -> Callable[[_Apply], _Apply]:
    """The operation, refused where one of these parameters is missing, or names an agent that isn't there."""

    def checked(apply: _Apply) -> _Apply:
        @wraps(apply)
        def answer(dialer: Dialer, form: Form, now: datetime) -> str:
            missing = [name for name in names if not form.get(name)]
            if missing:
                return dialer.told("missing_parameter", name=missing[0])
            if "Agent" in names and not dialer.has_agent(form["Agent"]):
                return dialer.texts["agent_not_found"]
            return apply(dialer, form, now)

        return answer

    return checked


def is_ten_digits(text: str) -> bool:
    """Whether it is a phone as the vendor's document asks for one."""
    return re.fullmatch(r"[0-9]{10}", text) is not None
