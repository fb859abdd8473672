"""DialedIn: fields, limits, effects and replies, each beside its source and grade.

Sources: "DialedIn API Integration" (the vendor's help article; grade A) and public clients of the
API (grades B and C). Nothing here was measured against a live account.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from schemas.spec import (
    AnyBeside,
    Composed,
    Credential,
    Custom,
    Dialing,
    Effect,
    Field,
    Grade,
    Identity,
    LedgerRule,
    Operation,
    ReplyRule,
    RequiredWhen,
    Scope,
    Settle,
    Together,
    Vendor,
    Verdict,
)

DIALEDIN = Vendor(
    name="DialedIn",
    base_url="https://api.chasedatacorp.com/HttpImport/",
    base_url_setting="dialedin_base_url",
    credentials=(
        (
            Credential("token", "dialedin_token", secret=True),
            # The accid printed in the document is one account's own value: there is no default.
            Credential("accid", "dialedin_accid", secret=False),
        ),
    ),
    account="dialedin_accid",
    reserved=("SecurityCode", "GroupId"),  # what older accounts send for token and accid (grade B)
)

# "Any custom field should have prefix adv_"; the blanks printed around it are typography. "Any spaces in the
# field names should be replaced with double underscore". PHP rewrites "." and "[" in names (grade C), so such
# a field can't be addressed.
CUSTOM = Custom(prefix="adv_", space="__", forbidden=".[]", grade=Grade.A)

FLAG = ("0", "1")

# "MM/dd/yyyy HH:mm:ss", two digits each, four for the year, 24-hour clock, in the customer's own time zone.
_CALLBACK_DATE = r"(0[1-9]|1[0-2])/(0[1-9]|[12]\d|3[01])/\d{4} ([01]\d|2[0-3]):[0-5]\d:[0-5]\d"

# "Default field length"; an account may differ: [lengths] in the mapping.
LEAD_FIELDS = (
    Field(
        name="ClientId",
        max_length=50,
        is_name=True,
        cleaner="identifier",
        doc="your own unique id: the one handle for finding a lead again",
    ),
    Field(name="FirstName", max_length=100),
    Field(name="LastName", max_length=100),
    Field(name="Address", max_length=500),
    Field(name="City", max_length=100),
    Field(name="State", max_length=2, cleaner="us_state"),
    Field(name="ZipCode", max_length=10, cleaner="us_zip"),
    Field(name="Rep", max_length=50, is_name=True),
    Field(name="CallStatus", max_length=50, is_name=True),
    Field(name="Notes", doc="unlimited"),
)

# A callback is an appointment of an agent: no column of the lead shows it.
CALLBACK_FIELDS = (
    Field(name="CallbackAgent", is_name=True, stored=False, warn_spaces=True, doc="agent login name, case-sensitive"),
    Field(
        name="CallbackDate",
        stored=False,
        pattern=_CALLBACK_DATE,
        cleaner="callback_date",
        doc="MM/dd/yyyy HH:mm:ss in the customer's time zone",
    ),
    Field(name="CallbackNotes", stored=False),
)

# "To create Agent Specific Callback": one without the other does nothing that is documented.
_CALLBACK_RULE = Together(("CallbackAgent", "CallbackDate"), grade=Grade.C)

_PHONE = Field(name="PrimaryPhone", max_length=50, cleaner="us_phone", doc="10 digits")
_CAMPAIGN = Field(name="Campaign", is_name=True, max_length=50)
_SUBCAMPAIGN = Field(name="Subcampaign", is_name=True, max_length=50)

_SEARCH_FIELDS = (
    Field(
        name="SearchField",
        required=True,
        stored=False,
        choices=("ClientId", "LeadId", "Phone"),
        doc="by what the lead is looked up",
    ),
    # "Will be passed as-is": the phone is normalised as it was when the lead was inserted (grade C).
    Field(
        name="Identifier",
        required=True,
        stored=False,
        cleaner="identifier",
        cleaner_when=("SearchField", MappingProxyType({"Phone": "us_phone"})),
        doc="the value looked up",
    ),
)

# Any lead inserted "will be dialed with priority as soon as possible", unless ImportOnly=1.
DIALING = MappingProxyType(
    {
        "import-only": Dialing(
            MappingProxyType({"ImportOnly": "1"}), contacts=False, doc="imported; no call follows by itself"
        ),
        "timezone-checked": Dialing(
            MappingProxyType({"ImportOnly": "0", "timezone": "1"}),
            contacts=True,
            doc="dialed at once if the hour is right where the phone is",
            heeds_hours=True,
        ),
        "immediate": Dialing(
            MappingProxyType({"ImportOnly": "0", "timezone": "0"}),
            contacts=True,
            doc="dialed at once, at any hour",
        ),
    }
)

# The gateway answers HTTP 200 to nearly everything; the verdict is in the text. First match wins. Texts are
# normalised first: <br> becomes a space, whitespace is collapsed, ends are trimmed.
DIALER = r"Result: CURL error\[(?!50[234]\])\d{3,}\]: "
_DUPLICATE = "Duplicated phone number. Lead ignored."
# A dialer that crashed after storing looks the same as one that refused.
DIALER_ERROR = ReplyRule(r"Result: CURL error\b", Verdict.IN_DOUBT, "dialer_error", Grade.C, maybe_refused=True)
RESULT_REPLIES = (
    ReplyRule(r"Result: OK$", Verdict.ACCEPTED, "ok", Grade.B),
    # More behind it may be a warning or an id: stored, or not. It is no refusal.
    ReplyRule(r"Result: OK", Verdict.IN_DOUBT, "unreadable_reply", Grade.C),
    # libcurl's numbers for proxy and host not resolved, connect refused, TLS: the dialer never saw it.
    ReplyRule(r"Result: CURL error\[(5|6|7|35)\]", Verdict.NOT_DELIVERED, "dialer_unreachable", Grade.C),
    ReplyRule(r"Result: CURL error\[28\]", Verdict.IN_DOUBT, "dialer_timeout", Grade.C, still_at_work=True),
    ReplyRule(r"Result: CURL error\[(\d{1,2}|50[234])\]", Verdict.IN_DOUBT, "dialer_connection", Grade.C),
    ReplyRule(
        DIALER + re.escape(_DUPLICATE) + "$",
        Verdict.DUPLICATE,
        "duplicate_phone",
        Grade.B,
        one_line=True,
    ),
    # The beginning of that sentence is a reply that was cut off.
    ReplyRule(
        DIALER + "(" + "|".join(re.escape(_DUPLICATE[:end]) for end in range(1, len(_DUPLICATE))) + ")$",
        Verdict.IN_DOUBT,
        "truncated_reply",
        Grade.C,
    ),
    # No public sample exists of the texts below: they are classed by their words (grade ?).
    ReplyRule(DIALER + r".*\bduplicat", Verdict.DUPLICATE, "duplicate_phone", Grade.UNKNOWN, one_line=True),
    ReplyRule(
        DIALER + r".*(\bdnc\b|do[- ]not[- ]call|non-?callable)",
        Verdict.REJECTED,
        "dnc",
        Grade.UNKNOWN,
        one_line=True,
    ),
    ReplyRule(DIALER + r".*\bcampaign\b", Verdict.REJECTED, "unknown_campaign", Grade.UNKNOWN, one_line=True),
    # After the campaign: its name may hold a word such as security.
    ReplyRule(
        DIALER + r".*(\btoken\b|\baccid\b|\bsecurity|\bpermission|\bunauthori[sz]ed\b|\bgroupid\b)",
        Verdict.CREDENTIALS,
        "credentials",
        Grade.UNKNOWN,
        one_line=True,
    ),
    ReplyRule(
        DIALER + r".*(\blead\b.*\bnot found\b|\bno lead\b)",
        Verdict.REJECTED,
        "not_found",
        Grade.UNKNOWN,
        one_line=True,
    ),
    DIALER_ERROR,
    ReplyRule(
        r"Result: Campaign name should be specified",
        Verdict.REJECTED,
        "missing_campaign",
        Grade.A,
        one_line=True,
    ),
    ReplyRule(r"Result: GroupId should be specified", Verdict.CREDENTIALS, "credentials", Grade.A, one_line=True),
    ReplyRule(r"Result: .*\bSigning message error\b", Verdict.REJECTED, "signing_error", Grade.A, one_line=True),
    ReplyRule(r"Result: No data to (import|update)", Verdict.REJECTED, "no_data", Grade.A, one_line=True),
    # The words it lists may be "token" and "accid": it stands before the guess by words.
    ReplyRule(r"Result: .*\bare the reserved words\b", Verdict.REJECTED, "reserved_words", Grade.A, one_line=True),
    ReplyRule(
        r"Result: .*(\btoken\b|\baccid\b|\bsecurity|\bpermission|\bunauthori[sz]ed\b)",
        Verdict.CREDENTIALS,
        "credentials",
        Grade.UNKNOWN,
        one_line=True,
    ),
    # The beginning of "Result: OK" or "Result: CURL error" is not a verdict.
    ReplyRule(r"Result: ?(O|C|CU|CUR|CURL.*)?$", Verdict.IN_DOUBT, "truncated_reply", Grade.C),
    ReplyRule(r"Result: \S", Verdict.REJECTED, "gateway_refused", Grade.C, one_line=True),
)

SEARCH_LEAD = Operation(
    name="LeadOperations.SearchLead",
    vendor=DIALEDIN,
    path="LeadOperations.php",
    endpoint_grade=Grade.B,
    source="DialedIn API Integration, Lead Operations, SearchLead",
    doc="Looks a lead up and returns what is stored.",
    effect=Effect.READ,
    settle=Settle.REPEAT,
    ledger=LedgerRule.NONE,
    # An OK says neither that the lead is there nor that it isn't.
    replies=(ReplyRule(r"Result: OK$", Verdict.IN_DOUBT, "unreadable_reply", Grade.C), *RESULT_REPLIES),
    json_search=True,
    fixed=MappingProxyType({"Action": "SearchLead"}),
    fields=(
        *_SEARCH_FIELDS,
        Field(
            name="Detailed",
            stored=False,
            choices=FLAG,
            cleaner="flag",
            doc="1: all lead fields; 0: id and whether it exists",
        ),
        Field(name="Campaign", is_name=True, stored=False, max_length=50, doc="restricts the search; empty: all"),
        Field(name="Subcampaign", is_name=True, stored=False, max_length=50, doc="restricts the search; empty: all"),
    ),
    identifier=("SearchField", "Identifier"),
)

INSERT_LEAD = Operation(
    name="InsertLead",
    vendor=DIALEDIN,
    path="InjectLead.php",
    endpoint_grade=Grade.A,
    source="DialedIn API Integration, Inserting Lead",
    doc="Puts a lead into a campaign. Unless imported only, it is hot: a call may go out at once.",
    effect=Effect.CONTACT,
    settle=Settle.SEARCH,
    lookup=SEARCH_LEAD,
    ledger=LedgerRule.BY_KEY,
    replies=RESULT_REPLIES,
    fields=(
        Field(name="Campaign", is_name=True, required=True, max_length=50, doc="must exist beforehand"),
        _SUBCAMPAIGN,
        Field(name="PrimaryPhone", required=True, max_length=50, cleaner="us_phone", doc="10 digits"),
        *LEAD_FIELDS,
        *CALLBACK_FIELDS,
        Field(
            name="DuplicatesCheck",
            stored=False,
            choices=("0", "1", "2", "3"),
            cleaner="whole_number",
            doc="0 same campaign (the default), 1 allow, 2 all campaigns, 3 campaign and subcampaign",
        ),
        Field(
            name="timezone",
            stored=False,
            choices=FLAG,
            cleaner="flag",
            from_policy=True,
            doc="1: dialed only at a fit hour",
        ),
        Field(
            name="AllowDialingDups",
            stored=False,
            choices=FLAG,
            cleaner="flag",
            from_policy=True,
            policy_flag="allow_dialing_dups",
            doc="1: duplicates are dialed",
        ),
        Field(
            name="DialNonCallables",
            stored=False,
            choices=FLAG,
            cleaner="flag",
            from_policy=True,
            policy_flag="dial_non_callables",
            doc="1: do-not-call numbers are dialed",
        ),
        Field(
            name="ImportOnly",
            stored=False,
            choices=FLAG,
            cleaner="flag",
            from_policy=True,
            doc="1: a plain import, no call",
        ),
    ),
    rules=(_CALLBACK_RULE,),
    custom=CUSTOM,
    dialing=DIALING,
    phone="PrimaryPhone",
    place=("ZipCode", "State"),
    stores_again=("DuplicatesCheck", "1"),
    client_id="ClientId",
    duplicates_by="phone",
)

UPDATE_LEAD = Operation(
    name="UpdateLead",
    vendor=DIALEDIN,
    path="UpdateLead.php",
    endpoint_grade=Grade.B,
    source="DialedIn API Integration, Updating Lead",
    doc="Changes an existing lead. Never creates one and never dials. Empty values are left out.",
    # The document is silent on what an empty value does to a stored one (grade ?).
    clears=True,
    effect=Effect.WRITE,
    settle=Settle.REPEAT,
    ledger=LedgerRule.LAST_PAYLOAD,
    replies=RESULT_REPLIES,
    fields=(
        *_SEARCH_FIELDS,
        _PHONE,
        # As plain fields these may move the lead (grade C): sent only where the mapping names them.
        _CAMPAIGN,
        _SUBCAMPAIGN,
        *LEAD_FIELDS,
        *CALLBACK_FIELDS,
    ),
    rules=(_CALLBACK_RULE, AnyBeside(("SearchField", "Identifier"), code="nothing_to_update")),
    custom=CUSTOM,
    phone="PrimaryPhone",
    # Of a lead that is found by its phone: the one that it gets instead.
    also_contacts=("PrimaryPhone",),
    client_id="ClientId",
    identifier=("SearchField", "Identifier"),
    duplicates_by="identifier",
)

# Not the vendor's: an insert of what is there is refused as a duplicate, and an update of what is not there changes
# nothing. A list that holds both needs a look-up first.
UPSERT_LEAD = Operation(
    name="UpsertLead",
    vendor=DIALEDIN,
    path=INSERT_LEAD.path,
    endpoint_grade=UPDATE_LEAD.endpoint_grade,
    source="no operation of the vendor's",
    doc="Updates the lead that is there, else inserts it. Several that match are left alone, or all updated.",
    composed=Composed(
        search=SEARCH_LEAD,
        insert=INSERT_LEAD,
        update=UPDATE_LEAD,
        asked=MappingProxyType({"Detailed": "1"}),
        # Where a lead would be refused as a duplicate, there it is looked for.
        scope=Scope(
            by="DuplicatesCheck",
            default="0",
            fields=MappingProxyType(
                {"0": ("Campaign",), "1": ("Campaign",), "2": (), "3": ("Campaign", "Subcampaign")}
            ),
        ),
        lead_id=("LeadId", "id"),
        insert_only=frozenset(
            {
                *("Campaign", "Subcampaign"),  # on an update they may move the lead (grade C)
                *(field.name for field in INSERT_LEAD.fields if field.name not in UPDATE_LEAD.by_name),
            }
        ),
    ),
    identity=Identity("SearchField", MappingProxyType({"ClientId": "ClientId", "Phone": "PrimaryPhone"})),
    # What an insert may do to people, and how a doubt about one is settled, holds for the whole.
    effect=INSERT_LEAD.effect,
    settle=INSERT_LEAD.settle,
    lookup=SEARCH_LEAD,
    ledger=LedgerRule.LAST_PAYLOAD,
    replies=RESULT_REPLIES,
    clears=UPDATE_LEAD.clears,
    fields=(
        # Not LeadId: an insert can't set it, so a lead that is not there would be inserted again and again.
        Field(
            name="SearchField",
            required=True,
            stored=False,
            choices=("ClientId", "Phone"),
            doc="by what the lead is looked up; unless mapped: ClientId if that is, else Phone",
        ),
        *INSERT_LEAD.fields,
    ),
    rules=(*INSERT_LEAD.rules, RequiredWhen("ClientId", "SearchField", ("ClientId",), Grade.C)),
    custom=CUSTOM,
    dialing=DIALING,
    phone="PrimaryPhone",
    place=("ZipCode", "State"),
    stores_again=INSERT_LEAD.stores_again,
    client_id="ClientId",
    not_in_key=frozenset({"Subcampaign", "ClientId"}),
    duplicates_by="identifier",
)

OPERATIONS = (INSERT_LEAD, UPDATE_LEAD, UPSERT_LEAD, SEARCH_LEAD)
