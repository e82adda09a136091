"""What the code offers to files of deployment: modules to start, and the variables that each of them reads."""

import importlib
import inspect
from importlib.util import find_spec

from pydantic_settings import BaseSettings

from shared.config_keys import variable_of


def module_exists(module: str) -> bool:
    """Whether `python -m MODULE` has something to run."""
    try:
        spec = find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{module}.__main__")
    except ModuleNotFoundError:
        return False
    return spec is not None


def settings_of(module: str) -> type[BaseSettings]:
    """Returns the settings class of a process, which stands in its `settings` module."""
    name = f"{module}.settings"
    found = [
        member
        for _, member in inspect.getmembers(importlib.import_module(name), inspect.isclass)
        if issubclass(member, BaseSettings) and member.__module__ == name
    ]
    if len(found) != 1:
        raise ValueError(f"{name} has {len(found)} settings classes, it should have one")
    return found[0]


def variables_of(module: str) -> set[str]:
    """Returns the names of the environment variables that a process reads."""
    settings = settings_of(module)
    return {variable_of(settings, field) for field in settings.model_fields}


def required_of(module: str) -> set[str]:
    """Returns the variables without which a process does not start."""
    settings = settings_of(module)
    return {variable_of(settings, name) for name, field in settings.model_fields.items() if field.is_required()}
