"""The JSON Schema of mappings, for editors: made from the models that read them and the declarations."""

from __future__ import annotations

import re
from typing import Any

from pipeline.clean import CLEANERS
from pipeline.mapping import MappingFile
from schemas.catalogue import CATALOGUE
from schemas.spec import Operation

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What each key means, by model and key.
WORDS = {
    "MappingFile.operation": "What each row becomes; see: leads operations",
    "MappingFile.unmapped": "Columns that no field names: an error, left out, or sent as custom fields",
    "MappingFile.source": "What the file looks like, where that can't be found by itself",
    "MappingFile.fields": "The vendor's field = where its value comes from",
    "MappingFile.extra_fields": "Real lead columns of the account that the vendor does not document, with their length",
    "MappingFile.lengths": "Where the account's fields are longer or shorter than the vendor's defaults",
    "MappingFile.policy": "What may happen in the world",
    "MappingFile.after": "Calls of constants, once the rows have gone, in this order",
    "FieldSource.column": "The header of the column that has the value",
    "FieldSource.value": "A constant, the same for all rows",
    "FieldSource.template": "Text with columns in braces: {Company} / {Title}; {{ is a brace",
    "FieldSource.map": "The file's words = the vendor's",
    "FieldSource.default": "The value where the cell is empty, or map does not know it",
    "FieldSource.clean": "Instead of the field's own cleaner",
    "FieldSource.take": "Of a cell with several phones: the first, the second, or the first one's extension",
    "SourceTable.sheet": "The workbook's sheet",
    "SourceTable.header_row": "The row of the header, from 1; 0: there is none, and columns are 1, 2, …",
    "SourceTable.delimiter": "What stands between the cells",
    "SourceTable.encoding": "Such as utf-8 or cp1252",
    "SourceTable.null_tokens": 'Cells that mean "not given"',
    "SourceTable.clear_token": "What a cell says whose field is to be emptied in the dialer",
    "SourceTable.date_order": "How 03/04/2027 is meant",
    "SourceTable.short_rows": "Whether a row may lack cells at its end; pad takes them for empty",
    "SourceTable.regions": "Whose area codes may be called, such as US or CA",
    "Policy.duplicates_in_file": "Which of several rows for one lead counts",
    "Policy.overlong": "What becomes of text that is too long",
    "Policy.past_dates": "Callbacks in the past: refused, or sent all the same",
    "Policy.dialing": "Whether a call may go out because of a load",
    "Policy.client_id": "Whether a row without ClientId is sent with its key as one, so that it can be looked up",
    "Policy.suppress": "Files, or patterns of files, with the numbers that must not be contacted; none, on purpose",
    "Policy.suppress_max_age_days": "Older files of such numbers are refused",
    "Policy.calling_hours": "Local hours within the law's, such as 9:00-20:00; vendor: it checks",
    "Policy.allow_dialing_dups": "Whether duplicates that are stored are dialed",
    "Policy.dial_non_callables": "Whether do-not-call numbers are dialed; needs --dial-non-callables, too",
    "Policy.resend_unfound": "Whether a row in doubt that was not found twice is sent again",
    "AfterStep.operation": "What is called; see: leads operations",
    "AfterStep.when": "After which ends of the load",
    "AfterStep.fields": "Its fields, all of them constants",
}


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12. Which fields there are depends on the operation."""
    schema = MappingFile.model_json_schema()
    for model, definition in [("MappingFile", schema), *schema["$defs"].items()]:
        _describe(model, definition)
    fields = schema["properties"]["fields"]
    fields["additionalProperties"] = {
        "anyOf": [{"type": "string", "description": "The header of a column"}, fields["additionalProperties"]]
    }
    schema["$defs"]["FieldSource"]["properties"]["clean"]["enum"] = sorted(CLEANERS)
    schema["$defs"]["FieldSource"]["oneOf"] = [{"required": [key]} for key in ("column", "value", "template")]
    schema["properties"]["operation"]["enum"] = list(CATALOGUE)
    schema["$defs"]["AfterStep"]["properties"]["operation"]["enum"] = list(CATALOGUE)
    schema["allOf"] = [_for(operation) for operation in CATALOGUE.values()]
    return {"$schema": _DIALECT, **schema, "title": "A mapping of dialedin-leads"}


def _describe(model: str, definition: dict[str, Any]) -> None:
    """Words for each key, and no null: TOML has none, a key is left out."""
    definition.pop("title", None)
    for key, about in definition["properties"].items():
        about.pop("title", None)
        if "anyOf" in about:
            about.update(next(kind for kind in about.pop("anyOf") if kind.get("type") != "null"))
            about.pop("default", None)
        about["description"] = WORDS[f"{model}.{key}"]


def _for(operation: Operation) -> dict[str, Any]:
    """The fields of one operation. With [extra_fields], which may name any, it does not say which there are not."""
    fields: dict[str, Any] = {
        "properties": {f.name: {"description": f.doc} for f in operation.fields if not f.from_policy}
    }
    names: list[dict[str, Any]] = [{"enum": list(fields["properties"])}]
    if operation.custom:
        names.append({"pattern": f"^{re.escape(operation.custom.prefix)}"})
    return {
        "if": {"properties": {"operation": {"const": operation.name}}, "required": ["operation"]},
        "then": {
            "properties": {"fields": fields},
            "anyOf": [{"required": ["extra_fields"]}, {"properties": {"fields": {"propertyNames": {"anyOf": names}}}}],
        },
    }
