"""What was given: settings, mapping, address and credentials. No value of a secret is in a finding."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import version

import httpx

from pipeline import after, mapping, mappings, settings
from pipeline.doctor.visit import Finding, Visit, bad, ok, warn
from pipeline.mapping import MappingFile
from pipeline.model import UserError
from pipeline.watch import ErrorLimit
from pipeline.wire import check_base_url


def versions(_: Visit) -> Finding:
    """This tool's, and those of what it stands on."""
    ours = f"dialedin-leads {version('dialedin-leads')}, Python {platform.python_version()}"
    return ok(f"{ours}, SQLite {sqlite3.sqlite_version}")


def settings_read(visit: Visit) -> Finding:
    """Whether the settings can be read, and where from."""
    try:
        visit.settings, visit.origins = settings.resolve(visit.asked.flags)
        ErrorLimit.parse(visit.settings.max_errors)
    except UserError as error:
        return bad(str(error), "mend it: all that follows goes by the settings", 2)
    read = f"{settings.FILE} read" if settings.FILE.exists() else f"no {settings.FILE} here"
    variables = sorted(set(visit.origins.values()) - {"default", "flag", str(settings.FILE)})
    return ok(f"{read}; from the environment: {', '.join(variables) or 'nothing'}")


def mapping_read(visit: Visit) -> Finding:
    """Whether the mapping can be read. Its vendor is looked at from here on, and its constant campaign asked about."""
    try:
        found, path, _ = mappings.read(visit.asked.mapping or "", None)
        after.check(found, path.name)
        operation = mapping.operation_of(found, path.name)
    except UserError as error:
        return bad(str(error), "mend it, or name another with -m", 2)
    visit.vendor = operation.vendor
    constant = _constant_campaign(found)
    if constant and constant not in visit.campaigns:
        visit.campaigns.append(constant)
    by_row = "Campaign" in found.fields and not constant
    unasked = "; its campaigns are in the file: --campaign NAME asks about one" if by_row else ""
    return ok(f"{path}: {operation.name}{unasked}")


def _constant_campaign(found: MappingFile) -> str | None:
    origin = found.fields.get("Campaign")
    return origin.value if origin else None


def address(visit: Visit) -> Finding:
    """Whether the base URL can be the vendor's."""
    text = settings.base_url(visit.settings, visit.vendor)
    try:
        check_base_url(text)
    except UserError as error:
        return bad(str(error), f"mend {visit.address_place}", 2)
    visit.url = httpx.URL(text)
    if visit.is_rehearsal:
        step = f"for the real account, mend {visit.address_place}"
        return warn(f"{text} is this machine: a rehearsal, nothing reaches {visit.vendor.name}", step)
    return ok(f"{text}, the documented one" if text == visit.vendor.base_url else f"{text}, by {visit.address_place}")


def credentials(visit: Visit) -> Finding:
    """Whether the credentials are set, and where they come from."""
    visit.account = settings.account(visit.settings, visit.vendor)
    try:
        visit.credentials = settings.credentials(visit.settings, visit.vendor)
    except UserError as error:
        what, _, step = str(error).partition(": ")
        return bad(what, step, 2)
    origins = ", ".join(f"{parameter} from {place}" for parameter, place in visit.credential_places.items())
    return ok(f"account {visit.account}: {origins}")
