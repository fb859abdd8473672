"""Settings: flags, then environment, then leads.toml, then defaults. Secrets stay wrapped until a call is made."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import platformdirs
from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pipeline.model import UserError
from schemas.catalogue import CATALOGUE
from schemas.spec import Credential, Operation, Vendor

FILE = Path("leads.toml")
MAX_FILE_SIZE = 10 * 10**9  # bytes: more than any list of people has
SECRETS = ("dialedin_token", "dialogtech_key", "dialogtech_access_key", "dialogtech_secret_access_key")
_URL_PASSWORD = re.compile(r"(?<=://)([^:/@]*):([^@]*)@")
_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*")
_VENDORS = ("dialedin_", "dialogtech_")  # what the names of their settings begin with


def _default_state() -> str:
    return f"sqlite:///{platformdirs.user_state_path('dialedin-leads')}/state.db"


class Settings(BaseSettings):
    """Every setting, resolved. Names are those of leads.toml."""

    model_config = SettingsConfigDict(
        toml_file=FILE, extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    rate: float = Field(default=20, ge=0, description="calls per second at most; 0: no cap")
    concurrency: int = Field(default=8, ge=1, le=1000, description="calls under way at once")
    attempts: int = Field(default=5, ge=1, le=100, description="requests per row at most")
    timeout: float = Field(default=30, gt=0, description="seconds to wait for a reply")
    settle: float | None = Field(default=None, ge=0, description="seconds a row in doubt rests before it is looked up")
    max_errors: str = Field(default="20%", description="rows rejected or failed before a run halts")
    drain: float = Field(default=30, ge=0, description="seconds for calls under way to end after a signal")
    runs: Path = Field(default=Path("runs"), description="where run folders go")
    state: str = Field(default_factory=_default_state, repr=False, description="state database (journal and ledger)")
    max_file_size: ByteSize = Field(
        default=ByteSize(MAX_FILE_SIZE), gt=0, description="what a list may have, unpacked or fetched: 10GB, 500MB"
    )
    endpoints: str | None = Field(default=None, description="where the account's differ: documented=actual, …")
    dialedin_base_url: str | None = None
    dialedin_accid: str | None = None
    dialedin_token: SecretStr | None = None
    dialogtech_base_url: str | None = None
    dialogtech_account: str = Field(default="default", min_length=1, description="your own name for the account")
    dialogtech_method: Literal["POST", "GET"] = Field(default="POST", description="GET puts the key into URLs")
    dialogtech_key: SecretStr | None = None
    dialogtech_access_key: SecretStr | None = None
    dialogtech_secret_access_key: SecretStr | None = None

    @field_validator("endpoints")
    @classmethod
    def _are_endpoints(cls, text: str | None) -> str | None:
        for name, actual in _endpoints(text).items():
            known = sorted({operation.path for operation in CATALOGUE.values()})
            if name not in known:
                raise ValueError(f"{name!r} is no endpoint; there are {', '.join(known)}")
            if not _PATH.fullmatch(actual):
                raise ValueError(f"{actual!r} is no file name: write {name}=Other.php")
        return text

    @field_validator("state")
    @classmethod
    def _shows_its_password(cls, state: str) -> str:
        """Elsewhere it must be known what of the URL is secret."""
        if not state.startswith("sqlite:") and (state.count("@") > 1 or "password=" in state.casefold()):
            raise ValueError(
                "its password can't be told from the rest: write it before the host, with %40 for @, or put it into "
                "PGPASSWORD or ~/.pgpass"
            )
        return state

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 `resolve` reads the environment
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 the library's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then leads.toml."""
        return init_settings, TomlConfigSettingsSource(settings_cls)


def resolve(
    flags: Mapping[str, object], earlier: Mapping[str, str] = MappingProxyType({})
) -> tuple[Settings, dict[str, str]]:
    """The settings, and where each came from: "flag", a variable's name, "its run", "leads.toml" or "default".

    `earlier` are those of a run that goes on, as `kept` gave them.
    Raises UserError for an unknown key, a value that can't be, or a secret in a file that is not meant for one.
    """
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    in_file = _from_file()
    environment = _from_environment()
    origins = dict.fromkeys(Settings.model_fields, "default") | dict.fromkeys(in_file, str(FILE))
    origins |= dict.fromkeys(earlier, "its run")
    origins |= {name: variable for name, (variable, _) in environment.items()} | dict.fromkeys(given, "flag")
    found = {name: value for name, (_, value) in environment.items()}
    _check_state(given, "--state")
    _check_state(in_file, f"{FILE}: state")
    try:
        return Settings(**{**earlier, **found, **given}), origins
    except ValidationError as error:
        raise UserError(_first_error(error, origins)) from None


def credentials(settings: Settings, vendor: Vendor) -> dict[str, str]:
    """The parameters that prove who calls, by wire name. Raises UserError naming what to set."""
    for alternative in vendor.credentials:
        values = {c.parameter: _plain(getattr(settings, c.setting)) for c in alternative}
        if all(values.values()):
            return values
    wanted = " or ".join(_variables(alternative, settings) for alternative in vendor.credentials)
    raise UserError(f"no credentials for {vendor.name}: set {wanted} in the environment (see: leads config)")


def variables(vendor: Vendor) -> str:
    """The variables that hold the vendor's credentials, in words."""
    return " or ".join(" and ".join(c.setting.upper() for c in several) for several in vendor.credentials)


def secrets_in(credentials: Mapping[str, str], vendor: Vendor) -> set[str]:
    """The values among `credentials` that must not be seen."""
    secret = {c.parameter for alternative in vendor.credentials for c in alternative if c.secret}
    return {value for parameter, value in credentials.items() if parameter in secret}


def account(settings: Settings, vendor: Vendor) -> str:
    """The account's name, "" where it is not set."""
    return _plain(getattr(settings, vendor.account))


def scope(settings: Settings, vendor: Vendor) -> str:
    """The account at its address: what locks, claims and the ledger are kept for."""
    return f"{account(settings, vendor)}@{base_url(settings, vendor)}"


def base_url(settings: Settings, vendor: Vendor) -> str:
    """The vendor's base URL: the setting's, else the documented one; it ends in a slash."""
    url = getattr(settings, vendor.base_url_setting) or vendor.base_url
    return url if url.endswith("/") else url + "/"


def method(settings: Settings, vendor: Vendor) -> str:
    """POST, or GET where the vendor's setting says so."""
    return str(getattr(settings, vendor.method_setting)) if vendor.method_setting else "POST"


def warnings(settings: Settings, vendor: Vendor) -> list[str]:
    """What of the settings its user should know before anything is sent."""
    if method(settings, vendor) == "POST":
        return []
    return [
        f"{vendor.method_setting} is GET: credentials and phones are in the URL, which {vendor.name} and whatever is "
        "in between may log; use POST where it works"
    ]


def url(settings: Settings, operation: Operation) -> str:
    """Where an operation's calls go. Its endpoint may be inferred: the setting says where the account's differs."""
    path = _endpoints(settings.endpoints).get(operation.path, operation.path)
    return base_url(settings, operation.vendor) + path


def _endpoints(text: str | None) -> dict[str, str]:
    """Documented endpoint → the account's own, of "A.php=B.php, C.php=D.php"."""
    pairs = (part.partition("=") for part in (text or "").split(",") if part.strip())
    return {name.strip(): actual.strip() for name, _, actual in pairs}


def shown(settings: Settings) -> dict[str, str]:
    """Every setting as text, secrets as stars: fit for a screen."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    values["state"] = _URL_PASSWORD.sub(r"\1:***@", settings.state)
    return {name: "" if value is None else str(value) for name, value in values.items()}


def kept(settings: Settings) -> dict[str, str]:
    """What a run keeps of its settings, so that it can go on: those that are set, without secrets, paths absolute."""
    found = {name: value for name, value in shown(settings).items() if value and name not in SECRETS}
    return found | {"state": _kept_state(settings.state), "runs": str(settings.runs.absolute())}


def of_run(kept: Mapping[str, str]) -> Settings:
    """The settings of a run, as `kept` gave them, whatever is set here; secrets are not in it.

    Only the password of its state database is this process's own, where that is set for the same one.
    """
    own = _from_environment(("state",)).get("state", ("", ""))[1]
    state = own if own and _kept_state(own) == kept["state"] else kept["state"]
    unset: dict[str, Any] = {name: None for name, field in Settings.model_fields.items() if field.default is None}
    return Settings(**{**unset, **kept, "state": state})


def journal(settings: Settings, kept_state: str, flag: str | None) -> str:
    """The URL of a run's state database: the flag's; else the run's own, with the password that is set for it now."""
    if flag is not None:
        return flag
    return settings.state if _kept_state(settings.state) == kept_state else kept_state


def _kept_state(state: str) -> str:
    """The URL without what changes: without its password, its path absolute."""
    path = state.removeprefix("sqlite:///")
    if path in (state, ""):
        return _URL_PASSWORD.sub(r"\1@", state)
    return f"sqlite:///{Path(path).absolute()}"


def _check_state(given: Mapping[str, object], where: str) -> None:
    """Raises UserError where a password stands where others can read it."""
    if _URL_PASSWORD.search(str(given.get("state") or "")):
        raise UserError(
            f"{where}: a password there is seen by others: put the URL into LEADS_STATE or LEADS_STATE_FILE, "
            "or the password alone into PGPASSWORD or ~/.pgpass"
        )


def _variables(alternative: tuple[Credential, ...], settings: Settings) -> str:
    missing = [c for c in alternative if not _plain(getattr(settings, c.setting))]
    return " and ".join(c.setting.upper() + (" (or …_FILE)" if c.secret else "") for c in missing)


def _plain(value: SecretStr | str | None) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value().strip()
    return (value or "").strip()


def _from_environment(names: Iterable[str] = tuple(Settings.model_fields)) -> dict[str, tuple[str, Any]]:
    """The variable and the value of these settings: LEADS_RATE, DIALEDIN_TOKEN, …; an empty variable is not set.

    A secret may be in a file that NAME_FILE names. It is read once: a pipe has nothing to say a second time.
    """
    found: dict[str, tuple[str, Any]] = {}
    for name in names:
        variable = name.upper() if name.startswith(_VENDORS) else f"LEADS_{name.upper()}"
        if value := os.environ.get(variable):
            found[name] = variable, value
        elif name in (*SECRETS, "state") and (path := os.environ.get(f"{variable}_FILE")):
            found[name] = f"{variable}_FILE", _read_secret(Path(path), f"{variable}_FILE")
    return found


def _from_file() -> dict[str, object]:
    try:
        content = tomllib.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{FILE}: can't be read: {error}") from None
    for name in content:
        if name.casefold() in SECRETS:
            raise UserError(f"{FILE}: {name} is a secret: set {name.upper()} or {name.upper()}_FILE in the environment")
    return content


def _read_secret(path: Path, variable: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UserError(f"{variable}: {path} can't be read: {reason}") from None


def _first_error(error: ValidationError, origins: Mapping[str, str]) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return (
            f"{FILE}: unknown key {key!r}; it knows: {', '.join(n for n in Settings.model_fields if n not in SECRETS)}"
        )
    where = {"flag": f"--{key.replace('_', '-')}", str(FILE): f"{FILE}: {key}"}.get(origins[key], origins[key])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}"
