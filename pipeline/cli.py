"""The command line: a thin shell over `run`. Heavy imports are inside the commands, so that --help is quick."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.model import JournalError, UserError
from pipeline.signals import InterruptedRunError

if TYPE_CHECKING:
    from pipeline.job import Job, Progress, Summary, World
    from pipeline.settings import Settings

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def main() -> None:
    """Runs a command; every way out is an exit code of the contract, and nothing a user can cause is a traceback."""
    os.umask(0o077)  # whatever this tool writes holds people's data
    gc.set_threshold(50_000, 50, 100)  # rows come and go by the thousand: the default looks through them all too often
    try:
        code = cli.main(prog_name="leads", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"; see: {context.command_path} --help" if context else ""
        click.echo(f"leads: {error.format_message().rstrip('.')}{hint}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except InterruptedRunError as error:
        click.echo(f"leads: {error}", err=True)
        code = error.exit_code
    except UserError as error:
        click.echo(f"leads: {error}", err=True)
        code = error.exit_code
    except JournalError as error:
        click.echo(
            f"leads: {error}\nNothing was sent that it does not hold. Free the disk, then: leads show --rebuild",
            err=True,
        )
        code = 70
    except Exception as error:  # noqa: BLE001 the last line of defence: a fault of ours
        code = _our_fault(error)
    sys.exit(code or 0)


def _our_fault(error: Exception) -> int:
    if os.environ.get("LEADS_DEBUG"):
        traceback.print_exc()
    click.echo(
        f"leads: a fault of ours: {type(error).__name__}: {error}\n"
        "What was sent is in the journal; see: leads show --rebuild. LEADS_DEBUG=1 shows the traceback: report it.",
        err=True,
    )
    return 70


def _options(*options: _Decorator) -> _Decorator:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_common = _options(
    click.option("--runs", metavar="DIR", help="Where run folders go.  [default: ./runs]"),
    click.option("--state", metavar="URL", help="State database (journal).  [default: in your state folder]"),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    click.option("--quiet", is_flag=True, help="No progress."),
)
_reading = _options(
    click.argument("files", nargs=-1, required=True, metavar="FILE..."),
    click.option("-m", "--mapping", required=True, metavar="MAPPING", help="A path, or the name of a mapping."),
    click.option("--operation", metavar="NAME", help="Instead of the mapping's own operation."),
    click.option("--encoding", metavar="NAME", help="The file's encoding, where it can't be found."),
    click.option("--sheet", metavar="NAME", help="The workbook's sheet."),
)
_sending = _options(
    click.option("--rate", type=float, metavar="N", help="Calls per second at most; 0: no cap.  [default: 20]"),
    click.option("--concurrency", type=int, metavar="N", help="Calls under way at once.  [default: 8]"),
    click.option("--attempts", type=int, metavar="N", help="Requests per row at most.  [default: 5]"),
    click.option("--timeout", type=float, metavar="SECONDS", help="How long to wait for a reply.  [default: 30]"),
    click.option("--settle", type=float, metavar="SECONDS", help="How long a row in doubt rests before a look-up."),
    click.option("--max-errors", metavar="N|N%", help="Halt beyond so many rejected and failed.  [default: 20%]"),
    click.option("--drain", type=float, metavar="SECONDS", help="How long calls may end after Ctrl-C.  [default: 30]"),
)
_SETTINGS = ("runs", "state", "rate", "concurrency", "attempts", "timeout", "settle", "max_errors", "drain")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dialedin-leads")
def cli() -> None:
    """Loads lead lists into a DialedIn account and says what became of every row.

    Credentials come from the environment: DIALEDIN_TOKEN (or DIALEDIN_TOKEN_FILE) and DIALEDIN_ACCID.
    """


@cli.command()
@_reading
@_sending
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Send N rows at most.")
@click.option("--again", is_flag=True, help="Send also what earlier runs have delivered.")
@click.option("--max-contacts", type=click.IntRange(min=0), metavar="N", help="People who may be contacted at most.")
@click.option("--dial-non-callables", is_flag=True, help="Confirms a policy that dials do-not-call numbers.")
@_common
def load(**given: Any) -> None:
    """Validates FILE and sends its rows: one outcome for every row.

    \b
    leads load leads.csv -m generic
    leads load leads.xlsx -m mappings/spring.toml --sheet Leads --rate 10
    """
    from pipeline import run, screen

    with screen.progress(quiet=given["quiet"]) as watcher:
        summary = run.load(_job("load", given), _world(given, watcher))
    _finish(summary, given)


@cli.command()
@_reading
@_common
def check(**given: Any) -> None:
    """Validates FILE as `load` would, and sends nothing. Needs no credentials."""
    from pipeline import run, screen

    with screen.progress(quiet=given["quiet"]) as watcher:
        summary = run.check(_job("check", given), _world(given, watcher))
    _finish(summary, given)


@cli.command()
@click.argument("run", default="latest", metavar="[RUN]")
@click.option("--rebuild", is_flag=True, help="Make the report again from the run's parts and the journal.")
@_common
def show(run: str, rebuild: bool, **given: Any) -> None:
    """Shows how a run ended. RUN is an id, the beginning of one, or `latest` (the default)."""
    from pipeline import folder, screen

    settings = _settings(given)
    found = folder.find(settings.runs, run)
    if rebuild:
        from pipeline import stages

        stages.rebuild(found, given["state"])
    screen.result(found.read_json("summary.json"), as_json=given["as_json"])


@cli.command()
@_common
def runs(**given: Any) -> None:
    """Lists the runs, oldest first."""
    from pipeline import folder, screen

    found = folder.all_runs(_settings(given).runs)
    screen.runs([folder.overview(one) for one in found], as_json=given["as_json"])


@cli.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def operations(name: str | None, as_json: bool) -> None:
    """Lists the operations; with NAME, its fields, rules and what it does."""
    from pipeline import screen

    screen.operations(name, as_json=as_json)


@cli.command()
@_sending
@_common
def config(**given: Any) -> None:
    """Shows every setting and where it came from. Secrets are stars."""
    from pipeline import screen
    from pipeline.settings import resolve

    screen.config(*resolve(_flags(given)), as_json=given["as_json"])


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8099, show_default=True, help="0: any free one.")
@click.option("--data", type=click.Path(path_type=Path), help="SQLite file for its state.  [default: a temporary one]")
@click.option(
    "--profile", default="default", show_default=True, metavar="NAME", help="How the vendor behaves; names below."
)
@click.option("--campaign", "campaigns", multiple=True, metavar="NAME", help="A campaign that exists (repeat it).")
@click.option("--plan", type=click.Path(path_type=Path), help="JSON: phone → names of the faults that its calls meet.")
@click.option("--seed", type=int, default=0, show_default=True, help="For the profile's chances.")
def sandbox(profile: str, campaigns: tuple[str, ...], data: Path | None, plan: Path | None, **given: Any) -> None:
    """Runs a DialedIn simulator on this machine, to rehearse against. Prints what to export.

    Profiles: default, slow, hostile-proxy, dialer-down, flaky, late, false-ok.
    """
    from pipeline.sandbox.config import DEFAULT_CAMPAIGNS, SandboxConfig
    from pipeline.sandbox.plan import read_plan
    from pipeline.sandbox.profiles import profile_named
    from pipeline.sandbox.serve import serve

    chosen = profile_named(profile)
    names = campaigns or DEFAULT_CAMPAIGNS
    faults = read_plan(plan) if plan else {}
    serve(SandboxConfig(state_path=data, profile=chosen, campaigns=names, plan=faults, **given))


def _flags(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given.get(name) for name in _SETTINGS}


def _settings(given: dict[str, Any]) -> Settings:
    from pipeline.settings import resolve

    return resolve(_flags(given))[0]


def _job(command: str, given: dict[str, Any]) -> Job:
    from pipeline import mappings
    from pipeline.job import Job
    from pipeline.people import Consent

    settings = _settings(given)
    mapping, path, text = mappings.read(given["mapping"], given["operation"])
    return Job(
        command=command,
        files=tuple(Path(name) for name in given["files"]),
        mapping=mapping,
        mapping_path=path,
        mapping_text=text,
        settings=settings,
        consent=Consent(given.get("max_contacts"), given.get("dial_non_callables", False)),
        limit=given.get("limit"),
        again=given.get("again", False),
        encoding=given["encoding"],
        sheet=given["sheet"],
    )


def _world(given: dict[str, Any], watcher: Progress) -> World:
    import random

    from pipeline.delivery import utc_now
    from pipeline.job import World
    from pipeline.transport import AiohttpTransport

    connections = _settings(given).concurrency
    return World(
        transport=lambda: AiohttpTransport(connections=connections),
        now=utc_now,
        rng=random.Random(),  # noqa: S311 jitter, not a secret
        progress=watcher,
    )


def _finish(summary: Summary, given: dict[str, Any]) -> None:
    from dataclasses import asdict

    from pipeline import screen

    try:
        screen.result(asdict(summary), as_json=given["as_json"])
        sys.stdout.flush()
    except OSError:  # whoever read our output has gone, or its disk is full: the exit code still tells the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(summary.exit_code)
