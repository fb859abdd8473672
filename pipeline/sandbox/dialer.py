"""The account that operations work on: what it knows, what its columns hold, whom it lets in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.php import Form
from pipeline.sandbox.state import Store
from schemas.dialedin import INSERT_LEAD, LEAD_FIELDS

_COLUMNS = ("PrimaryPhone", "Campaign", "Subcampaign", *(f.name for f in LEAD_FIELDS))
_LENGTHS = {f.name: f.max_length for f in INSERT_LEAD.fields if f.max_length is not None}

# ASP.NET's request validation refuses "&#" and "<" before a letter, "!", "/" or "?". (grade C: that it is on)
_MARKUP = re.compile(r"<[a-zA-Z!/?]|&#")


@dataclass(frozen=True)
class Dialer:
    """The account behind the gateway: what the operations work on."""

    config: SandboxConfig
    store: Store
    texts: Mapping[str, str]

    def credentials_refusal(self, form: Form) -> str:
        """The name of the text that refuses the caller, "" where token and accid are right."""
        if not form.get("accid"):
            return "missing_accid"
        if form["accid"] != self.config.accid:
            return "bad_accid"
        return "" if form.get("token") == self.config.token else "bad_token"

    @cached_property
    def lengths(self) -> Mapping[str, int]:
        """Field → the length of its column."""
        return _LENGTHS | dict(self.config.lengths)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The lead columns that can be written."""
        return (*_COLUMNS, *self.config.extra_columns)

    def has_campaign(self, name: str) -> bool:
        """Whether leads can be put into this campaign."""
        return self.config.any_campaign or name in self.config.campaigns

    def has_agent(self, name: str) -> bool:
        """Whether an agent has this login name."""
        return self.config.any_agent or name in self.config.agents

    def told(self, text: str, **values: str) -> str:
        """The text of that name, with `values` in the place of their names in braces."""
        body = self.texts[text]
        for name, value in values.items():
            body = body.replace(f"{{{name}}}", value)
        return body

    def custom_fields(self, form: Form, campaign: str) -> dict[str, str]:
        """The values of the campaign's custom fields; names that it doesn't have are dropped.

        "Custom field should have prefix adv_", "spaces in the field names … replaced with double underscore".
        """
        given = {
            name.removeprefix("adv_").replace("__", " "): self.storable(value)
            for name, value in form.items()
            if name.startswith("adv_")
        }
        known = self.config.custom_fields.get(campaign)
        return given if known is None else {name: given[name] for name in known if name in given}

    def lead_fields(self, form: Form) -> dict[str, str]:
        """The values of lead columns as they are stored, cut to length; other names are dropped."""
        names = (name for name in self.columns if name in form)
        return {name: self.storable(form[name])[: self.lengths.get(name)] for name in names}

    def storable(self, value: str) -> str:
        """`value` in the character set of its column."""
        return value.encode("cp1252", "replace").decode("cp1252") if self.config.latin_only else value

    def value_refusal(self, form: Form) -> str:
        """The name of the text that refuses one of the values, "" where all are fine."""
        if self.config.refuse_html and any(_MARKUP.search(value) for value in form.values()):
            return "html_refused"
        if self.config.overlong == "error" and self._has_overlong(form):
            return "overlong"
        return ""

    def _has_overlong(self, form: Form) -> bool:
        return any(len(form.get(name, "")) > length for name, length in self.lengths.items())
