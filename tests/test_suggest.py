from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Account, Leads, phone, write, write_csv, write_xlsx
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import draft, mapping
from pipeline.draft import Reading
from pipeline.likeness import likeness, words
from pipeline.shapes import Column
from pipeline.suggest import CONFIDENT, Suggestion, Used, suggest
from pipeline.toml import quoted
from schemas.catalogue import CATALOGUE
from schemas.meanings import MEANINGS, Meaning, Shape

CORPORA = os.environ.get("LEADS_CORPORA")
CAMPAIGN = {"Campaign": "Spring Renewals"}


def columns(table: Mapping[str, Sequence[str]]) -> list[Column]:
    return [Column(header, pa.array(list(cells), pa.string())) for header, cells in table.items()]


def suggested(
    table: Mapping[str, Sequence[str]], operation: str = "InsertLead", used: Mapping[str, Used] | None = None
) -> Suggestion:
    return suggest(columns(table), CATALOGUE[operation], used or {}, {})


def taken(table: Mapping[str, Sequence[str]], operation: str = "InsertLead") -> dict[str, str]:
    return {one.field: one.column for one in suggested(table, operation).taken}


def cells(text: str) -> list[str]:
    """What stands between the bars."""
    return [" ".join(cell.split()) for cell in text.split("|")]


PHONES = [phone(i) for i in range(4)]
NAMES = ["Ada", "Ben", "Cleo", "Dan"]


# Headers


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("First Name", "first name"),
        ("firstName", "first name"),
        ("FIRST_NAME", "first name"),
        ("LeadID", "lead id"),
        ("Phone1", "phone 1"),
        ("Téléphone", "phone"),
        ("Policy #", "policy number"),
        ("address.address1", "address address 1"),
        ("Zip/Postal Code", "zip postal code"),
        ("Mobile_Phone__c", "mobile phone c"),
        ("", ""),
    ],
)
def test_headers_are_read_as_words(header: str, expected: str) -> None:
    """Whatever their case, accents, marks and camel case."""
    assert " ".join(words(header)) == expected


# Headers as the products export them, and under them the fields that take one.
PRODUCTS = {
    "salesforce report": (
        """Lead Owner | First Name | Last Name | Title | Company / Account | Lead Source | Rating | Street | Email
        | City | State/Province | Zip/Postal Code | Country | Phone | Mobile | Lead Status | Lead ID | Created
        Date""",
        """PrimaryPhone = Phone | ClientId = Lead ID | FirstName = First Name | LastName = Last Name | Address =
        Street | City = City | State = State/Province | ZipCode = Zip/Postal Code""",
    ),
    "salesforce contacts": (
        """Contact ID | Salutation | First Name | Last Name | Account Name | Mailing Street | Mailing City |
        Mailing State/Province | Mailing Zip/Postal Code | Phone | Mobile | Fax | Email | Contact Owner""",
        """PrimaryPhone = Phone | ClientId = Contact ID | FirstName = First Name | LastName = Last Name | Address =
        Mailing Street | City = Mailing City | State = Mailing State/Province | ZipCode = Mailing Zip/Postal Code""",
    ),
    "google contacts": (
        """First Name | Middle Name | Last Name | Notes | E-mail 1 - Label | E-mail 1 - Value | Phone 1 - Label |
        Phone 1 - Value | Address 1 - Street | Address 1 - City | Address 1 - Region | Address 1 - Postal Code""",
        """PrimaryPhone = Phone 1 - Value | FirstName = First Name | LastName = Last Name | Address = Address 1 -
        Street | City = Address 1 - City | State = Address 1 - Region | ZipCode = Address 1 - Postal Code | Notes =
        Notes""",
    ),
    "skip trace": (
        """Full Name | Mailing Address | Mailing City | Mailing State | Mailing Zip | Phone #1 | Phone #1 Type |
        Phone #2 | Property Address | Property City""",
        """PrimaryPhone = Phone #1 | FirstName = Full Name | Address = Mailing Address | City = Mailing City | State =
        Mailing State | ZipCode = Mailing Zip""",
    ),
    "run together": (
        "CustFirstName | lastname | CustPhone | streetaddress | state/prov | zipcode",
        """PrimaryPhone = CustPhone | FirstName = CustFirstName | LastName = lastname | Address = streetaddress | State
        = state/prov | ZipCode = zipcode""",
    ),
    "salesforce data loader": (
        """ID | ISDELETED | LASTNAME | FIRSTNAME | SALUTATION | NAME | TITLE | COMPANY | STREET | CITY | STATE |
        POSTALCODE | COUNTRY | PHONE | MOBILEPHONE | FAX | EMAIL | WEBSITE | LEADSOURCE | STATUS | OWNERID""",
        """PrimaryPhone = PHONE | ClientId = ID | FirstName = FIRSTNAME | LastName = LASTNAME | Address = STREET |
        City = CITY | State = STATE | ZipCode = POSTALCODE""",
    ),
    "hubspot": (
        """Record ID - Contact | First Name | Last Name | Email | Phone Number | Contact owner | Lead Status |
        Mobile Phone Number | Street Address | City | State/Region | Postal Code | Country/Region | Marketing
        contact status | Create Date | Associated Company | Associated Company IDs | Original Source""",
        """PrimaryPhone = Phone Number | ClientId = Record ID - Contact | FirstName = First Name | LastName = Last
        Name | Address = Street Address | City = City | State = State/Region | ZipCode = Postal Code""",
    ),
    "facebook lead ads": (
        """id | created_time | ad_id | ad_name | adset_id | adset_name | campaign_id | campaign_name | form_id |
        form_name | is_organic | platform | when_should_we_call_you? | full_name | email | phone_number |
        street_address | city | state | zip_code | lead_status""",
        """PrimaryPhone = phone_number | ClientId = id | FirstName = full_name | Address = street_address | City =
        city | State = state | ZipCode = zip_code""",
    ),
    "google ads": (
        """GCLID | User Email | User Phone | Full Name | City | Region | Postal Code | Campaign ID | Form ID""",
        """PrimaryPhone = User Phone | FirstName = Full Name | City = City | State = Region | ZipCode = Postal Code""",
    ),
    "zoho": (
        """Record Id | Lead Owner.id | Lead Owner | Company | First Name | Last Name | Full Name | Designation |
        Email | Phone | Fax | Mobile | Lead Source | Lead Status | Street | City | State | Zip Code |
        Description""",
        """PrimaryPhone = Phone | ClientId = Record Id | FirstName = First Name | LastName = Last Name | Address =
        Street | City = City | State = State | ZipCode = Zip Code | Notes = Description""",
    ),
    "pipedrive": (
        """Person - Name | Person - Phone - Work | Person - Phone - Mobile | Person - Email - Work | Person - ID |
        Organization - Name | Person - Owner""",
        """PrimaryPhone = Person - Phone - Mobile | FirstName = Person - Name | ClientId = Person - ID""",
    ),
    "vicidial": (
        """vendor_lead_code | source_id | list_id | phone_code | phone_number | title | first_name | middle_initial
        | last_name | address1 | address2 | address3 | city | state | province | postal_code | country_code |
        gender | date_of_birth | alt_phone | email | security_phrase | comments""",
        """ClientId = vendor_lead_code | PrimaryPhone = phone_number | FirstName = first_name | LastName =
        last_name | Address = address1 | City = city | State = state | ZipCode = postal_code | Notes = comments""",
    ),
    "outlook": (
        """Title | First Name | Middle Name | Last Name | Suffix | Company | Job Title | Home Street | Home City |
        Home State | Home Postal Code | Home Country/Region | Home Fax | Home Phone | Mobile Phone | E-mail
        Address""",
        """PrimaryPhone = Mobile Phone | FirstName = First Name | LastName = Last Name | Address = Home Street |
        City = Home City | State = Home State | ZipCode = Home Postal Code""",
    ),
    "french": (
        """Prénom | Nom | Téléphone | Courriel | Adresse | Ville | Code postal | Commentaires""",
        """PrimaryPhone = Téléphone | FirstName = Prénom | LastName = Nom | Address = Adresse | City = Ville |
        ZipCode = Code postal | Notes = Commentaires""",
    ),
}


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_columns_of_known_products_are_recognised(product: str) -> None:
    """By their headers alone: the columns are blank. Nothing of such an export is left open."""
    headers, expected = map(cells, PRODUCTS[product])
    found = suggested({header: ["", ""] for header in headers})
    assert {f"{one.field} = {one.column}" for one in found.taken} == {*expected}
    assert found.is_decided


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, lambda name: name.replace(" ", "_"), lambda name: f"  {name} "]
)
def test_case_and_separators_of_headers_make_no_difference(change) -> None:
    """As people and exports write them."""
    table = {"First Name": NAMES, "Last Name": NAMES, "Phone Number": PHONES, "Zip Code": ["98101"] * 4, "City": NAMES}
    found = taken({change(header): cells for header, cells in table.items()})
    assert found.keys() == {"FirstName", "LastName", "PrimaryPhone", "ZipCode", "City"}


def test_slips_of_the_pen_are_forgiven_where_the_values_agree() -> None:
    """Headers that nobody proof-read."""
    assert taken({"Nmae": NAMES, "Phne": PHONES, "Statu": ["Active", "Pending", "Active", "New"]}) == {
        "FirstName": "Nmae",
        "PrimaryPhone": "Phne",
    }


@pytest.mark.parametrize(
    "header", ["Agent Name", "Ad Name", "Company", "Country", "County", "Stage", "Rate", "Fax", "Index"]
)
def test_columns_that_only_sound_alike_are_left(header: str) -> None:
    """County is no country, and a stage no state."""
    found = suggested({header: NAMES, "Phone": PHONES})
    assert [one.field for one in found.taken] == ["PrimaryPhone"]
    assert found.is_decided


# Values


@pytest.mark.parametrize("header", ["Plaintiff Phone", "Company Phone Number", "phone_of_tenant"])
def test_a_phone_that_may_be_somebody_elses_is_left_open(header: str) -> None:
    """A header may say whose phone it is, in words that nobody foresaw: no phones in it make that sure."""
    found = suggested({header: PHONES, "First Name": NAMES})
    assert [one.column for one in found.open["PrimaryPhone"]] == [header]
    assert not found.is_decided
    assert found.open["PrimaryPhone"][0].confidence < CONFIDENT


@pytest.mark.parametrize("header", ["Emergency Contact Phone", "Spouse Phone", "Assistant Phone"])
def test_phones_known_to_be_somebody_elses_are_never_suggested(header: str) -> None:
    """Not even as a choice."""
    found = suggested({header: PHONES})
    assert (found.taken, found.open) == ((), {})
    assert [known.name for known in found.missing] == ["Campaign", "PrimaryPhone"]


def test_values_that_contradict_the_header_leave_the_choice_open() -> None:
    """A column of German states is headed State: none of them would be accepted."""
    found = suggested({"Phone": PHONES, "State": ["Bavaria", "Saxony", "Hesse", "Thuringia"]})
    assert list(found.open) == ["State"]
    assert "0 of 4 values are states" in found.open["State"][0].why


def test_phones_are_found_by_their_values_where_the_header_says_nothing() -> None:
    """As a choice for the user, not as a decision."""
    found = suggested({"Column A": PHONES, "Name": NAMES})
    assert [one.column for one in found.open["PrimaryPhone"]] == ["Column A"]


def test_of_several_phones_the_main_one_is_taken() -> None:
    """The others are no field of the vendor's, and are told as such."""
    table = {"Work Phone": PHONES, "Phone 2": PHONES, "Mobile": PHONES, "Phone 1": PHONES}
    assert taken(table) == {"PrimaryPhone": "Phone 1"}
    assert [column.header for column in suggested(table).left] == ["Work Phone", "Phone 2", "Mobile"]


def test_of_two_phones_the_blank_one_is_not_taken() -> None:
    """Rows without a phone can't be sent."""
    assert taken({"Phone": ["", "", "", PHONES[0]], "Mobile": PHONES}) == {"PrimaryPhone": "Mobile"}


def test_ids_that_repeat_are_no_clients_ids() -> None:
    """The lead that is found by one could be another's."""
    found = suggested({"Phone": PHONES, "Client ID": ["7", "7", "8", "8"]})
    assert list(found.open) == ["ClientId"]


def test_a_whole_name_goes_to_the_first_name_where_there_is_no_other() -> None:
    """The vendor has no field for it, and nobody can tell for sure where a last name begins."""
    assert taken({"Full Name": NAMES, "Phone": PHONES})["FirstName"] == "Full Name"
    assert taken({"Full Name": NAMES, "Last Name": NAMES, "Phone": PHONES}) == {
        "LastName": "Last Name",
        "PrimaryPhone": "Phone",
    }


def test_names_of_things_in_the_account_are_not_taken_from_a_likeness() -> None:
    """A CRM's owner need not be an agent of the dialer, an advertiser's campaign is none of its campaigns."""
    found = suggested({"Phone": PHONES, "Lead Owner": NAMES, "Campaign": NAMES})
    assert [one.field for one in found.taken] == ["PrimaryPhone"]
    assert {(one.field, one.column) for one in found.named} == {("Rep", "Lead Owner"), ("Campaign", "Campaign")}
    assert found.is_decided
    assert taken({"Phone": PHONES, "Rep": NAMES})["Rep"] == "Rep"  # the vendor's own word


def test_a_callback_needs_its_agent() -> None:
    """Fields that go together are taken together; the order of day and month is what the dates prove."""
    dates = ["12/31/2026 10:00", "01/02/2027 11:00"]
    both = suggested({"Phone": PHONES[:2], "Callback Date": dates, "Callback Agent": NAMES[:2]})
    assert {"CallbackDate", "CallbackAgent"} <= {one.field for one in both.taken}
    assert 'date_order = "mdy"' in draft.toml(both, Reading("x"))
    alone = suggested({"Phone": PHONES[:2], "Callback Date": dates})
    assert [one.field for one in alone.taken] == ["PrimaryPhone"]
    assert [one.field for one in alone.named] == ["CallbackDate"]


def test_dates_that_can_be_read_either_way_leave_their_order_open() -> None:
    """03/04 may be in March or in April."""
    table = {"Phone": PHONES[:1], "Callback Date": ["03/04/2027 10:00"], "Callback Agent": NAMES[:1]}
    assert suggested(table).undecided == ("date_order",)
    assert "# date_order" in draft.toml(suggested(table), Reading("x"))


@pytest.mark.parametrize(
    ("dates", "order"),
    [
        (["31/12/2026 10:00", "01/02/2027 10:00"], "dmy"),
        (["2026-12-31 10:00"], ""),
        (["31/12/2026", "12/31/2026"], None),
        ([], ""),
    ],
)
def test_the_order_of_dates_is_what_they_prove(dates: list[str], order: str | None) -> None:
    """None where they prove nothing, or both; "" where a year stands in front."""
    assert Column("d", pa.array(dates, pa.string())).date_order == order


def test_a_list_of_another_country_asks_for_its_region() -> None:
    """Nobody is called abroad because a suggestion said so."""
    found = suggested({"Phone": ["4165550100", "6135550101", PHONES[0]]})
    assert found.undecided == ("regions",)
    text = draft.toml(found, Reading("x"))
    assert '# regions = ["US", "CA"]' in text


# Operations


def test_an_update_finds_its_lead_by_id_else_by_phone() -> None:
    """The identifier's column is not sent as a field besides."""
    by_id = suggested({"Lead ID": ["1", "2"], "Phone": PHONES[:2], "City": NAMES[:2]}, "UpdateLead")
    assert by_id.constants == {"SearchField": "ClientId"}
    assert {one.field: one.column for one in by_id.taken} == {
        "Identifier": "Lead ID",
        "PrimaryPhone": "Phone",
        "City": "City",
    }
    by_phone = suggested({"Mobile": PHONES, "City": NAMES}, "UpdateLead")
    assert by_phone.constants == {"SearchField": "Phone"}
    assert {one.field: one.column for one in by_phone.taken} == {"Identifier": "Mobile", "City": "City"}


@pytest.mark.parametrize("operation", sorted(CATALOGUE))
def test_every_operation_gets_a_mapping(operation: str) -> None:
    """It is valid TOML under the operation's name, and the phone is found wherever one is needed."""
    table = {"Phone": PHONES, "First Name": NAMES, "Lead ID": ["1", "2", "3", "4"]}
    found = suggested(table, operation)
    read = mapping.parse(draft.toml(found, Reading("list.csv")), "m")
    assert read.operation == operation
    if field := CATALOGUE[operation].phone:
        assert read.fields[field].column == "Phone"


# Earlier mappings


def test_a_header_goes_where_it_went_before() -> None:
    """Whatever it looks like, custom and extra fields too; not into an operation that has no such field."""
    used = {
        "klantcode": Used("ClientId", "old.toml"),
        "e-post": Used("adv_Email", "old.toml"),
        "tel 2": Used("SecondaryPhone", "old.toml", 50),
    }
    table = {"Klantcode": NAMES, "E-post": ["a@example.test"] * 4, "Tel 2": PHONES, "Phone": PHONES}
    found = suggested(table, used=used)
    assert {one.field: one.column for one in found.taken} == {
        "PrimaryPhone": "Phone",
        "ClientId": "Klantcode",
        "SecondaryPhone": "Tel 2",
        "adv_Email": "E-post",
    }
    assert found.extra_fields == {"SecondaryPhone": 50}
    assert (
        mapping.findings(
            draft.toml(suggest(columns(table), CATALOGUE["InsertLead"], used, CAMPAIGN), Reading("x")), "m"
        )
        == []
    )
    assert {one.field for one in suggested(table, "LeadOperations.InsertDnc", used).taken} == {"Number"}


@pytest.mark.parametrize("header", ["1", "Column 1", "Field3"])
def test_a_position_does_not_go_where_it_went_before(header: str) -> None:
    """The first column of another list without a header may be the agent's phone."""
    used = {header.casefold(): Used("PrimaryPhone", "old.toml")}
    found = suggested({header: PHONES, "2": NAMES}, used=used)
    assert "PrimaryPhone" not in {one.field for one in found.taken}
    assert list(found.open) == ["PrimaryPhone"]


def test_a_header_goes_where_it_went_before_only_with_such_values() -> None:
    """What is no phone this time is left to the user."""
    found = suggested({"Contacto": NAMES}, used={"contacto": Used("PrimaryPhone", "old.toml")})
    assert [one.field for one in found.taken] == []
    assert found.open["PrimaryPhone"][0].why == "the header went there in old.toml; 0 of 4 fit"


def test_a_whole_name_that_was_taken_before_gives_way_to_a_first_name() -> None:
    """Else the last name would be there twice, since a list before this one had whole names only."""
    used = {"name": Used("FirstName", "old.toml")}
    table = {"Name": NAMES, "First Name": NAMES, "Last Name": NAMES, "Phone": PHONES}
    found = suggested(table, used=used)
    assert {one.field: one.column for one in found.taken} == {
        "FirstName": "First Name",
        "LastName": "Last Name",
        "PrimaryPhone": "Phone",
    }


# The text


@given(st.text())
@settings(max_examples=200)
def test_any_text_can_be_a_toml_string(text: str) -> None:
    """It reads back as it was, and stands on one line."""
    assert tomllib.loads(f"x = {quoted(text)}") == {"x": text}
    assert quoted(text).isprintable()


@given(
    st.dictionaries(
        st.text(max_size=8).map(str.strip).filter(bool),
        st.lists(st.text(max_size=8), min_size=2, max_size=2),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=30)
def test_every_suggestion_is_a_mapping_whatever_the_list_holds(table: dict[str, list[str]]) -> None:
    """Quotes, line ends and control characters of headers and values change nothing of it."""
    text = draft.toml(suggested({**table, "Phone": PHONES[:2]}), Reading('a "file"\n.csv', notes=("a\nnote",)))
    read = mapping.parse(text, "m")
    named = mapping.columns_named(read)
    assert named <= {*table, "Phone"}


def test_a_line_says_how_sure_it_is_and_why() -> None:
    """With two of the values, cut where they are long."""
    text = draft.toml(suggested({"Phone": PHONES, "Notes": ["x" * 100, "", "", ""]}), Reading("list.csv"))
    assert (
        f'PrimaryPhone = "Phone" # 1.00: the header; 4 of 4 values are phones; such as "{PHONES[0]}", "{PHONES[1]}"'
        in text
    )
    assert f'such as "{"x" * 23}…"' in text


def test_columns_without_a_field_are_shown_as_custom_fields_to_choose() -> None:
    """None is sent by itself: a campaign that lacks the field would drop it in silence."""
    text = draft.toml(suggested({"Phone": PHONES, "Job.Title": NAMES}), Reading("x"))
    assert '# "adv_Job Title" = "Job.Title"' in text
    assert mapping.parse(text, "m").unmapped == "ignore"
    of_dnc = draft.toml(suggested({"Phone": PHONES, "Reason": NAMES}, "LeadOperations.InsertDnc"), Reading("x"))
    assert '# No field takes these columns: "Reason"' in of_dnc


def test_words_for_nothing_become_null_tokens() -> None:
    """Those that can be nothing else; somebody may be called None."""
    text = draft.toml(suggested({"Phone": [*PHONES, "N/A"], "Last Name": [*NAMES, "None"]}), Reading("x"))
    assert 'null_tokens = ["N/A"]' in text


def test_a_column_of_people_not_to_be_called_is_pointed_out() -> None:
    """The mapping leaves nobody out by itself."""
    text = draft.toml(suggested({"Phone": PHONES, "Do Not Call": ["1", "0", "0", "0"]}), Reading("x"))
    assert '# ATTENTION, column "Do Not Call"' in text


def test_people_not_to_be_called_are_pointed_out_on_the_screen(leads: Leads, home: Path) -> None:
    """Who writes the mapping to a file need not open it before the load."""
    path = write_csv(home / "list.csv", [["Phone", "Do Not Call"], *([one, "1"] for one in PHONES)])
    told = leads("mapping", "suggest", path, "--campaign", "Spring Renewals", "-o", "new.toml")
    assert 'ATTENTION, column "Do Not Call": rows that are marked there are not left out' in told.err


def test_reading_decisions_stand_under_source() -> None:
    """As they must be said for the list to be read alike."""
    text = draft.toml(suggested({"1": PHONES}), Reading("x", {"sheet": 'A "b"', "header_row": 0}))
    assert tomllib.loads(text)["source"] == {"sheet": 'A "b"', "header_row": 0}


# The data


def test_no_spelling_stands_for_two_fields() -> None:
    """Each header that is a spelling goes to one meaning, and to the one that lists it."""
    seen: dict[tuple[str, ...], Meaning] = {}
    for meaning in MEANINGS:
        for spelling in (spelling for tier in meaning.tiers for spelling in tier):
            assert likeness(spelling, meaning).same
            other = seen.setdefault(words(spelling), meaning)
            assert other is meaning or not (other.fields and meaning.fields), spelling


def test_meanings_name_fields_that_exist() -> None:
    """Of some operation, or values by which a lead is looked up."""
    known = {field.name for operation in CATALOGUE.values() for field in operation.fields}
    assert {name for meaning in MEANINGS for name in meaning.fields} <= known


@pytest.mark.parametrize("shape", list(Shape))
def test_a_blank_column_has_any_shape(shape: Shape) -> None:
    """Nothing speaks against it."""
    share = Column("x", pa.array(["", " ", "N/A"], pa.string())).share(shape)
    assert (share.right, share.total, share.agreement) == (0, 0, 1.0)


# From a file to the dialer


INVENTED = {
    "us-500": (
        """first_name | last_name | company_name | address | city | county | state | zip | phone1 | phone2 | email
        | web""",
        """Ada | Lee | Lee, Inc | 1 Main St | Boston | Suffolk | MA | 2139 | 617-555-0100 | 617-555-0101 |
        a@example.test | x""",
    ),
    "salesforce": (
        """Lead ID | FirstName | LastName | Email | Phone | Company | LeadSource | Status | OwnerId""",
        """00Q1 | Ada | Lee | a@example.test | (617) 555-0100 | Lee Inc | Web | Open | 005xx""",
    ),
    "hubspot": (
        """Record ID | First Name | Last Name | Email | Phone Number | Lead Status | Create Date | Original Source""",
        """1 | Ada | Lee |  | +1 617-555-0100 | NEW | 2024-01-15 10:00 | ORGANIC_SEARCH""",
    ),
    "facebook": (
        """id | created_time | ad_name | adset_name | campaign_name | form_name | is_organic | platform | full_name
        | email | phone_number | city | state | country""",
        """l:123 | 2024-06-01 | Ad | Set | Q2 | Form | false | fb | Ada Lee | a@example.test | +16175550100 |
        Boston | MA | US""",
    ),
}


@pytest.mark.parametrize(("kind", "ending"), [*((kind, "csv") for kind in INVENTED), ("us-500", "xlsx")])
def test_a_suggestion_loads_with_nothing_but_the_campaign_added(
    leads: Leads, home: Path, account: Account, kind: str, ending: str
) -> None:
    """Suggested without a campaign it refuses to load, and says what to fill in; with it, every row arrives."""
    path = home / f"list.{ending}"
    (write_csv if ending == "csv" else write_xlsx)(path, [cells(text) for text in INVENTED[kind]])
    told = leads("mapping", "suggest", path, "-o", "new.toml")
    assert told.code == 0
    assert "fill in, in new.toml: Campaign" in told.err
    refused = leads("load", path, "-m", "new.toml", env=account.env)
    assert (refused.code, account.requests) == (2, 0)
    assert "Campaign: InsertLead needs it; fill in the empty value" in refused.err
    text = (home / "new.toml").read_text("utf-8")
    write(home / "new.toml", text.replace('value = ""', 'value = "Spring Renewals"'))
    assert leads("load", path, "-m", "new.toml", "--json", env=account.env).json["counts"] == {"accepted": 1}
    lead = account.leads()["6175550100"]
    assert lead["FirstName"].startswith("Ada")


REAL = [
    "brian-dunning-500/us-500.crlf.csv",
    "brian-dunning-500/us-500.xlsx",
    "groweasy-lead-demos/real-world__salesforce-leads.csv",
    "groweasy-lead-demos/real-world__hubspot-export.csv",
    "groweasy-lead-demos/real-world__facebook-leads-realistic.csv",
    "groweasy-lead-demos/01-facebook-leads-standard.csv",
    "groweasy-lead-demos/02-facebook-leads-messy-headers.csv",
    *(
        f"salesforce/sf-plugin-data-{kind}.csv"
        for kind in ("comma", "comma_wrapped_values", "pipe", "semicolon", "tab")
    ),
]


@pytest.mark.skipif(not CORPORA, reason="LEADS_CORPORA is not set")
@pytest.mark.parametrize("name", REAL)
def test_real_exports_load_with_nothing_but_the_campaign(leads: Leads, home: Path, account: Account, name: str) -> None:
    """Only rows whose own phone or state is none are refused."""
    path = Path(CORPORA or "") / "1_leads" / name
    assert leads("mapping", "suggest", path, "--campaign", "Spring Renewals", "-o", "new.toml").code == 0
    loaded = leads("load", path, "-m", "new.toml", "--json", env=account.env)
    assert loaded.code in (0, 1)
    assert set(loaded.json["counts"]) <= {"accepted", "invalid", "skipped"}
    refused = [problem for row in loaded.rows for problem in row["problems"] or [] if row["status"] == "invalid"]
    assert {problem["field"] for problem in refused} <= {"PrimaryPhone", "State", "ZipCode"}
    assert len(account.leads()) == loaded.json["counts"].get("accepted", 0)
