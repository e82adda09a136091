"""How the file of settings and the settings of a process belong together: keys, secrets, and what is wrong with them.

Each class of settings says in `config_section` where its fields stand by their names, and in `config_keys` which ones
stand elsewhere. What several processes have in common stands in `common`, or in a process's own section for that one
alone.
"""

import difflib
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings

from shared.config_file import ConfigFile, Key, key_text

COMMON = "common"
SECTIONS = (
    COMMON,
    "aliases",
    "asset",
    "auth",
    "budgets",
    "chat",
    "defaults",
    "edge",
    "limits",
    "local",
    "models",
    "providers",
)
"""All sections of the file, whoever reads them."""

MAX_SECRET_BYTES = 64 * 1024
_SECRET_SUFFIXES = ("_env", "_file")
_SECRETS_WITHIN = ("api_key",)
"""Names of secrets inside of lists and tables that are one setting."""


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """What is wrong with a key of the file, and what would be right."""

    key: Key
    message: str


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """A value of the file, by the key that it stands at."""

    key: Key
    value: Any


def variable_of(settings: type[BaseSettings], field: str) -> str:
    """Names the environment variable of a field."""
    alias = settings.model_fields[field].validation_alias
    return str(alias) if alias else f"GAIA_{field.upper()}"


def keys_of(settings: type[BaseSettings], field: str) -> tuple[Key, ...]:
    """Returns the keys of a field, the one that goes before the others first."""
    elsewhere = getattr(settings, "config_keys", {}).get(field)
    if elsewhere is not None:
        return (tuple(elsewhere.split(".")),)
    section = _section(settings)
    own: tuple[Key, ...] = ((section, field),) if section else ()
    shared = any(
        _section(base) == COMMON and field in base.model_fields
        for base in settings.__mro__
        if issubclass(base, BaseSettings)
    )
    return (*own, (COMMON, field)) if shared and section != COMMON else own


def read_values(
    settings: type[BaseSettings], file: ConfigFile, environment: Mapping[str, str] = os.environ
) -> tuple[dict[str, ConfigValue], list[ConfigFault]]:
    """Returns what the file says for each field that it names, secrets fetched, and what is wrong with its keys."""
    faults = list(_unknown(settings, file))
    fields = frozenset(key for field in settings.model_fields for key in keys_of(settings, field))
    secrets = _Secrets(file.path.parent, environment, fields, faults)
    values: dict[str, ConfigValue] = {}
    for field in settings.model_fields:
        for key in keys_of(settings, field):
            value = file.get(key)
            if is_secret(settings, field):
                value = secrets.fetched(file.get(key[:-1]), key)
            if value is not None:
                values[field] = ConfigValue(key, secrets.within(value, key))
                break
    return values, faults


def is_secret(settings: type[BaseSettings], field: str) -> bool:
    """Whether a field holds a secret."""
    return any(part is SecretStr for part in _parts(settings.model_fields[field].annotation))


def extra_key_message(settings: type[BaseSettings], location: Sequence[int | str]) -> str:
    """Says what an unknown key inside of a setting may have been meant to be; `location` begins with the field."""
    field, *inner, unknown = location
    model: Any = settings.model_fields[str(field)].annotation
    for name in inner:
        model = _inside(model, name)
    known = next((list(part.model_fields) for part in _parts(model) if _is_model(part)), [])
    return unknown_message(str(unknown), known)


def unknown_message(name: str, known: Sequence[str]) -> str:
    """Says that a key is not known, and which ones are near."""
    near = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(known))}"
    return f"is no key of this table ({hint})"


def _section(settings: type[BaseSettings]) -> str:
    return str(getattr(settings, "config_section", ""))


def _unknown(settings: type[BaseSettings], file: ConfigFile) -> Iterator[ConfigFault]:
    for name in file.document:
        if name not in SECTIONS:
            yield ConfigFault((name,), unknown_message(name, SECTIONS))
    leaves = {key for field in settings.model_fields for key in keys_of(settings, field)}
    secret = {key for field in settings.model_fields if is_secret(settings, field) for key in keys_of(settings, field)}
    leaves |= {(*key[:-1], f"{key[-1]}{suffix}") for key in secret for suffix in _SECRET_SUFFIXES}
    leaves |= {tuple(key.split(".")) for key in getattr(settings, "config_others", ())}
    for section in (*getattr(settings, "config_sections", ()), COMMON):
        if section in file.document:
            yield from _unknown_below((section,), file.document[section], leaves)


def _unknown_below(at: Key, value: Any, leaves: set[Key]) -> Iterator[ConfigFault]:
    if at in leaves:
        return
    if not isinstance(value, Mapping):
        yield ConfigFault(at, f"must be a table: [{key_text(at)}]")
        return
    known = sorted({str(leaf[len(at)]) for leaf in leaves if leaf[: len(at)] == at and len(leaf) > len(at)})
    for name, inner in value.items():
        if name in known:
            yield from _unknown_below((*at, name), inner, leaves)
        else:
            yield ConfigFault((*at, name), unknown_message(name, known))


@dataclass(frozen=True, slots=True)
class _Secrets:
    """Fetches secrets that the file only names: `api_key_env` a variable, `api_key_file` a file beside this one."""

    folder: Path
    environment: Mapping[str, str]
    fields: frozenset[Key]
    """Keys of settings; what looks like the way to a secret may be one of them."""
    faults: list[ConfigFault]

    def within(self, value: Any, at: Key) -> Any:
        """Returns a value with the secrets of all its tables fetched."""
        if isinstance(value, list):
            return [self.within(one, (*at, number)) for number, one in enumerate(value)]
        if not isinstance(value, Mapping):
            return value
        whole = {name: self.within(one, (*at, name)) for name, one in value.items()}
        for name in _SECRETS_WITHIN:
            secret = self.fetched(whole, (*at, name))
            for suffix in _SECRET_SUFFIXES:
                whole.pop(f"{name}{suffix}", None)
            if secret is not None:
                whole[name] = secret
        return whole

    def fetched(self, table: Any, key: Key) -> Any:
        """Returns a table's secret, or what its `…_env` or `…_file` leads to; None without any."""
        if not isinstance(table, Mapping):
            return None
        name = key[-1]
        given = table.get(name)
        variable, path = (
            None if (*key[:-1], f"{name}{suffix}") in self.fields else table.get(f"{name}{suffix}")
            for suffix in _SECRET_SUFFIXES
        )
        if sum(one is not None for one in (given, variable, path)) > 1:
            self._fault(key, "", f"give one of {name}, {name}_env and {name}_file")
        if given is not None:
            return given
        if variable is not None:
            found = self.environment.get(str(variable))
            if not found:
                self._fault(key, "_env", f"the variable {variable} is not set")
            return found
        if path is not None:
            return self._from_file(key, self.folder / Path(str(path)).expanduser())
        return None

    def _from_file(self, key: Key, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                text = file.read(MAX_SECRET_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            self._fault(key, "_file", f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is no text'}")
            return None
        if not text:
            self._fault(key, "_file", f"{path} is empty")
        return text

    def _fault(self, key: Key, suffix: str, message: str) -> None:
        self.faults.append(ConfigFault((*key[:-1], f"{key[-1]}{suffix}"), message))


def _parts(annotation: Any) -> Iterator[Any]:
    """Yields an annotation, and what is inside of its unions and Annotated."""
    yield annotation
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _parts(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            yield from _parts(argument)


def _inside(annotation: Any, name: int | str) -> Any:
    """Returns the annotation of an element of a list, of a value of a dict, or of a model's field."""
    for part in _parts(annotation):
        if _is_model(part) and name in part.model_fields:
            return part.model_fields[name].annotation
        arguments = typing.get_args(part)
        origin = typing.get_origin(part)
        if origin in (tuple, list):
            return arguments[0]
        if origin is dict:
            return arguments[1]
    return None


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)
