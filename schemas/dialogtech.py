"""DialogTech: Click-to-FindMe List, complete from the vendor's page, each rule beside its source and grade.

Source: "Click-to-FindMe List", DialogTech API documentation (grade A unless it says otherwise). Nothing here was
measured against a live account.
"""

from __future__ import annotations

from types import MappingProxyType

from schemas.spec import (
    Credential,
    Effect,
    Field,
    Grade,
    LedgerRule,
    OnlyWhen,
    Operation,
    Range,
    ReplyRule,
    RequiredWhen,
    Settle,
    Vendor,
    Verdict,
    Waits,
    XmlReply,
)

DIALOGTECH = Vendor(
    name="DialogTech",
    base_url="https://secure.dialogtech.com/",
    base_url_setting="dialogtech_base_url",
    # "If using key, both access_key and secret_access_key are not required", and the other way round.
    credentials=(
        (Credential("key", "dialogtech_key", secret=True),),
        (
            Credential("access_key", "dialogtech_access_key", secret=True),
            Credential("secret_access_key", "dialogtech_secret_access_key", secret=True),
        ),
    ),
    # The vendor has no account id, and a key can't stand for one: it is a secret, and changes. So it is a name that
    # its user chooses, "default" where there is only one account.
    account="dialogtech_account",
    # The page's one sample is a GET with the credentials in the URL. Whether POST works is not known (grade ?).
    method_setting="dialogtech_method",
)

EMAIL = r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;]+"
URL = r"https?://[^\s/?#]+\S*"

# A parameter whose length the page gives as 1 or 2 has choices or a range, which say as much.
_FLAG = ("0", "1")

_FIRST_PHONE_TO_CALL = ("1",)
_FIRST_THE_LIST = ("2",)


def _only_type(field: str, values: tuple[str, ...]) -> OnlyWhen:
    """A gate by the order of dialing; an empty `type` means 1."""
    return OnlyWhen(field, "type", values, default="1")


_PARAMETERS = (
    # "Pipe delimitated list of unformatted phone numbers".
    Field(
        name="list",
        required=True,
        cleaner="phone_list",
        doc="the numbers of which any one is connected to phone_to_call, joined by |",
    ),
    Field(name="phone_to_call", required=True, cleaner="us_phone", doc="the third party; 10 digits"),
    Field(
        name="first_callerid",
        cleaner="office_phone",
        doc="caller id of the first leg: a number registered or tracked in the account",
    ),
    Field(
        name="second_callerid",
        cleaner="office_phone",
        doc="caller id of the second leg: a number registered or tracked in the account",
    ),
    Field(
        name="type",
        choices=("1", "2"),
        cleaner="whole_number",
        doc="1 calls phone_to_call first (the default), 2 the list first",
    ),
    Field(name="page", max_length=255, doc="the page the call comes from; in the Smart Click-to-Call Report"),
    Field(
        name="no_answer_email",
        cleaner="email",
        pattern=EMAIL,
        doc="name@host.tld; told if nobody on the list accepts; type=2 only",
    ),
    Field(
        name="no_answer_sms",
        cleaner="office_phone",
        doc="gets a text if nobody on the list accepts; type=2 only; the account needs a number registered for SMS",
    ),
    Field(
        name="no_answer_url",
        pattern=URL,
        doc="http(s)://host/…; gets a POST of XML if nobody on the list accepts; type=2 only",
    ),
    Field(
        name="no_answer_phone",
        cleaner="office_phone",
        doc="the call is transferred there if nobody on the list accepts; type=2 only",
    ),
)

_EXPERIENCE = (
    # The column "Accepts" says 1 or 2, the notes define 0 and 1: the notes, since they say what each value does.
    Field(name="dtmf_only", choices=_FLAG, cleaner="flag", doc="0 accepts by voice or key, 1 by key alone"),
    # Its length is "TBD", like that of whisper_phrase.
    Field(name="screen_prompt", doc="announcement read to the caller; type=1 only"),
    Field(
        name="usr_findme_type",
        choices=("1", "2"),
        cleaner="whole_number",
        doc="1 prompts as for an individual (the default), 2 as for a customer service hunt group",
    ),
    Field(
        name="loop_count",
        number=Range(1, 5),
        cleaner="whole_number",
        doc="times to go through the list; 1 is the default",
    ),
    Field(name="randomize", choices=_FLAG, cleaner="flag", doc="1 shuffles the list; 0 is the default"),
    Field(name="record", choices=_FLAG, cleaner="flag", doc="1 records the call once connected; 0 is the default"),
    Field(
        name="no_intro",
        choices=_FLAG,
        cleaner="flag",
        doc="0 disables the audio prompts for screening, 1 enables them (the default)",
    ),
    Field(
        name="use_screen",
        choices=_FLAG,
        cleaner="flag",
        doc="1 asks phone_to_call for a name (the default), 0 does not; type=1 only",
    ),
    Field(
        name="screen_method",
        choices=("0", "1", "2"),
        cleaner="whole_number",
        doc="what the list number hears: 0 the third party's name, 1 text, 2 audio",
    ),
    Field(name="holdmusic", is_name=True, doc="filename.wav in the holdme directory of Audio File Maintenance"),
    Field(name="usr_audio_prompt_set_id", is_name=True, doc="id of a custom prompt set; ask the vendor's support"),
    Field(
        name="holdrepeat",
        choices=("0", "1", "2"),
        cleaner="whole_number",
        doc="hold music: 0 once per session, 1 once between attempts, 2 continuously between attempts",
    ),
    Field(
        name="timeout",
        number=Range(10, 60),
        cleaner="whole_number",
        doc="seconds that each number of the list rings; 30 is the default",
    ),
    Field(name="whisper_phrase", doc="whispered to the operator; use_screen=0 only"),
    Field(
        name="nextaction",
        choices=("1", "2", "3", "4", "5", "6", "7"),
        cleaner="whole_number",
        doc="if nobody accepts: 1 says so and disconnects, 2 voice mail, 3 the last number tried, 4 virtual "
        "receptionist, 5 FindMe, 6 SurVo/IVR, 7 the last number tried without introduction; type=1 only",
    ),
    Field(
        name="nextactionitem",
        is_name=True,
        doc="id of the voice mailbox, receptionist, FindMe or SurVo of nextaction 2, 4, 5, 6; type=1 only",
    ),
    Field(name="ref", max_length=255, is_name=True, doc="your own reference; in the Smart Click-to-Call Report"),
)

# First match wins. Texts are normalised first, and XML becomes a line: "result=success result_description=…".
# "A plain-text string indicating the success/failure of the first leg of the call", says the page, and shows XML; so
# both are read. The plain words are guessed to be those of the XML (grade C).
_REPLIES = (
    ReplyRule(r"result=success result_description=Call Connected$", Verdict.ACCEPTED, "ok", Grade.A, one_line=True),
    # The first leg was not answered: phones have rung, and nobody talks.
    ReplyRule(r"result=failed result_description=unknown$", Verdict.REJECTED, "not_connected", Grade.A, one_line=True),
    # Seen in the replies of a sibling action.
    ReplyRule(r"result=INVALID ACCOUNT( |$)", Verdict.CREDENTIALS, "credentials", Grade.B, one_line=True),
    ReplyRule(r"(success:? )?Call Connected$", Verdict.ACCEPTED, "ok", Grade.C, one_line=True),
    ReplyRule(r"success$", Verdict.ACCEPTED, "ok", Grade.C, one_line=True),
    ReplyRule(r"failed(:? unknown)?$", Verdict.REJECTED, "not_connected", Grade.C, one_line=True),
    ReplyRule(r"INVALID ACCOUNT$", Verdict.CREDENTIALS, "credentials", Grade.C, one_line=True),
)

CLICK_TO_FIND_ME_LIST = Operation(
    name="ClickToFindMe.List",
    vendor=DIALOGTECH,
    path="ibp_api.php",
    endpoint_grade=Grade.A,
    source="DialogTech API documentation, Click-to-FindMe List",
    doc="Calls a phone, and those of a list one after the other until one accepts, and connects the two.",
    effect=Effect.CONTACT,
    # Each call rings, and nothing finds out whether one has arrived.
    settle=Settle.NEVER,
    ledger=LedgerRule.BY_KEY,
    fixed=MappingProxyType({"action": "clickto.findme"}),
    fields=(*_PARAMETERS, *_EXPERIENCE),
    rules=(
        *(
            _only_type(field, _FIRST_THE_LIST)
            for field in ("no_answer_email", "no_answer_sms", "no_answer_url", "no_answer_phone")
        ),
        *(
            _only_type(field, _FIRST_PHONE_TO_CALL)
            for field in ("screen_prompt", "use_screen", "nextaction", "nextactionitem")
        ),
        OnlyWhen("whisper_phrase", "use_screen", ("0",), default="1"),
        # 1, 3 and 7 need no item.
        RequiredWhen("nextactionitem", "nextaction", ("2", "4", "5", "6")),
    ),
    replies=_REPLIES,
    xml_reply=XmlReply(root="response", call_id="sid"),
    # The reply "will only populate after the first leg of the call is answered or not". How long phone_to_call rings
    # is not documented (grade ?): the margin is for it, and for the vendor's own work.
    waits=Waits(seconds=("timeout", 30), rounds=("loop_count", 1), each="list", separator="|", margin_seconds=60),
    phone="phone_to_call",
    also_contacts=("list", "no_answer_sms", "no_answer_phone"),
    client_id="ref",
    carries_key=True,
    duplicates_by="phone",
)

OPERATIONS = (CLICK_TO_FIND_ME_LIST,)
