"""The command line: a thin shell over `run`. Heavy imports are inside the commands, so that --help is quick."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import mapping_commands, memory
from pipeline.mapping_commands import complete_mapping, complete_operation
from pipeline.model import JournalError, UserError
from pipeline.signals import InterruptedRunError

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.checking import Findings
    from pipeline.folder import RunFolder
    from pipeline.job import Job, Progress, Summary, World
    from pipeline.kept import Given
    from pipeline.settings import Settings

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def main(now: Callable[[], datetime] | None = None) -> None:
    """Runs a command; every way out is an exit code of the contract, and nothing a user can cause is a traceback.

    `now` is the clock by which runs go; None: the wall clock.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be no text, and a terminal may know ASCII only
        sys.stdout.reconfigure(errors="backslashreplace")
    os.umask(0o077)  # whatever this tool writes holds people's data
    gc.set_threshold(50_000, 50, 100)  # rows come and go by the thousand: the default looks through them all too often
    try:
        code = cli.main(prog_name="leads", standalone_mode=False, obj=now)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"; see: {context.command_path} --help" if context else ""
        _say(f"leads: {error.format_message().rstrip('.')}{hint}")
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except InterruptedRunError as error:
        _say(f"leads: {error}")
        code = error.exit_code
    except UserError as error:
        _say(f"leads: {error}")
        code = error.exit_code
    except JournalError as error:
        _say(
            f"leads: {error}\nNothing was sent that it does not hold. "
            "Once it can be written again (a full disk? a server that is down?): leads resume"
        )
        code = 70
    except BrokenPipeError:  # whoever read what was told has gone
        _forget_stdout()
        code = 0
    except Exception as error:  # noqa: BLE001 the last line of defence: a fault of ours
        code = _our_fault(error)
    sys.exit(code or 0)


def _our_fault(error: Exception) -> int:
    if os.environ.get("LEADS_DEBUG"):
        traceback.print_exc()
    if type(error).__module__.startswith("pyarrow"):  # our own Parquet files are the only ones that come as far as here
        _say(f"leads: a file of the run is damaged: {error}\nLoad the list again: what was delivered is skipped.")
        return 70
    if type(error).__module__.startswith(("sqlalchemy", "psycopg")):
        said = str(getattr(error, "orig", error)).partition("\n")[0]
        _say(f"leads: the state database can't be used: {said}\nSee: leads doctor. Then do the same again.")
        return 70
    _say(
        f"leads: a fault of ours: {type(error).__name__}: {error}\n"
        "What was sent is in the journal; see: leads show --rebuild. LEADS_DEBUG=1 shows the traceback: report it.",
    )
    return 70


def _say(text: str) -> None:
    """One message on stderr; the exit code still tells the end where nobody can read it."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _forget_stdout() -> None:
    """What is left to be written goes nowhere: else Python complains of it at its end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    click.option(
        *("-m", "--mapping"),
        required=True,
        metavar="MAPPING",
        shell_complete=complete_mapping,
        help="A path, or the name of a mapping.",
    ),
    click.option(
        "--operation", metavar="NAME", shell_complete=complete_operation, help="Instead of the mapping's own operation."
    ),
    click.option("--encoding", metavar="NAME", help="The file's encoding, where it can't be found."),
    click.option("--sheet", metavar="NAME", help="The workbook's sheet."),
    click.option("--where", metavar="SQL", help="Of a Parquet file, the rows for which this DuckDB expression holds."),
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
_consenting = _options(
    click.option("--max-contacts", type=click.IntRange(min=0), metavar="N", help="How many people may be contacted."),
    click.option("--dial-non-callables", is_flag=True, help="Confirms a policy that dials do-not-call numbers."),
)
_raw_csv = click.option(
    "--raw-csv", is_flag=True, help="No ' before what a spreadsheet would run, in a rejected CSV file."
)
_sharing = _options(
    click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Share the work among N processes."),
    click.option("--scheduler", metavar="URL", help="Share it among the workers of a Dask scheduler: tcp://, tls://."),
)
_stale_ok = click.option("--stale-ok", is_flag=True, help="Dial leads that are more than 24 hours old.")
_run = click.argument("run", default="latest", metavar="[RUN]")
_SETTINGS = ("runs", "state", "rate", "concurrency", "attempts", "timeout", "settle", "max_errors", "drain")


def _complete_field(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from schemas.catalogue import CATALOGUE

    operation = CATALOGUE.get(context.params.get("operation") or "")
    return [f"{field.name}=" for field in operation.fields if field.name.startswith(begun)] if operation else []


def _confirmed(text: str) -> bool:
    """The operator's answer on the terminal. Raises UserError where there is nobody to ask."""
    try:
        return click.confirm(text, err=True)
    except click.Abort:
        raise UserError("nothing was sent: nobody answered; say so beforehand with --yes") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dialedin-leads")
def cli() -> None:
    """Loads lead lists into a DialedIn account and says what became of every row.

    Credentials come from the environment: DIALEDIN_TOKEN (or DIALEDIN_TOKEN_FILE) and DIALEDIN_ACCID; for DialogTech
    DIALOGTECH_KEY, or DIALOGTECH_ACCESS_KEY and DIALOGTECH_SECRET_ACCESS_KEY.
    """


@cli.command()
@_reading
@_sending
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Send N rows at most.")
@click.option("--again", is_flag=True, help="Send also what earlier runs have delivered.")
@click.option("--verify", metavar="N|N%", help="Read so many accepted rows back, and compare what is stored.")
@click.option("--update-all", is_flag=True, help="UpsertLead: where several leads match a row, update all of them.")
@click.option("--canary", type=click.IntRange(min=1), metavar="N", help="Send N rows, read them back, then the rest.")
@_consenting
@_raw_csv
@_sharing
@_common
def load(**given: Any) -> None:
    """Validates FILE and sends its rows: one outcome for every row.

    FILE is CSV, a workbook or Parquet, compressed or not; a pattern; - for standard input; https://, s3:// or sftp://.

    \b
    leads load leads.csv -m generic
    leads load 'leads.zip#may.csv' -m generic
    leads load leads.xlsx -m mappings/spring.toml --sheet Leads --rate 10
    """
    _get_ready(given)
    from pipeline import run, screen

    job = _job("load", given)
    with screen.progress(quiet=given["quiet"]) as watcher:
        summary = run.load(job, _world(job.settings, watcher))
    _finish(summary, given)


@cli.command()
@_reading
@_raw_csv
@_sharing
@_common
def check(**given: Any) -> None:
    """Says what a `load` of FILE would do, and what would mend it. Sends nothing, and needs no credentials."""
    _get_ready(given)
    from pipeline import run, screen

    job = _job("check", given)
    with screen.progress(quiet=given["quiet"]) as watcher:
        summary, found = run.check(job, _world(job.settings, watcher))
    _finish(summary, given, found)


@cli.command()
@_run
@_sending
@_consenting
@_stale_ok
@_raw_csv
@_sharing
@_common
def resume(run: str, **given: Any) -> None:
    """Goes on with a run that was interrupted: sends what has no outcome yet, and settles what is in doubt.

    RUN is an id, the beginning of one, or `latest` (the default). Settings are the run's own unless given again.
    """
    _get_ready(given)
    from pipeline import continued

    _go_on(continued.resume, run, given)


@cli.command()
@_run
@_sending
@_consenting
@_stale_ok
@_sharing
@_common
def reconcile(run: str, **given: Any) -> None:
    """Settles what a run has left in doubt: looks it up, and sends it again where it is not there.

    RUN is an id, the beginning of one, or `latest` (the default). Settings are the run's own unless given again.
    """
    _get_ready(given)
    from pipeline import continued

    _go_on(continued.reconcile, run, given)


@cli.command()
@_run
@click.option(
    "--only",
    default="failed,unknown,rejected,invalid",
    show_default=True,
    metavar="STATUS,…",
    help="Rows that ended so.",
)
@click.option(
    *("-m", "--mapping"),
    metavar="MAPPING",
    shell_complete=complete_mapping,
    help="A corrected mapping, instead of the run's own.",
)
@click.option("--mended", type=click.Path(path_type=Path), metavar="FILE", help="The rejected file, mended: its rows.")
@_sending
@_consenting
@_stale_ok
@_raw_csv
@_sharing
@_common
def retry(run: str, only: str, mapping: str | None, mended: Path | None, **given: Any) -> None:
    """Begins a new run over rows of an earlier one that ended badly.

    \b
    leads retry --only rejected -m corrected.toml
    leads retry 20260102 --mended runs/20260102T…/rejected.csv

    RUN is an id, the beginning of one, or `latest` (the default). What was delivered meanwhile is not sent again.
    """
    _get_ready(given)
    from pipeline import continued, mappings, screen

    earlier, anew = _earlier(run, given)
    corrected = mappings.read(mapping, None) if mapping else None
    wanted = continued.Anew(continued.statuses(only), corrected, mended)
    with screen.progress(quiet=given["quiet"]) as watcher:
        summary = continued.retry(earlier, wanted, anew, _world(anew.settings, watcher))
    _finish(summary, given)


@cli.command()
@_run
@click.option("--row", "number", type=int, required=True, metavar="N", help="The row, as the report numbers it.")
@click.option("--source", metavar="NAME", help="The file, where the run had several.")
@_common
def explain(run: str, number: int, source: str | None, **given: Any) -> None:
    """Tells one row's story: what the file held, what was repaired, sent and answered, and how it ended."""
    from pipeline import explain, folder, screen

    settings = _settings(given)
    found = folder.find(settings.runs, run)
    told = explain.story(found, number, source, _journal(found, settings, given))
    screen.story(told, as_json=given["as_json"])


@cli.command()
@click.option("--older-than", required=True, metavar="AGE", help="Remove runs that began longer ago: 36h, 90d, 12w.")
@click.option("--in-doubt", is_flag=True, help="Remove also runs of which nobody knows what was delivered.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@_common
def prune(older_than: str, in_doubt: bool, dry_run: bool, **given: Any) -> None:
    """Removes old runs: their folders, and what the ledger knows of them.

    What a removed run delivered is not known any more: the same list, loaded again, would be sent again. Runs with rows
    in doubt stay, and so do all runs of an account while something is under way there.
    """
    from pipeline import prune, screen, statedb

    settings = _settings(given)
    before = _clock()() - prune.age(older_than)
    state = statedb.engine(settings.state)
    told = prune.prune(settings.runs, state, before, in_doubt=in_doubt, dry_run=dry_run)
    screen.pruned(told, as_json=given["as_json"])


@cli.command()
@click.argument("phone")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and change nothing.")
@_common
def forget(phone: str, dry_run: bool, **given: Any) -> None:
    """Removes a person by PHONE from all runs and the ledger, and marks the phone as not to be contacted.

    Every row that holds the phone, in any cell and any spelling, loses its values. Your own files and the dialer are
    not touched. While a run is sending, nothing is done: exit code 6. Let no check run meanwhile, either.
    """
    from pipeline import forget, screen, statedb
    from pipeline.delivery import micros

    settings = _settings(given)
    digits = forget.phone_of(phone)
    state = statedb.engine(settings.state)
    told = forget.forget(digits, settings.runs, state, micros(_clock()()), dry_run=dry_run)
    screen.forgotten(told, phone, as_json=given["as_json"])


@cli.command()
@_run
@click.option("--rebuild", is_flag=True, help="Make the report again from the run's parts and the journal.")
@_common
def show(run: str, rebuild: bool, **given: Any) -> None:
    """Shows how a run ended. RUN is an id, the beginning of one, or `latest` (the default)."""
    from pipeline import folder, screen

    settings = _settings(given)
    found = folder.find(settings.runs, run)
    if rebuild:
        from pipeline import ending

        ending.rebuild(found, _journal(found, settings, given))
    screen.result(found.read_json("summary.json"), as_json=given["as_json"])


@cli.command()
@_common
def runs(**given: Any) -> None:
    """Lists the runs, oldest first."""
    from pipeline import folder, screen

    found = folder.all_runs(_settings(given).runs)
    screen.runs([folder.overview(one) for one in found], as_json=given["as_json"])


@cli.command()
@click.argument("operation", shell_complete=complete_operation)
@click.argument("arguments", nargs=-1, metavar="FIELD=VALUE...", shell_complete=_complete_field)
@click.option("--yes", is_flag=True, help="Answers the question before a call that reaches people.")
@_sending
@_common
def call(operation: str, arguments: tuple[str, ...], yes: bool, **given: Any) -> None:
    """Makes one call: validated, recorded and judged like a row of a list, and never skipped.

    \b
    leads call LeadOperations.SearchLead SearchField=Phone Identifier=2025550123 Detailed=1
    leads call InsertLead Campaign=Demo PrimaryPhone=2025550123

    An inserted lead is imported only, unless ImportOnly=0 says otherwise.
    """
    from pipeline import calling, screen

    wanted = calling.job(operation, arguments, _settings(given))
    with screen.progress(quiet=True) as watcher:
        summary, record = calling.make(wanted, _world(wanted.settings, watcher), lambda text: yes or _confirmed(text))
    screen.record(record, as_json=given["as_json"])
    sys.exit(summary.exit_code)


@cli.command()
@click.argument("name", required=False, shell_complete=complete_operation)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def operations(name: str | None, as_json: bool) -> None:
    """Lists the operations; with NAME, its fields, rules and what it does."""
    from pipeline import describe

    describe.operations(name, as_json=as_json)


@cli.command()
@_sending
@_common
def config(**given: Any) -> None:
    """Shows every setting and where it came from. Secrets are stars."""
    from pipeline import screen
    from pipeline.settings import resolve

    screen.config(*resolve(_flags(given)), as_json=given["as_json"])


@cli.command()
@click.option(
    *("-m", "--mapping"),
    metavar="MAPPING",
    shell_complete=complete_mapping,
    help="Look at this mapping, and ask about its campaign.",
)
@click.option("--campaign", "campaigns", multiple=True, metavar="NAME", help="Ask about this campaign (repeat it).")
@click.option("--timeout", type=float, metavar="SECONDS", help="How long each step may take.  [default: at most 10]")
@_common
def doctor(campaigns: tuple[str, ...], mapping: str | None, **given: Any) -> None:
    """Looks at all that a load needs, from the token to the disk, and says what to mend.

    Nothing is changed at the vendor: it is asked for a lead that does not exist, and each campaign likewise.
    """
    from pipeline import doctor, screen
    from pipeline.delivery import utc_now
    from pipeline.transport import PooledTransport

    asked = doctor.Asked(_flags(given), mapping, campaigns, lambda: PooledTransport(connections=1), utc_now)
    sys.exit(screen.doctor(doctor.examine(asked), as_json=given["as_json"]))


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
    """Runs a simulator of DialedIn and of DialogTech's Click-to-FindMe on this machine. Prints what to export.

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


cli.add_command(mapping_commands.mapping)


def _flags(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given.get(name) for name in _SETTINGS}


def _journal(run: RunFolder, settings: Settings, given: dict[str, Any]) -> str:
    """The URL of the state database that a run wrote to, or of the one that is named instead."""
    from pipeline.settings import journal

    return journal(settings, run.read_json("manifest.json")["settings"]["state"], given["state"])


def _settings(given: dict[str, Any]) -> Settings:
    from pipeline.settings import resolve

    return resolve(_flags(given))[0]


def _job(command: str, given: dict[str, Any]) -> Job:
    from pipeline import files, mappings
    from pipeline.job import Job
    from pipeline.people import Consent
    from pipeline.readback import Sample

    settings = _settings(given)
    mapping, path, text = mappings.read(given["mapping"], given["operation"])
    return Job(
        command=command,
        files=files.find(given["files"]),
        mapping=mapping,
        mapping_path=path,
        mapping_text=text,
        settings=settings,
        consent=Consent(given.get("max_contacts"), given.get("dial_non_callables", False)),
        limit=given.get("limit"),
        again=given.get("again", False),
        verify=Sample.parse(given["verify"]) if given.get("verify") else None,
        canary=given.get("canary"),
        update_all=given.get("update_all", False),
        encoding=given["encoding"],
        sheet=given["sheet"],
        where=given["where"],
        raw_csv=given["raw_csv"],
        asked=_asked(given),
        **_shared(given),
    )


def _get_ready(given: dict[str, Any]) -> None:
    """What comes before the imports that take a second: local workers import what they need while this process does."""
    memory.use_lean_pool()
    if given["workers"]:
        from pipeline import forking

        forking.start()


def _shared(given: dict[str, Any]) -> dict[str, Any]:
    """Who shares the work. Raises UserError where that can't be."""
    workers, scheduler = given["workers"], given["scheduler"]
    if workers is not None and scheduler is not None:
        raise UserError("--workers starts workers and --scheduler uses those of another: give one of them")
    if scheduler is not None and not re.fullmatch(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[^\s:/@]+):\d{1,5}", scheduler):
        raise UserError(
            f"--scheduler {scheduler.rpartition('@')[2]!r}: give its address as tcp://HOST:PORT or tls://HOST:PORT"
        )
    return {"workers": workers, "scheduler": scheduler}


def _asked(given: dict[str, Any]) -> tuple[str, ...]:
    """The words that say again which rows are meant, and how they are read."""
    words = [*given["files"], "-m", given["mapping"]]
    for name in ("operation", "encoding", "sheet", "where", "runs", "state"):
        words += [f"--{name}", given[name]] if given[name] else []
    return tuple(words)


def _earlier(run: str, given: dict[str, Any]) -> tuple[RunFolder, Given]:
    """An earlier run, and what is said anew about how it goes on."""
    from pipeline import folder
    from pipeline.kept import Given
    from pipeline.settings import resolve

    found = folder.find(_settings(given).runs, run)
    settings = resolve(_flags(given), found.read_json("manifest.json")["settings"])[0]
    consent = given["max_contacts"], given["dial_non_callables"], given["stale_ok"]
    return found, Given(settings, *consent, raw_csv=given.get("raw_csv", False), **_shared(given))


def _go_on(how: Callable[[RunFolder, Given, World], Summary], run: str, given: dict[str, Any]) -> None:
    from pipeline import screen

    earlier, anew = _earlier(run, given)
    with screen.progress(quiet=given["quiet"]) as watcher:
        summary = how(earlier, anew, _world(anew.settings, watcher))
    _finish(summary, given)


def _clock() -> Callable[[], datetime]:
    """By which clock runs go."""
    from pipeline.delivery import utc_now

    given: Callable[[], datetime] | None = click.get_current_context().obj
    return given or utc_now


def _world(settings: Settings, watcher: Progress) -> World:
    import random

    from pipeline.job import World
    from pipeline.transport import PooledTransport, new_loop

    return World(
        transport=lambda: PooledTransport(connections=settings.concurrency),
        now=_clock(),
        rng=random.Random(),  # noqa: S311 jitter, not a secret
        progress=watcher,
        new_loop=new_loop,
    )


def _finish(summary: Summary, given: dict[str, Any], found: Findings | None = None) -> None:
    from dataclasses import asdict

    from pipeline import screen, screen_check

    try:
        if sys.stdout is not None:  # closed by whoever started us
            if found is None:
                screen.result(asdict(summary), as_json=given["as_json"])
            else:
                screen_check.result(asdict(summary), found, as_json=given["as_json"])
            sys.stdout.flush()
    except OSError:  # whoever read our output has gone, or its disk is full: the exit code still tells the end
        _forget_stdout()
    sys.exit(summary.exit_code)
