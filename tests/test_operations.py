"""Every operation of the vendor's document, through the same line: what it takes, what it refuses, what it sends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Account, Leads, phone, write, write_csv
from given import plan, text_frame

import mappings as shipped
from pipeline import mapping
from pipeline.clean import CLEANERS
from pipeline.model import UserError
from pipeline.payloads import Target, build
from schemas.catalogue import CATALOGUE
from schemas.dialedin_actions import OPERATIONS as ACTIONS
from schemas.spec import Effect, Field, Grade, LedgerRule, Operation, Settle

LEAD = ("ClientId", "FirstName", "LastName", "Address", "City", "State", "ZipCode", "Rep", "CallStatus", "Notes")
CALLBACK = ("CallbackAgent", "CallbackDate", "CallbackNotes")
DIALING = ("timezone", "AllowDialingDups", "DialNonCallables", "ImportOnly")


@dataclass(frozen=True)
class Documented:
    """What the vendor's document says of an operation, written down once more."""

    script: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    effect: Effect = Effect.WRITE
    settle: Settle = Settle.REPEAT
    frees_people: bool = False


LIST, LISTED = ("Agent", "List"), ("Agent", "List", "Phone")
DIAL_LISTS, PLAYLISTS, SKILLS = "AgentDialListOperations.php", "PlaylistOperations.php", "SkillListOperations.php"
READ, CONTACT, NEVER = Effect.READ, Effect.CONTACT, Settle.NEVER
DOCUMENT = {
    "InsertLead": Documented(
        "InjectLead.php",
        ("Campaign", "PrimaryPhone"),
        ("Subcampaign", "DuplicatesCheck", *DIALING, *LEAD, *CALLBACK),
        CONTACT,
        Settle.SEARCH,
    ),
    "UpdateLead": Documented(
        "UpdateLead.php",
        ("SearchField", "Identifier"),
        ("PrimaryPhone", "Campaign", "Subcampaign", *LEAD, *CALLBACK),
    ),
    "LeadOperations.SearchLead": Documented(
        "LeadOperations.php", ("SearchField", "Identifier"), ("Detailed", "Campaign", "Subcampaign"), READ
    ),
    "LeadOperations.InsertDnc": Documented("LeadOperations.php", ("Number",)),
    "LeadOperations.DeleteDnc": Documented("LeadOperations.php", ("Number",), frees_people=True),
    "TextOperations.SendSms": Documented(
        "TextOperations.php", ("From", "To", "Message"), ("Agent", "LeadId"), CONTACT, NEVER
    ),
    "CallOperations.AvailableInboundAgents": Documented(
        "CallOperations.php", ("DID",), ("CallId", "CanBeOnCall", "CanBeOnBreak", "CanDoWrapUp"), READ
    ),
    "CallOperations.ConferenceCall": Documented(
        "CallOperations.php", ("Agent", "Phone"), ("PrivateConference",), CONTACT, NEVER
    ),
    "AgentDialListOperations.CreateList": Documented(DIAL_LISTS, LIST),
    "AgentDialListOperations.DeleteList": Documented(DIAL_LISTS, LIST),
    "AgentDialListOperations.AddPhone": Documented(DIAL_LISTS, LISTED),
    "AgentDialListOperations.DeletePhone": Documented(DIAL_LISTS, LISTED),
    "AgentDialListOperations.PhoneDialed": Documented(DIAL_LISTS, LISTED),
    "AgentDialListOperations.PhoneUnDialed": Documented(DIAL_LISTS, LISTED),
    "PlaylistOperations.EnableFilter": Documented(PLAYLISTS, ("Playlist", "Filter")),
    "PlaylistOperations.DisableFilter": Documented(PLAYLISTS, ("Playlist", "Filter")),
    "PlaylistOperations.Reload": Documented(PLAYLISTS, ("Playlist",)),
    "PlaylistOperations.AssignFilter": Documented(PLAYLISTS, ("Playlist", "Filter")),
    "PlaylistOperations.RemoveFilter": Documented(PLAYLISTS, ("Playlist", "Filter")),
    "SkillListOperations.UpdatePriority": Documented(SKILLS, ("Skill", "Source"), ("Priority", "Delay", "Active")),
    "SkillListOperations.Reload": Documented(SKILLS, ()),
}
GUARDED = ("TextOperations.SendSms", "CallOperations.ConferenceCall", "LeadOperations.DeleteDnc")
every_operation = pytest.mark.parametrize("name", DOCUMENT)

VALUES = {
    "Campaign": "Spring Renewals",
    "SearchField": "ClientId",
    "Identifier": "C-1",
    "Detailed": "0",
    "From": "2125550100",
    "Message": "Hello & <welcome>, it's 5 o'clock",
    "Agent": "cara",
    "CallbackAgent": "cara",
    "CallbackDate": "12/31/2087 14:30:00",
    "LeadId": "1",
    "DID": "100",
    "CallId": "caller",
    "List": "Callbacks",
    "Playlist": "Morning list",
    "Filter": "Fresh leads",
    "Source": "8005550100",
    "Delay": "30",
    "State": "NY",
    "ZipCode": "10001",
    "DuplicatesCheck": "2",
    "Active": "0",
}
# What must be there before, so that the call is accepted.
MAKE_LIST = ("AgentDialListOperations", {"Action": "CreateList", "Agent": "cara", "List": "Callbacks"})
ASSIGN = (
    "PlaylistOperations",
    {"Action": "AssignFilter", "Playlist": "Morning list", "Filter": "Fresh leads"},
)
BEFORE = {
    "UpdateLead": [
        ("InjectLead", {"Campaign": "Demo", "PrimaryPhone": phone(9), "ClientId": "C-1", "ImportOnly": "1"})
    ],
    "AgentDialListOperations.DeleteList": [MAKE_LIST],
    "AgentDialListOperations.AddPhone": [MAKE_LIST],
    **{
        f"AgentDialListOperations.{action}": [
            MAKE_LIST,
            ("AgentDialListOperations", {**MAKE_LIST[1], "Action": "AddPhone", "Phone": phone(1)}),
        ]
        for action in ("DeletePhone", "PhoneDialed", "PhoneUnDialed")
    },
    **{f"PlaylistOperations.{action}": [ASSIGN] for action in ("EnableFilter", "DisableFilter", "RemoveFilter")},
}


def example(field: Field, number: int = 1) -> str:
    if field.cleaner == "us_phone":
        return phone(number)
    if field.name == "Skill":
        return f"skill {number}"
    return VALUES.get(field.name) or (field.choices[-1] if field.choices else "x")


def required(operation: Operation, number: int = 1) -> dict[str, str]:
    """The smallest row; an update must change something besides."""
    row = {f.name: example(f, number) for f in operation.fields if f.required}
    return row | ({"City": "Boston"} if operation.name == "UpdateLead" else {})


def full(operation: Operation, number: int = 1) -> dict[str, str]:
    """A row with every field that a file may set."""
    return {f.name: example(f, number) for f in operation.fields if not f.from_policy}


def mapped(home: Path, operation: Operation, policy: str = 'suppress = "none"') -> Path:
    fields = [f.name for f in operation.fields if not f.from_policy]
    lines = [f'operation = "{operation.name}"', 'unmapped = "ignore"', "[fields]", *(f'{n} = "{n}"' for n in fields)]
    return write(home / "all.toml", "\n".join([*lines, "[policy]", policy]))


def table(home: Path, operation: Operation, *rows: Mapping[str, str]) -> Path:
    names = [f.name for f in operation.fields if not f.from_policy]
    cells = [[row.get(name, "") for name in names] for row in rows]
    return write_csv(home / "rows.csv", [["no", *names], *(["x", *row] for row in cells)])


# --- the declarations


def test_every_operation_of_the_document_is_declared() -> None:
    """All of them, by the vendor's names; the actions under the names that `Action` takes."""
    assert set(DOCUMENT) <= set(CATALOGUE)
    assert {op.name for op in ACTIONS} < set(DOCUMENT)


@every_operation
def test_an_operation_takes_what_the_document_says(name: str) -> None:
    """Each parameter, required or not, at its endpoint, under its Action; and what it does in the world."""
    operation, said = CATALOGUE[name], DOCUMENT[name]
    assert {f.name for f in operation.fields if f.required} == set(said.required)
    assert {f.name for f in operation.fields if not f.required} == set(said.optional)
    assert operation.path == said.script
    assert operation.fixed == ({"Action": name.partition(".")[2]} if "." in name else {})
    assert (operation.effect, operation.settle) == (said.effect, said.settle)
    assert operation.frees_people == said.frees_people
    assert operation.protects_people == (name == "LeadOperations.InsertDnc")


@every_operation
def test_what_the_ledger_skips(name: str) -> None:
    """Inserts and texts that were delivered, updates that are the latest; nothing else."""
    skipped = {"InsertLead": LedgerRule.BY_KEY, "TextOperations.SendSms": LedgerRule.BY_KEY}
    expected = skipped.get(name, LedgerRule.LAST_PAYLOAD if name == "UpdateLead" else LedgerRule.NONE)
    assert CATALOGUE[name].ledger is expected


@pytest.mark.parametrize("operation", ACTIONS, ids=lambda o: o.name)
def test_what_is_inferred_says_so(operation: Operation) -> None:
    """Only the endpoint of Lead Operations was seen in public clients; the document names none."""
    seen = operation.name.startswith("LeadOperations.")
    assert operation.endpoint_grade is (Grade.B if seen else Grade.C)


@pytest.mark.parametrize("name", DOCUMENT)
def test_what_is_not_documented_is_shown_so(leads: Leads, name: str) -> None:
    """`leads operations NAME` shows no inferred endpoint, and no guess about replies, as a fact."""
    shown, operation = leads("operations", name).out, CATALOGUE[name]
    assert ("other clients use it" in shown) == (operation.endpoint_grade is Grade.B)
    assert ("taken to be named as the others" in shown) == (operation.endpoint_grade is Grade.C)
    assert ("No public sample of its replies" in shown) == (operation in ACTIONS)


# --- what is sent


@every_operation
def test_a_load_sends_the_documented_parameters_and_nothing_else(
    leads: Leads, home: Path, account: Account, name: str
) -> None:
    """A full row and a minimal one, to the endpoint of the operation, accepted by the account as it stands."""
    for script, fields in BEFORE.get(name, []):
        assert "OK" in account.call(script, **fields)
    before = account.requests
    operation = CATALOGUE[name]
    rows = [full(operation)]
    if DOCUMENT[name].optional and operation.duplicates_by != "identifier":
        rows.append(required(operation, 2))
    given = ("load", table(home, operation, *rows), "-m", mapped(home, operation), "--max-contacts", 2)
    result = leads(*given, "--concurrency", 1, "--json", env=account.env)
    assert [row["status"] for row in result.rows] == ["accepted"] * len(rows), result.err + str(result.rows)
    sent = account.see("requests")[before:]
    assert [(line["script"], line["operation"]) for line in sent] == [(operation.path, name)] * len(rows)
    ours = {"ImportOnly": "1"} if name == "InsertLead" else {}
    for line, row, told in zip(sent, rows, result.rows, strict=True):
        key = {"ClientId": told["row_key"]} if name == "InsertLead" and "ClientId" not in row else {}
        assert line["parameters"] == {**operation.fixed, **ours, **key, **row}


@pytest.mark.parametrize("name", ["PlaylistOperations.Reload", "SkillListOperations.Reload"])
def test_what_takes_few_fields_is_sent_once_a_row(leads: Leads, home: Path, account: Account, name: str) -> None:
    """An operation without a phone and an identifier is not taken for a repeat."""
    operation = CATALOGUE[name]
    path = table(home, operation, full(operation), full(operation))
    result = leads("load", path, "-m", mapped(home, operation), "--json", env=account.env)
    assert result.fates == {2: "accepted", 3: "accepted"}
    assert len(account.see("reloads")) == 2


def test_how_many_agents_are_there_is_in_the_report(leads: Leads, home: Path, account: Account) -> None:
    """Whoever is on a call, on a break or wrapping up counts where the row says so, and not by default or with 0."""
    operation = CATALOGUE["CallOperations.AvailableInboundAgents"]
    rows = [{"DID": "100", flag: value} for flag in DOCUMENT[operation.name].optional[1:] for value in ("", "0", "1")]
    result = leads("load", table(home, operation, *rows), "-m", mapped(home, operation), "--json", env=account.env)
    assert [(row["code"], row["result"]) for row in result.rows] == [("available", n) for n in "223" * 3]


def test_nobody_there_is_an_answer_too(leads: Leads, home: Path, start_account: Callable[..., Account]) -> None:
    """No agent is no failure."""
    operation = CATALOGUE["CallOperations.AvailableInboundAgents"]
    account = start_account(agents={"dan": "on_break"})
    path = table(home, operation, {"DID": "100"})
    result = leads("load", path, "-m", mapped(home, operation), "--json", env=account.env)
    assert [(row["code"], row["result"]) for row in result.rows] == [("none_available", "0")]
    assert result.code == 0


def test_an_endpoint_that_was_inferred_wrongly_can_be_set_right(leads: Leads, home: Path, account: Account) -> None:
    """The calls go where the setting says; here to a file that refuses them."""
    operation = CATALOGUE["SkillListOperations.Reload"]
    given = ("load", table(home, operation, {}), "-m", mapped(home, operation), "--json")
    moved = {"LEADS_ENDPOINTS": "SkillListOperations.php=PlaylistOperations.php"}
    assert leads(*given, env=account.env | moved).fates == {2: "rejected/gateway_refused"}
    assert [line["script"] for line in account.see("requests")] == ["PlaylistOperations.php"]


# --- what is refused before it is sent


def breaches(operation: Operation) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(field, code, row) of every way in which one field of a row can be wrong."""
    row = full(operation)
    for field in operation.fields:
        if field.from_policy:
            continue
        if field.required:
            yield field.name, "missing", {**row, field.name: ""}
        if field.max_length and field.cleaner == "text":
            yield field.name, "too_long", {**row, field.name: "x" * (field.max_length + 1)}
        if field.cleaner == "us_phone":
            yield field.name, "bad_phone", {**row, field.name: "555-0100"}
        elif field.choices:
            yield field.name, "bad_flag" if field.cleaner == "flag" else "not_allowed", {**row, field.name: "7"}
        elif field.pattern and field.cleaner == "text":
            yield field.name, "bad_format", {**row, field.name: "1x"}
    if "CallbackAgent" in row:
        yield "CallbackAgent", "incomplete_group", {**row, "CallbackDate": ""}
        yield "CallbackAgent", "incomplete_group", {**row, "CallbackAgent": ""}
    if operation.name == "UpdateLead":
        yield "Identifier", "nothing_to_update", {"SearchField": "LeadId", "Identifier": "5"}


@every_operation
def test_each_broken_rule_is_told_by_code_and_field(leads: Leads, home: Path, name: str) -> None:
    """One row for each way of being wrong: required, length, choice, form, and rules across fields; a good one passes.

    A file names a row's problem by a code that is stable and by the vendor's name of the field.
    """
    operation = CATALOGUE[name]
    wrong = list(breaches(operation))
    path = table(home, operation, required(operation), *(row for _, _, row in wrong))
    policy = 'suppress = "none"\nduplicates_in_file = "keep"'
    result = leads("check", path, "-m", mapped(home, operation, policy), "--json")
    good, *others = result.rows
    assert good["status"] == "valid"
    told = [(row["status"], {(p["field"], p["rule"]) for p in row["problems"]}) for row in others]
    assert told == [("invalid", {(field, code)}) for field, code, _ in wrong]
    assert {f.cleaner for f in operation.fields} <= set(CLEANERS)


@pytest.mark.parametrize("message", ["", "x" * 2000])
def test_a_text_has_words_and_no_known_end(leads: Leads, home: Path, message: str) -> None:
    """The document states no length, so that none is made up."""
    operation = CATALOGUE["TextOperations.SendSms"]
    path = table(home, operation, {**required(operation), "Message": message})
    result = leads("check", path, "-m", mapped(home, operation), "--json")
    assert result.fates == {2: "valid" if message else "invalid/missing"}


# --- where the document contradicts itself


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("AgentDialListOperations.CreateList", "Phone"),
        ("AgentDialListOperations.DeleteList", "Phone"),
        ("PlaylistOperations.Reload", "Filter"),
        ("SkillListOperations.Reload", "Skill"),
        ("SkillListOperations.Reload", "Source"),
    ],
)
def test_the_list_under_an_action_is_right_and_the_heading_is_not(name: str, field: str) -> None:
    """A parameter that only the heading calls required is no field of the action."""
    fields = "".join(f'{f.name} = "x"\n' for f in CATALOGUE[name].fields)
    mapping.parse(f'operation = "{name}"\n[fields]\n{fields}', "m.toml")
    with pytest.raises(UserError, match=f"'{field}' is not a field of {re.escape(name)}"):
        mapping.parse(f'operation = "{name}"\n[fields]\n{fields}{field} = "x"\n', "m.toml")


def test_deleted_do_not_call_numbers_stay_marked_on_their_leads(leads: Leads, home: Path, account: Account) -> None:
    """ "Existing leads marked as DNC won't be affected": only new ones go in again."""
    account.insert(phone(1))
    account.forbid(phone(1))
    operation = CATALOGUE["LeadOperations.DeleteDnc"]
    given = ("load", table(home, operation, {"Number": phone(1)}), "-m", mapped(home, operation))
    assert leads(*given, "--max-contacts", 1, "--json", env=account.env).fates == {2: "accepted"}
    assert (account.see("do-not-call"), account.leads()[phone(1)]["Dnc"]) == ([], True)


# --- people


@every_operation
def test_what_reaches_people_needs_a_number_and_a_list(leads: Leads, home: Path, account: Account, name: str) -> None:
    """No text, conference or release of a do-not-call number leaves in bulk without --max-contacts and suppress."""
    operation = CATALOGUE[name]
    path = table(home, operation, required(operation, 1), required(operation, 2))
    silent = mapped(home, operation, "duplicates_in_file = 'keep'")
    if name not in GUARDED:
        assert leads("load", path, "-m", silent, env=account.env).code in (0, 1)
        return
    refused = leads("load", path, "-m", silent, "--max-contacts", 2, env=account.env)
    assert (refused.code, "suppress" in refused.err) == (2, True)
    said = mapped(home, operation)
    for more in ((), ("--max-contacts", 1)):
        refused = leads("load", path, "-m", said, *more, env=account.env)
        assert (refused.code, "--max-contacts" in refused.err) == (2, True)
    assert account.requests == 0


@pytest.mark.parametrize("name", GUARDED)
def test_suppressed_people_are_left_alone(leads: Leads, home: Path, account: Account, name: str) -> None:
    """The suppress list holds for texts, conferences and releases as it does for calls."""
    operation = CATALOGUE[name]
    path = table(home, operation, required(operation, 1), required(operation, 2))
    write(home / "dnc.csv", f"phone\n{phone(1)}\n")
    policy = mapped(home, operation, 'suppress = "dnc.csv"')
    result = leads("load", path, "-m", policy, "--max-contacts", 1, "--json", env=account.env)
    assert result.fates == {2: "skipped/suppressed", 3: "accepted"}


def test_the_same_text_goes_to_a_person_once(leads: Leads, home: Path, account: Account) -> None:
    """Loaded again, it is skipped; other words to the same person are another text."""
    operation = CATALOGUE["TextOperations.SendSms"]
    fates = []
    for message in ("Your renewal is due", "Your renewal is due", "Thank you"):
        row = {**required(operation), "Message": message}
        given = ("load", table(home, operation, row), "-m", mapped(home, operation), "--max-contacts", 1)
        fates += leads(*given, "--json", env=account.env).fates.values()
    assert fates == ["accepted", "skipped/already_loaded", "accepted"]
    assert [text["message"] for text in account.see("texts")] == ["Your renewal is due", "Thank you"]


def test_the_words_of_a_text_tell_its_key_from_another() -> None:
    """And nothing else that is not in the key of every operation: From, Agent and LeadId don't."""
    toml = 'operation = "TextOperations.SendSms"\n[fields]\n'
    names = ("From", "To", "Message", "Agent", "LeadId")
    bound = plan(toml + "".join(f'{name} = "{name}"\n' for name in names), *names)
    columns = {
        "From": ["2125550100", "2125550101", "2125550100"],
        "To": [phone(1)] * 3,
        "Message": ["a", "a", "b"],
        "Agent": ["x", "y", "x"],
        "LeadId": ["1", "2", "1"],
    }
    first, same, other = build(bound, text_frame(columns), Target("https://x.test/", "acc")).row_key.to_pylist()
    assert first == same != other


@pytest.mark.parametrize(
    ("name", "log"), [("TextOperations.SendSms", "texts"), ("CallOperations.ConferenceCall", "conferences")]
)
def test_what_reached_a_person_and_is_in_doubt_is_never_sent_again(
    leads: Leads, home: Path, start_account: Callable[..., Account], name: str, log: str
) -> None:
    """Not by the run, not by a resume, and not by a reconcile: nobody can tell, so that a person decides."""
    account = start_account(plan={phone(1): ["stored_502"]})
    operation = CATALOGUE[name]
    path = table(home, operation, required(operation))
    result = leads("load", path, "-m", mapped(home, operation), "--max-contacts", 1, "--json", env=account.env)
    assert result.fates == {2: "unknown/http_502"}
    assert result.code == 5
    for command in ("resume", "reconcile"):
        leads(command, result.json["run_id"], env=account.env)
    assert len(account.see(log)) == account.requests == 1


@pytest.mark.parametrize(
    "name",
    [
        "LeadOperations.InsertDnc",
        "LeadOperations.DeleteDnc",
        "AgentDialListOperations.PhoneDialed",
        "AgentDialListOperations.PhoneUnDialed",
    ],
)
def test_what_changes_nothing_when_repeated_is_repeated(
    leads: Leads, home: Path, start_account: Callable[..., Account], name: str
) -> None:
    """After an answer that says nothing the call goes out again, and is accepted."""
    before = BEFORE.get(name, [])
    calls = sum(phone(1) in fields.values() for _, fields in before)
    account = start_account(plan={phone(1): ["none"] * calls + ["stored_empty"]})
    for script, fields in before:
        account.call(script, **fields)
    operation = CATALOGUE[name]
    given = ("load", table(home, operation, required(operation)), "-m", mapped(home, operation), "--max-contacts", 1)
    result = leads(*given, "--json", env=account.env)
    assert [(row["status"], row["attempts"]) for row in result.rows] == [("accepted", 2)]


def test_a_number_whose_answer_was_lost_is_on_its_list_and_in_doubt(
    leads: Leads, home: Path, start_account: Callable[..., Account]
) -> None:
    """The second call finds it there: its own, or someone else's, and nothing can tell."""
    account = start_account(plan={phone(1): ["stored_empty"]})
    account.call(MAKE_LIST[0], **MAKE_LIST[1])
    operation = CATALOGUE["AgentDialListOperations.AddPhone"]
    path = table(home, operation, required(operation))
    result = leads("load", path, "-m", mapped(home, operation), "--json", env=account.env)
    assert [(row["status"], row["attempts"]) for row in result.rows] == [("unknown", 2)]
    assert [line["phone"] for line in account.see("dial-lists")] == [phone(1)]


# --- names with spaces


@pytest.mark.parametrize("command", ["check", "load"])
def test_spaces_in_agent_and_list_names_get_a_word(leads: Leads, home: Path, account: Account, command: str) -> None:
    """The vendor advises against them: the run says so, and sends them as they are. Invalid rows don't count."""
    operation = CATALOGUE["AgentDialListOperations.CreateList"]
    rows = [
        {"Agent": "jane doe", "List": "Callbacks"},
        {"Agent": "jane doe", "List": "call backs"},
        {"Agent": "", "List": "not counted"},
        {"Agent": "anna", "List": "Callbacks"},
    ]
    result = leads(command, table(home, operation, *rows), "-m", mapped(home, operation), "--json", env=account.env)
    assert [note for note in result.json["notes"] if "spaces" in note] == [
        "Agent has spaces in 2 rows, such as 'jane doe': the vendor advises against them",
        "List has spaces in 1 row, such as 'call backs': the vendor advises against them",
    ]
    assert set(result.fates.values()) == {"accepted" if command == "load" else "valid", "invalid/missing"}


def test_spaces_are_looked_for_in_names_of_agents_and_dial_lists() -> None:
    """Wherever an operation takes one."""
    warned = {(f.name, op.path) for op in CATALOGUE.values() for f in op.fields if f.warn_spaces}
    assert {name for name, _ in warned} == {"Agent", "List", "CallbackAgent"}
    assert all(f.warn_spaces for op in CATALOGUE.values() for f in op.fields if f.name in ("Agent", "List"))


def test_names_without_spaces_and_other_names_get_none(leads: Leads, home: Path) -> None:
    """A playlist may be called as it likes."""
    operation = CATALOGUE["PlaylistOperations.AssignFilter"]
    result = leads("check", table(home, operation, full(operation)), "-m", mapped(home, operation), "--json")
    assert not [note for note in result.json["notes"] if "spaces" in note]


# --- the presets


PRESETS = {
    "dnc_insert": [{"Phone": "(202) 555-0101", "Name": "Ann"}, {"Phone": "416-555-0102", "Name": "Kim"}],
    "dnc_delete": [{"Phone": "(202) 555-0101"}],
    "sms": [{"Phone": "(202) 555-0101", "First Name": "Ann"}],
    "dial_list_add_phone": [{"Agent": "cara", "Phone": "(202) 555-0101"}],
    "search_lead": [{"Phone": "(202) 555-0101"}, {"Phone": "(202) 555-0102"}],
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_loads_a_list_as_people_keep_it(leads: Leads, home: Path, account: Account, name: str) -> None:
    """As it is shipped, with the suppress list that it names."""
    account.call(MAKE_LIST[0], **MAKE_LIST[1])
    account.insert("2025550101", FirstName="Ann")
    before = account.requests
    rows = PRESETS[name]
    path = write_csv(home / "list.csv", [list(rows[0]), *(list(row.values()) for row in rows)])
    write(home / "dnc.csv", "phone\n2025550199\n")
    result = leads("load", path, "-m", name, "--max-contacts", 2, "--json", env=account.env)
    assert {row["status"] for row in result.rows} == {"accepted"}
    assert len(result.rows) == account.requests - before
    if name == "search_lead":
        assert [(row["code"], row["lead_id"]) for row in result.rows] == [("found", "1"), ("not_found", None)]
        assert '"FirstName":"Ann"' in result.rows[0]["result"]
    if name == "sms":
        assert [text["message"] for text in account.see("texts")] == ["Hello Ann, your renewal is due."]


def test_every_new_preset_is_shipped() -> None:
    """By the names that stand in the README."""
    folder = Path(next(iter(shipped.__path__)))
    assert {path.stem for path in folder.glob("*.toml")} >= set(PRESETS)
