"""What columns of lead lists hold, and how CRMs, ad platforms and people head them: data for suggesting mappings.

Spellings are compared as `pipeline.likeness` reads headers: whatever their case, accents, underscores and camel case.
Among them are those of Salesforce, HubSpot, Zoho, Pipedrive, Bullhorn, Vicidial, Outlook, Google Contacts, Facebook
Lead Ads and Google Ads, and some of French, Spanish and German lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

# Cells that say "nothing". "None" and "NA" are not among them: somebody may be called so.
NULL_WORDS = ("N/A", "n/a", "NULL", "null", "(null)", "NaN", "-", "--")
# What says so where a cell was refused, in capitals.
NULL_WORDS_OF_REFUSED = frozenset(word.upper() for word in NULL_WORDS) | frozenset(
    ("NA", "N.A.", "#N/A", "NONE", "NIL", "UNKNOWN", "NOT PROVIDED", "TBD", "?")
)


class Shape(StrEnum):
    """What the values of a column look like."""

    PHONE = "phones"
    STATE = "states"
    ZIP = "ZIP codes"
    DATE = "dates"
    EMAIL = "email addresses"
    PERSON = "names"
    ID = "unique"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """Something that a column may hold.

    `tiers` are its spellings: where a list has several such columns, one of an earlier tier is the likelier. `fields`
    are the vendors' fields that take it, and values of `SearchField` that stand for it; where there are none, the
    column is known not to be something else that it may look like.
    """

    tiers: tuple[tuple[str, ...], ...]
    fields: tuple[str, ...] = ()
    shape: Shape = Shape.TEXT
    loose: bool = False  # a header with more words may be it, too: for the user to say
    qualifiers: frozenset[str] = frozenset()  # words that may stand beside it
    in_place_of: frozenset[str] = frozenset()  # fields: it is taken only where none of them has a column
    warning: str = ""  # what its presence in a list means for people


# Words that say nothing of what a column holds.
NEUTRAL = frozenset(
    (
        *("1", "lead", "leads", "contact", "customer", "client", "prospect", "person", "consumer", "individual"),
        *("user",),
        *("applicant", "my", "your", "you", "the", "what", "which", "is", "are", "do", "please", "enter", "provide"),
        *("best", "preferred", "current", "to", "reach", "at", "of", "in", "live", "field", "value", "text", "only"),
        "c",  # Phone__c
    )
)

SYNONYMS = MappingProxyType(
    {
        "telephone": "phone",
        "tel": "phone",
        "telefonnummer": "phone",
        "ph": "phone",
        "phones": "phone",
        "telefono": "phone",
        "telefon": "phone",
        "mob": "mobile",
        "portable": "mobile",
        "movil": "mobile",
        "handy": "mobile",
        "handynummer": "mobile",
        "cellular": "cell",
        "celular": "cell",
        "cellphone": "cell",
        "cust": "customer",
        "prov": "province",
        "no": "number",
        "nr": "number",
        "num": "number",
        "nbr": "number",
        "numero": "number",
        "nummer": "number",
        "addr": "address",
        "adresse": "address",
        "direccion": "address",
        "postcode": "postal",
        "organisation": "organization",
        "courriel": "email",
        "emails": "email",
    }
)

_OF_A_PLACE = frozenset({"mailing", "home", "billing", "primary", "residential", "residence", "physical", "address"})

MEANINGS = (
    Meaning(
        fields=("PrimaryPhone", "Phone", "Number", "To", "phone_to_call"),
        shape=Shape.PHONE,
        loose=True,
        tiers=(
            (
                *("phone", "phone number", "primary phone", "primary phone number", "main phone", "contact number"),
                *("number de phone", "daytime phone", "day phone", "phone main", "phone to call"),
            ),
            (
                *("mobile", "mobile phone", "mobile number", "mobile phone number", "cell", "cell phone"),
                *("cell number", "cell phone number", "sms number", "wireless", "whatsapp number", "phone mobile"),
            ),
            ("home phone", "home number", "home phone number", "evening phone", "residential phone", "private phone"),
            (
                *("work phone", "work number", "work phone number", "business phone", "office phone", "direct phone"),
                *("direct dial", "work direct phone", "direct phone number", "business phone number", "number"),
                *("other phone", "alternate phone", "alt phone", "secondary phone", "phone 2", "phone 3", "phone 4"),
                *("phone number 2", "phone number 3", "second phone", "additional phone", "other phone number"),
            ),
        ),
    ),
    # Numbers that reach somebody else, or nobody.
    Meaning(
        tiers=(
            (
                *("fax", "fax number", "fax 2", "fax 3", "home fax", "business fax", "other fax", "pager"),
                *("assistant phone", "asst phone", "assistants phone", "emergency phone", "emergency contact phone"),
                *("spouse phone", "agent phone", "owner phone", "referrer phone", "manager phone"),
                *("phone type", "phone code", "phone country code", "phone ext", "phone extension", "extension", "ext"),
                *("phone carrier", "line type", "phone line type", "phone status", "phone valid", "phone verified"),
                *("campaign phone", "tracking number", "dialed number"),
            ),
        ),
    ),
    Meaning(
        fields=("FirstName",),
        shape=Shape.PERSON,
        tiers=(
            ("first name", "fname", "f name", "given name", "forename", "first", "name first"),
            ("prenom", "vorname", "nombre", "nombres"),
        ),
    ),
    Meaning(
        fields=("LastName",),
        shape=Shape.PERSON,
        tiers=(
            ("last name", "lname", "l name", "surname", "family name", "last", "name last"),
            ("nom", "nom de famille", "nachname", "familienname", "apellido", "apellidos"),
        ),
    ),
    Meaning(
        fields=("FirstName",),
        in_place_of=frozenset({"FirstName", "LastName"}),
        shape=Shape.PERSON,
        tiers=(
            ("full name", "name", "first and last name", "first last name", "complete name", "fullname"),
            ("nom complet", "nombre completo", "nombre y apellido", "display name"),
            ("contact", "client", "customer", "prospect", "lead", "contact person"),
        ),
    ),
    Meaning(
        fields=("Address",),
        qualifiers=_OF_A_PLACE,
        tiers=(
            ("address", "street", "street address", "address line", "street line", "address street", "home address"),
            ("rue", "calle", "strasse", "anschrift", "domicilio", "address address"),
        ),
    ),
    Meaning(
        tiers=(
            (
                *("address 2", "address line 2", "street 2", "street address 2", "address 3", "address line 3"),
                *("apt", "apartment", "unit", "suite", "address address 2", "mailing address 2", "po box"),
                *("email address", "web address", "ip address", "address type"),
            ),
        ),
    ),
    Meaning(
        fields=("City",),
        qualifiers=_OF_A_PLACE,
        tiers=(
            ("city", "town", "city town", "locality", "city name", "municipality"),
            ("ville", "ciudad", "stadt", "ort", "suburb"),
        ),
    ),
    Meaning(
        fields=("State",),
        shape=Shape.STATE,
        qualifiers=_OF_A_PLACE,
        tiers=(
            (
                *("state", "state province", "state region", "state region code", "state code", "state abbreviation"),
                *("state abbr",),
                *("state name", "us state", "state province region", "state or province", "state province code"),
            ),
            ("province", "region", "st", "province state", "region state", "etat", "estado", "bundesland"),
        ),
    ),
    Meaning(
        fields=("ZipCode",),
        shape=Shape.ZIP,
        qualifiers=_OF_A_PLACE,
        tiers=(
            (
                *("zip", "zip code", "postal code", "zip postal code", "zip postal", "postal zip", "postal zip code"),
                *("zip or postal code", "zip 5", "zip 4", "zip plus 4", "postal", "zip code postal code"),
            ),
            ("code postal", "codigo postal", "cp", "plz", "postleitzahl"),
        ),
    ),
    Meaning(tiers=(("county", "county name", "parish", "district", "neighborhood"),)),
    Meaning(
        qualifiers=_OF_A_PLACE,
        tiers=(("country", "country region", "country code", "country name", "country id", "pays", "pais", "nation"),),
    ),
    Meaning(
        fields=("ClientId", "ref"),
        shape=Shape.ID,
        tiers=(
            (
                *("client id", "lead id", "record id", "external id", "contact id", "vendor lead code", "crm id"),
                *("prospect id", "customer id", "unique id", "record number", "lead number", "client number"),
            ),
            ("id", "uuid", "guid", "person id", "customer number", "contact number id"),
            ("account id", "account number", "member id", "member number", "reference number"),
        ),
    ),
    # Ids of other things, and numbers of rows: the next list has the same ones for other people.
    Meaning(
        tiers=(
            (
                *("owner id", "campaign id", "ad id", "adset id", "ad set id", "form id", "list id", "source id"),
                *("user id", "gclid", "fbclid", "msclkid", "google click id", "page id", "lead owner id", "company id"),
                *("index", "row", "row number", "row id", "number", "s number", "sr number", "serial number", "line"),
                *("associated company ids", "converted account id", "record type id", "tax id", "dealer id"),
            ),
        ),
    ),
    Meaning(
        tiers=(
            ("email", "e mail", "email address", "e mail address", "mail", "email 2", "email 3", "work email"),
            ("personal email", "business email", "correo", "correo electronico", "secondary email"),
        ),
        qualifiers=frozenset({"work", "home", "primary"}),
        shape=Shape.EMAIL,
    ),
    Meaning(
        tiers=(
            (
                *("company", "company name", "company account", "organization", "organization name", "account"),
                *("account name", "business", "business name", "employer", "firma", "entreprise", "empresa"),
                *("associated company", "company or account", "industry", "website", "web", "url", "company url"),
            ),
        ),
    ),
    Meaning(
        tiers=(
            (
                *("title", "job title", "position", "role", "salutation", "prefix", "suffix", "middle name"),
                *("middle initial", "nick name", "nickname", "name prefix", "name suffix", "gender", "occupation"),
            ),
        ),
    ),
    Meaning(
        tiers=(
            (
                *("source", "lead source", "original source", "data source", "utm source", "status", "lead status"),
                *("stage", "deal stage", "lifecycle stage", "contact status", "crm status", "rating", "rate", "score"),
                *("lead score", "type", "lead type", "record type", "platform", "form name", "ad name", "adset name"),
                *("is organic", "campaign source", "date", "tags", "priority", "language", "device", "keyword"),
            ),
        ),
    ),
    Meaning(
        shape=Shape.DATE,
        tiers=(
            (
                *("created", "created date", "create date", "created time", "created at", "date created", "date added"),
                *("submitted at", "submission date", "last modified", "last modified date", "updated at", "timestamp"),
                *("last activity", "last activity date", "last contact", "last contacted", "signup date", "lead date"),
                *("date of birth", "birthdate", "birth date", "birthday", "dob", "conversion time"),
            ),
        ),
    ),
    Meaning(
        fields=("Rep",),
        shape=Shape.PERSON,
        tiers=(
            ("rep",),
            (
                *("owner", "lead owner", "contact owner", "account owner", "record owner", "owner name", "sales rep"),
                *("agent", "agent name", "assigned to", "assigned agent", "assigned to name", "sales representative"),
                *("representative", "assignee", "salesperson", "deal owner", "lead owner name"),
            ),
        ),
    ),
    Meaning(fields=("CallStatus",), tiers=(("call status", "callstatus", "call disposition", "disposition"),)),
    Meaning(fields=("Campaign",), tiers=(("campaign", "campaign name", "dialer campaign"),)),
    Meaning(fields=("Subcampaign",), tiers=(("subcampaign", "sub campaign"),)),
    Meaning(fields=("CallbackAgent",), tiers=(("callback agent", "call back agent"),)),
    Meaning(
        fields=("CallbackDate",),
        shape=Shape.DATE,
        tiers=(
            ("callback date", "call back date", "callback date time", "callback", "callback time", "call back"),
            ("call back time", "appointment", "appointment date", "next call", "next call date", "date next call"),
        ),
    ),
    Meaning(fields=("CallbackNotes",), tiers=(("callback notes", "call back notes", "callback note"),)),
    Meaning(
        fields=("Notes",),
        tiers=(
            ("notes", "note", "comments", "comment", "remarks", "remark", "lead notes", "contact notes"),
            ("commentaires", "commentaire", "notas", "observaciones", "comentarios", "bemerkung", "bemerkungen"),
            ("description", "message", "additional information", "additional info"),
        ),
    ),
    Meaning(
        tiers=(
            (
                *("do not call", "dnc", "do not contact", "do not phone", "opt out", "opted out", "phone opt out"),
                *("has opted out of phone", "call opt out", "unsubscribed", "has opted out", "do not sms"),
                *("sms opt out", "has opted out phone", "phone dnc", "opted out of calls"),
                *("unsubscribed from all email", "on dnc"),
            ),
        ),
        warning="rows that are marked there are not left out by this mapping: take those people out of the list first",
    ),
)
