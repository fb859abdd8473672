from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from conftest import Account, Leads, phone, write, write_csv, write_xlsx

import mappings as shipped
from pipeline import mapping
from pipeline.cli import cli
from pipeline.mapping import MappingFile
from pipeline.mapping_schema import WORDS, json_schema
from schemas.catalogue import CATALOGUE

CORPORA = os.environ.get("LEADS_CORPORA")
HEADER = ["Phone", "First Name", "Klant", "Lead Owner"]
ROWS = [HEADER, [phone(0), "Ada", "K-1", "Eve"], [phone(1), "Ben", "K-2", "Eve"], [phone(2), "Cleo", "K-3", "Kim"]]
SHIPPED = sorted(path for folder in shipped.__path__ for path in Path(folder).glob("*.toml"))
GOOD = """operation = "InsertLead"
unmapped = "ignore"
[fields]
PrimaryPhone = "Phone"
Campaign = { value = "Demo" }
"""


@pytest.fixture
def listed(home: Path) -> Path:
    return write_csv(home / "list.csv", ROWS)


# leads mapping suggest


def test_the_mapping_is_the_output(leads: Leads, listed: Path) -> None:
    """stdout holds TOML and nothing else: it can go into a file; what is left to do stands on stderr."""
    result = leads("mapping", "suggest", listed)
    assert result.code == 0
    assert tomllib.loads(result.out)["fields"]["PrimaryPhone"] == "Phone"
    assert result.err == "leads: fill in, in the mapping: Campaign\n"
    assert leads("mapping", "suggest", listed, "--campaign", "Demo").err == ""


def test_a_file_that_is_there_is_not_replaced(leads: Leads, listed: Path, home: Path) -> None:
    """Somebody may have edited it; --force replaces it."""
    write(home / "new.toml", "mine")
    refused = leads("mapping", "suggest", listed, "-o", "new.toml")
    assert refused.code == 2
    assert "new.toml: is there already" in refused.err
    assert (home / "new.toml").read_text() == "mine"
    assert leads("mapping", "suggest", listed, "-o", "new.toml", "--force").code == 0
    assert (home / "new.toml").read_text().endswith('dialing = "import-only" # no call goes out because of this load\n')


def test_the_settings_are_not_written_over(leads: Leads, listed: Path, home: Path) -> None:
    """Every later command would take the mapping for settings, and refuse to begin."""
    refused = leads("mapping", "suggest", listed, "-o", "leads.toml", "--force")
    assert refused.code == 2
    assert "leads.toml: is where settings are read from" in refused.err
    assert not (home / "leads.toml").exists()


def test_a_place_that_cannot_be_written_is_told(leads: Leads, listed: Path) -> None:
    """In one line."""
    refused = leads("mapping", "suggest", listed, "-o", "lost/new.toml")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "can't be written" in refused.err


def test_open_choices_exit_with_1_and_are_named(leads: Leads, home: Path) -> None:
    """The mapping is there all the same, with the candidates as comments."""
    path = write_csv(home / "list.csv", [["Plaintiff Phone"], [phone(0)], [phone(1)], [phone(2)]])
    result = leads("mapping", "suggest", path, "-o", "new.toml")
    assert result.code == 1
    assert "decide in new.toml: PrimaryPhone" in result.err
    text = (home / "new.toml").read_text()
    assert '\n# PrimaryPhone = "Plaintiff Phone" # 0.7' in text
    write(home / "new.toml", text.replace("# PrimaryPhone", "PrimaryPhone").replace('""', '"Demo"'))
    assert leads("check", path, "-m", "new.toml").code == 0


def test_the_candidates_come_as_data(leads: Leads, listed: Path) -> None:
    """One object, with the text of the mapping in it."""
    told = leads("mapping", "suggest", listed, "--json").json
    assert told["fields"][0] | {"why": ""} == {"field": "PrimaryPhone", "column": "Phone", "confidence": 1.0, "why": ""}
    assert (told["missing"], told["left"], told["decided"]) == (["Campaign"], ["Klant"], True)
    assert told["names"][0]["field"] == "Rep"
    assert told["mapping"] == leads("mapping", "suggest", listed).out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--operation", "InsertLed"], "did you mean 'InsertLead'"),
        (["--operation", "LeadOperations.InsertDnc", "--campaign", "Demo"], "takes none"),
        (["--delimiter", "||"], "can't be used"),
    ],
)
def test_options_that_cannot_be_are_refused(leads: Leads, listed: Path, args: list[str], words: str) -> None:
    """In one line, with exit code 2."""
    refused = leads("mapping", "suggest", listed, *args)
    assert (refused.code, refused.out) == (2, "")
    assert words in refused.err


def test_a_file_that_cannot_be_read_is_told(leads: Leads, home: Path) -> None:
    """As by every other command."""
    refused = leads("mapping", "suggest", "lost.csv")
    assert refused.code == 4
    assert "lost.csv" in refused.err


def test_a_file_is_found_as_by_every_other_command(leads: Leads, home: Path) -> None:
    """Compressed, or by a pattern; where that names several lists, one is to be chosen."""
    text = "".join(",".join(row) + "\n" for row in ROWS)
    write(home / "list.csv.gz", gzip.compress(text.encode()))
    result = leads("mapping", "suggest", "list*", "--campaign", "Demo", "-o", "new.toml")
    assert (result.code, result.err) == (0, "leads: then: leads check 'list*' -m new.toml\n")
    assert leads("mapping", "check", "new.toml", "list.csv.gz").code == 0
    write(home / "list2.csv", text)
    refused = leads("mapping", "suggest", "list*")
    assert (refused.code, "2 files match" in refused.err) == (2, True)


def test_what_was_said_about_the_file_goes_into_the_mapping(leads: Leads, home: Path) -> None:
    """So that it is read alike by the load: delimiter, header, encoding, sheet."""
    path = write(home / "list.csv", f"Liste\nTéléphone^Prénom\n{phone(0)}^Zoé\n".encode("cp1252"))
    given = ("--delimiter", "^", "--header-row", "2", "--encoding", "cp1252", "--campaign", "Demo")
    text = leads("mapping", "suggest", path, *given, "-o", "new.toml").err
    source = tomllib.loads((home / "new.toml").read_text("utf-8"))["source"]
    assert source == {"delimiter": "^", "header_row": 2, "encoding": "cp1252"}, text
    assert leads("check", path, "-m", "new.toml").code == 0
    book = write_xlsx(home / "book.xlsx", ROWS, sheet="Blatt 1")
    assert tomllib.loads(leads("mapping", "suggest", book, "--sheet", "Blatt 1").out)["source"] == {"sheet": "Blatt 1"}


@pytest.mark.parametrize("rows", [[[phone(0), "Ada"], [phone(1), "Ben"]], [["M", "M", phone(0)], ["M", "F", phone(1)]]])
def test_a_list_without_a_header_is_seen_as_one(leads: Leads, home: Path, rows: list[list[str]]) -> None:
    """Its first row holds a phone: the mapping says header_row = 0, and its columns are open to choose."""
    path = write_csv(home / "list.csv", [*rows, *rows, *rows])
    result = leads("mapping", "suggest", path)
    assert (result.code, tomllib.loads(result.out)["source"]) == (1, {"header_row": 0})
    assert '# PrimaryPhone = "' in result.out


def test_a_header_of_two_like_names_is_no_list_without_a_header(leads: Leads, home: Path) -> None:
    """It is refused as it would be by a load."""
    path = write_csv(home / "list.csv", [["Name", "Name", "Phone"], ["Ada", "Lee", phone(0)]])
    assert leads("mapping", "suggest", path).code == 4


# Earlier mappings


def test_a_header_goes_where_a_load_sent_it(leads: Leads, listed: Path, home: Path, account: Account) -> None:
    """Where a row was accepted, the mapping was right: the next list with that header gets the same field."""
    text = GOOD.replace("[fields]", '[fields]\nClientId = "Klant"')
    write(home / "mine.toml", text.replace("Demo", "Spring Renewals"))
    assert "Klant" in leads("mapping", "suggest", listed, "--json").json["left"]
    assert leads("load", listed, "-m", "mine.toml", env=account.env).code == 0
    found = leads("mapping", "suggest", listed, "--json").json["fields"]
    assert {key: value for key, value in found[1].items() if key != "why"} == {
        "field": "ClientId",
        "column": "Klant",
        "confidence": 0.98,
    }
    assert "the header went there in mine.toml of run" in found[1]["why"]
    other = leads("mapping", "suggest", listed, "--operation", "UpsertLead", "--json").json
    assert "Klant" in other["left"]


def test_a_check_is_no_proof_of_a_mapping(leads: Leads, listed: Path, home: Path) -> None:
    """Nothing was accepted: it may have been tried and found wrong."""
    write(home / "mine.toml", GOOD.replace("[fields]", '[fields]\nClientId = "Klant"'))
    assert leads("check", listed, "-m", "mine.toml").code == 0
    assert "Klant" in leads("mapping", "suggest", listed, "--json").json["left"]


def test_mappings_in_the_folder_count_and_damaged_ones_are_named(leads: Leads, listed: Path, home: Path) -> None:
    """./mappings are the user's own; those that are shipped say nothing of the user's columns."""
    write(home / "mappings" / "mine.toml", GOOD.replace("[fields]", '[fields]\nRep = "Lead Owner"'))
    write(home / "mappings" / "torn.toml", "operation = ")
    result = leads("mapping", "suggest", listed)
    assert tomllib.loads(result.out)["fields"]["Rep"] == "Lead Owner"
    assert "not looked at: mapping mappings/torn.toml" in result.err


def test_shipped_mappings_are_no_history(leads: Leads, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the working directory is the checkout itself, ./mappings are the shipped ones."""
    monkeypatch.chdir(SHIPPED[0].parent.parent)
    assert "Rep" not in tomllib.loads(leads("mapping", "suggest", listed).out)["fields"]


# leads mapping check


def test_a_good_mapping_is_fine(leads: Leads, listed: Path, home: Path) -> None:
    """With a file, it says what of it is not sent."""
    write(home / "m.toml", GOOD)
    assert (leads("mapping", "check", "m.toml").code, leads("mapping", "check", "m.toml").out) == (0, "m.toml: fine\n")
    with_file = leads("mapping", "check", "m.toml", listed)
    assert with_file.code == 0
    assert with_file.out.splitlines() == [
        "columns not sent: First Name, Klant, Lead Owner",
        "m.toml: fine, and fits " + str(listed),
    ]
    assert leads("mapping", "check", "m.toml", listed, "--json").json["findings"] == []


BAD = """operation = "InsertLead"
[fields]
Campaing = { value = "Demo" }
Cty = "City"
PrimaryPhone = { column = "Phone", clean = "text" }
[lengths]
Stat = 2
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BAD, ["'Campaing'", "'Cty'", "clean can't be set", "'Stat'", "needs Campaign"]),
        (GOOD + "City = 5\nState = { colum = 'x' }\n", ["fields.City", "'fields.State.colum'"]),
        ("operation = ", ["not valid TOML"]),
        (GOOD.replace("InsertLead", "InsertLed"), ["did you mean 'InsertLead'"]),
        (GOOD.replace("Demo", " "), ["Campaign: InsertLead needs it; fill in the empty value"]),
    ],
)
def test_all_that_is_wrong_is_told_a_line_each(leads: Leads, home: Path, text: str, words: list[str]) -> None:
    """Not the first of it only; exit code 2."""
    write(home / "m.toml", text)
    result = leads("mapping", "check", "m.toml")
    lines = result.out.splitlines()
    assert (result.code, len(lines)) == (2, len(words)), lines
    assert all(any(word in line for line in lines) for word in words), lines


def test_every_column_that_the_file_lacks_is_told(leads: Leads, home: Path, listed: Path) -> None:
    """With the nearest that it has; and columns that nobody mentions, where the mapping wants that."""
    write(home / "m.toml", GOOD + 'City = "Town"\nFirstName = "First"\n')
    result = leads("mapping", "check", "m.toml", listed)
    assert result.code == 2
    assert ["'First'" in line for line in result.out.splitlines()] == [True, False]
    write(home / "m.toml", GOOD.replace("ignore", "error"))
    assert "doesn't mention: 'First Name', 'Klant', 'Lead Owner'" in leads("mapping", "check", "m.toml", listed).out


def test_a_mapping_that_is_not_there_is_told(leads: Leads) -> None:
    """With those that there are."""
    refused = leads("mapping", "check", "gneric")
    assert (refused.code, refused.out) == (2, "")
    assert "did you mean 'generic'" in refused.err


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_mappings_pass_the_check(leads: Leads, path: Path) -> None:
    """By their names."""
    assert leads("mapping", "check", path.stem).code == 0


# leads mapping schema


def test_the_schema_has_words_for_every_key() -> None:
    """An editor shows them; a new key of the grammar needs its line in WORDS."""
    schema = json_schema()
    described = {"MappingFile": schema, **schema["$defs"]}
    keys = {f"{name}.{key}" for name, definition in described.items() for key in definition["properties"]}
    assert keys == set(WORDS)
    assert all(about["description"] for one in described.values() for about in one["properties"].values())


def test_the_schema_knows_what_the_grammar_knows(leads: Leads) -> None:
    """Keys, operations, and columns in their short form; no key may be null."""
    schema = json.loads(leads("mapping", "schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == set(MappingFile.model_fields)
    assert (schema["required"], schema["additionalProperties"]) == (["operation", "fields"], False)
    assert schema["properties"]["operation"]["enum"] == list(CATALOGUE)
    assert schema["properties"]["fields"]["additionalProperties"]["anyOf"][0]["type"] == "string"
    assert '"null"' not in json.dumps(schema)


def names_allowed(operation: str) -> list[dict[str, object]]:
    """The names of fields that the schema allows for an operation without extra fields."""
    rule = next(r for r in json_schema()["allOf"] if r["if"]["properties"]["operation"]["const"] == operation)
    found = rule["then"]["anyOf"][1]["properties"]["fields"]["propertyNames"]["anyOf"]
    assert isinstance(found, list)
    return found


def test_the_schema_names_the_fields_of_each_operation() -> None:
    """Not those that policy sets; custom ones where the operation takes any."""
    documented, custom = names_allowed("InsertLead")
    assert documented["enum"] == [field.name for field in CATALOGUE["InsertLead"].fields if not field.from_policy]
    assert custom == {"pattern": "^adv_"}
    assert names_allowed("LeadOperations.InsertDnc") == [{"enum": ["Number"]}]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_schema_allows_the_fields_of_shipped_mappings(path: Path) -> None:
    """Every name in them is one that an editor would offer."""
    read = mapping.parse(path.read_text("utf-8"), path.name)
    documented, *custom = names_allowed(read.operation)
    names = documented["enum"]
    assert isinstance(names, list)
    assert all(name in names or (custom and name.startswith("adv_")) for name in read.fields)


# Presets


def test_an_export_of_hubspot_loads_with_its_preset(leads: Leads, home: Path, account: Account) -> None:
    """As HubSpot heads its columns; its id is the lead's."""
    header = ["Record ID", "First Name", "Last Name", "Email", "Phone Number", "Lead Status", "Create Date"]
    path = write_csv(home / "c.csv", [header, ["51", "Ada", "Lee", "", "+1 202-555-0100", "NEW", "2024-01-15 10:00"]])
    assert leads("load", path, "-m", "hubspot_contacts", env=account.env).code == 0
    lead = account.leads()["2025550100"]
    assert (lead["ClientId"], lead["FirstName"], lead["LastName"]) == ("51", "Ada", "Lee")


FACEBOOK = [
    "id",
    "created_time",
    "ad_id",
    "ad_name",
    "form_name",
    "is_organic",
    "platform",
    "full_name",
    "phone_number",
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_leads_of_facebook_load_with_their_preset(leads: Leads, home: Path, account: Account, encoding: str) -> None:
    """With tabs, too, as its older exports have them."""
    rows = [FACEBOOK, ["l:1", "2024-06-01", "ag:2", "Ad", "Form", "false", "fb", "Ada Lee", "+12025550100"]]
    mark = "," if encoding == "utf-8" else "\t"
    path = write(home / "f.csv", "".join(mark.join(row) + "\n" for row in rows).encode(encoding))
    assert leads("load", path, "-m", "facebook_lead_ads", env=account.env).code == 0
    lead = account.leads()["2025550100"]
    assert (lead["ClientId"], lead["FirstName"], lead["Notes"]) == ("l:1", "Ada Lee", "Form / Ad")


@pytest.mark.parametrize("name", ["hubspot_contacts", "facebook_lead_ads"])
def test_lines_to_choose_from_in_a_preset_are_right(name: str) -> None:
    """Each commented line, taken alone, makes a valid mapping."""
    text = next(path for path in SHIPPED if path.stem == name).read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("# ") and " = " in line]
    assert lines
    for line in lines:
        chosen = line.removeprefix("# ")
        field = chosen.partition(" = ")[0]
        kept = [other for other in text.splitlines() if not other.startswith(f"{field} = ")]
        assert mapping.findings("\n".join(kept).replace(line, chosen), name) == []


@pytest.mark.skipif(not CORPORA, reason="LEADS_CORPORA is not set")
@pytest.mark.parametrize(
    ("preset", "file"), [("hubspot_contacts", "hubspot-export"), ("facebook_lead_ads", "facebook-leads-realistic")]
)
def test_presets_fit_real_exports(leads: Leads, preset: str, file: str) -> None:
    """Their columns are all there."""
    path = Path(CORPORA or "") / "1_leads" / "groweasy-lead-demos" / f"real-world__{file}.csv"
    assert leads("mapping", "check", preset, path).code == 0


# The shell


def completed(args: list[str], begun: str) -> set[str]:
    return {item.value for item in BashComplete(cli, {}, "leads", "_LEADS_COMPLETE").get_completions(args, begun)}


def test_the_shell_completes_mappings_and_operations(home: Path) -> None:
    """The user's own beside those that are shipped."""
    write(home / "mappings" / "gentle.toml", GOOD)
    assert completed(["check", "x.csv", "-m"], "gen") == {"generic", "gentle"}
    assert completed(["mapping", "check"], "gen") == {"generic", "gentle"}
    assert "UpsertLead" in completed(["mapping", "suggest", "--operation"], "Up")


def test_help_loads_nothing_heavy() -> None:
    """`leads --help` is quick: what reads and fits lists is loaded by the commands."""
    loaded = "import pipeline.cli, sys; print({'pandas', 'rapidfuzz', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
