"""A sandbox in this process, for the tests of the simulator itself."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.applications import Starlette

from pipeline.sandbox.app import create_app
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.state import Store
from schemas.dialedin import RESULT_REPLIES
from schemas.spec import ReplyRule, Verdict

CREDENTIALS = {"token": "sandbox-token", "accid": "sandbox"}
PHONE, OTHER_PHONE = "2025550123", "2025550124"
OK = "<br><br>Result:  OK"
DUPLICATE = "<br><br>Result: CURL error[500]: Duplicated phone number. Lead ignored."
NOON = datetime(2030, 1, 2, 12, 0, tzinfo=UTC)


class Client:
    """Calls an application in this process, one request at a time."""

    def __init__(self, app: Starlette) -> None:
        self._transport = httpx.ASGITransport(app)

    def request(self, method: str, url: str, **parts: Any) -> httpx.Response:
        async def answered() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://sandbox") as client:
                return await client.request(method, url, **parts)

        return asyncio.run(answered())

    def get(self, url: str, **parts: Any) -> httpx.Response:
        return self.request("GET", url, **parts)

    def post(self, url: str, **parts: Any) -> httpx.Response:
        return self.request("POST", url, **parts)


class Sandbox:
    """A sandbox in this process and a caller of it."""

    def __init__(self, store: Store, config: SandboxConfig) -> None:
        self.store, self.config = store, config
        self.client = Client(create_app(config, store, clock=lambda: NOON))

    def post(self, script: str, **fields: str) -> httpx.Response:
        return self.client.post(f"/HttpImport/{script}.php", data=CREDENTIALS | fields)

    def insert(self, **fields: str) -> str:
        return self.post("InjectLead", **({"Campaign": "Demo", "PrimaryPhone": PHONE} | fields)).text

    def update(self, **fields: str) -> str:
        return self.post("UpdateLead", **fields).text

    def search(self, search_field: str, identifier: str, **fields: str) -> Any:
        search = {"Action": "SearchLead", "SearchField": search_field, "Identifier": identifier}
        return json.loads(self.post("LeadOperations", **search, **fields).text)

    def dnc(self, action: str, number: str = PHONE) -> str:
        return self.post("LeadOperations", Action=action, Number=number).text

    def see(self, name: str) -> Any:
        return self.client.get(f"/sandbox/{name}").json()

    def only_lead(self) -> dict:
        (lead,) = self.see("leads")
        return lead

    def dialed(self) -> list[str]:
        return [dial["phone"] for dial in self.see("dials")]


def normalised(body: str) -> str:
    return " ".join(re.sub(r"<br\s*/?>", " ", body).split())


def verdict(body: str, rules: tuple[ReplyRule, ...] = RESULT_REPLIES) -> tuple[Verdict, str]:
    """What the sending side's rules make of a body; the sandbox itself knows nothing of them."""
    text = normalised(body)
    plain = "\n" not in body and "<" not in text
    rule = next(r for r in rules if r.matches(text) and (plain or not r.one_line))
    return rule.verdict, rule.code
