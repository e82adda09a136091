"""The whole configuration of an installation: what its file says wrongly, and what holds in the end."""

import datetime as dt
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from deploy.local.settings import LocalSettings
from edge.settings import EdgeSettings
from services.asset.settings import AssetSettings
from services.auth.settings import AuthSettings
from services.chat.listing import UnlistedError, build_listing
from services.chat.settings import ChatSettings
from shared.config_file import ConfigFile, key_text
from shared.config_keys import keys_of, read_values, variable_of
from shared.settings import CommonSettings, Fault, SettingsError, load_from

PROCESSES: Mapping[str, type[CommonSettings]] = {
    "local": LocalSettings,
    "edge": EdgeSettings,
    "auth": AuthSettings,
    "chat": ChatSettings,
    "asset": AssetSettings,
}

# `gaia up` gives each service its own; where it is given otherwise, whoever starts the service knows it.
_ASSUMED: Mapping[str, Any] = {"database_url": SecretStr("postgresql://given-at-start/gaia")}

_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+(?=@)")
_MASK = "********"


@dataclass(frozen=True, slots=True)
class Report:
    """What is wrong with a file: `faults` stop a process from starting, `warnings` do not."""

    faults: Sequence[Fault]
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Effective:
    """A value that holds, and where it comes from: a variable, a line of the file, or `default`."""

    key: str
    value: Any
    source: str


def check_config(file: ConfigFile) -> Report:
    """Finds all that is wrong with a file, whatever the environment says beside it."""
    faults: dict[tuple[str, str], Fault] = {}
    chat: CommonSettings | None = None
    for name, settings in PROCESSES.items():
        loaded, found = load_from(settings, file, prefer_file=True, assumed=_assumed(settings))
        faults.update(((fault.name, fault.message), fault) for fault in found)
        if name == "chat" and not found:
            chat = loaded
    warnings: list[str] = []
    if isinstance(chat, ChatSettings):
        try:
            unknown = build_listing(chat, dt.datetime.now(dt.UTC)).unknown
            tell = any(endpoint.discovers for endpoint in chat.openai_compatible)
            warnings += (_unknown(file, model, tell) for model in unknown)
        except UnlistedError as error:
            for one in error.faults:
                name = key_text(one.key)
                faults[name, one.message] = Fault(name, one.message, file.line(one.key))
    return Report(sorted(faults.values(), key=lambda fault: fault.line or 0), warnings)


def effective_config(file: ConfigFile | None) -> Sequence[Effective]:
    """Returns all settings as the processes have them, secrets masked. Raises SettingsError."""
    found: dict[str, Effective] = {}
    for settings in PROCESSES.values():
        loaded, faults = load_from(settings, file, assumed=_assumed(settings))
        if loaded is None or faults:
            raise SettingsError("; ".join(fault.told(file.path if file else None) for fault in faults))
        for one in _effective(settings, loaded, file):
            found.setdefault(one.key, one)
    return sorted(found.values(), key=lambda one: one.key)


def _effective(settings: type[CommonSettings], loaded: CommonSettings, file: ConfigFile | None) -> Iterator[Effective]:
    said, _ = read_values(settings, file) if file is not None else ({}, [])
    values = loaded.model_dump(mode="json", exclude_none=True)
    for field in settings.model_fields:
        value = values.get(field)
        variable = variable_of(settings, field)
        keys = keys_of(settings, field)
        if os.environ.get(variable):
            yield Effective(key_text(keys[0]), _masked(value), variable)
        elif file is not None and field in said:
            key = said[field].key
            yield Effective(key_text(key), _masked(value), f"{file.path.name}:{file.line(key) or 1}")
        elif field in _ASSUMED and field in _assumed(settings):
            yield Effective(key_text(keys[0]), None, f"missing; {variable}")
        else:
            yield Effective(key_text(keys[-1]), _masked(value), "default")


def _assumed(settings: type[CommonSettings]) -> Mapping[str, Any]:
    required = {name for name, field in settings.model_fields.items() if field.is_required()}
    return {field: value for field, value in _ASSUMED.items() if field in required}


def _masked(value: Any) -> Any:
    """Returns a dumped value, in which secrets are stars already, without what a URL may hold of them."""
    if isinstance(value, str):
        return _MASK if value and not value.strip("*") else _CREDENTIALS.sub(_MASK, value)
    if isinstance(value, list):
        return [_masked(one) for one in value]
    if isinstance(value, dict):
        return {name: _masked(one) for name, one in value.items()}
    return value


def _unknown(file: ConfigFile, model: str, tell: bool) -> str:
    key = ("models", model)
    later = ", unless a provider tells of it" if tell else ""
    return f"{file.path}:{file.line(key) or 1}: {key_text(key)}: no configured provider offers this model{later}"
