"""Holds deploy/compose to the code."""

import re
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from deploy.cli.release import PORTS
from deploy.entry_points import module_exists, required_of, variables_of
from deploy.local.database import role_of
from deploy.local.settings import LocalSettings
from shared.config_keys import variable_of

FILE = "deploy/compose/compose.yaml"
PROCESSES = {"auth": "services.auth", "chat": "services.chat", "asset": "services.asset", "edge": "edge"}
EDGE_PORT = 8666
_REFERENCE = re.compile(r"\$\{(\w+)(:?[-?][^}]*)?\}")


def compose_faults(text: str, example: str) -> list[str]:
    """Returns what is wrong with the Compose file, and with the example of its `.env`."""
    try:
        services: dict[str, Any] = YAML(typ="safe").load(text)["services"]
    except YAMLError as error:
        return [f"{FILE}: {error}"]
    found = [f"services.{name}: is missing" for name in PROCESSES if name not in services]
    for name, module in PROCESSES.items():
        if name in services:
            found += [f"services.{name}.{fault}" for fault in _process_faults(name, module, services[name])]
    found += [f"services.init.{fault}" for fault in _init_faults(services.get("init", {}))]
    return [f"{FILE}: {fault}" for fault in found] + _example_faults(text, example)


def _process_faults(name: str, module: str, service: dict[str, Any]) -> list[str]:
    environment = service.get("environment", {})
    found = []
    if service.get("command") != ["python", "-m", module] or not module_exists(module):
        found.append(f"command: must be [python, -m, {module}]")
    found += [f"environment: {module} does not read {key}" for key in sorted(set(environment) - variables_of(module))]
    found += [f"environment: {module} needs {key}" for key in sorted(required_of(module) - set(environment))]
    for key, value in environment.items():
        if key.endswith("_TARGET"):
            target = key.removeprefix("GAIA_").removesuffix("_TARGET").lower()
            if value != f"dns:///{target}:{PORTS[target]}":
                found.append(f"environment.{key}: must be dns:///{target}:{PORTS[target]}")
    if "DATABASE_URL" in environment and urlsplit(environment["DATABASE_URL"]).username != role_of(name):
        found.append(f"environment.DATABASE_URL: must log in as {role_of(name)}")
    return found + _address_faults(name, environment, service)


def _address_faults(name: str, environment: dict[str, str], service: dict[str, Any]) -> list[str]:
    found = []
    if name == "edge":
        expected, health = {"GAIA_EDGE_PORT": str(EDGE_PORT)}, f"http://127.0.0.1:{EDGE_PORT}/readyz"
    else:
        expected, health = {"GAIA_LISTEN": f"[::]:{PORTS[name]}"}, f"grpc://127.0.0.1:{PORTS[name]}"
    found += [f"environment.{key}: must be {value}" for key, value in expected.items() if environment.get(key) != value]
    test = service.get("healthcheck", {}).get("test")
    if test != ["CMD", "python", "-m", "deploy.cli.probe", health] or not module_exists("deploy.cli.probe"):
        found.append(f"healthcheck.test: must ask {health} by deploy.cli.probe")
    return found


def _init_faults(init: dict[str, Any]) -> list[str]:
    from typer.main import get_command

    from deploy.cli.main import app

    command = list(init.get("command", []))
    found = []
    if command[:3] != ["gaia", "db", "init"]:
        found.append("command: must be gaia db init")
    database: Any = get_command(app)
    parameters = database.commands["db"].commands["init"].params
    options = {option for parameter in parameters for option in parameter.opts}
    used = {word.partition("=")[0] for word in command[3:]}
    found += [f"command: gaia db init has no option {option}" for option in sorted(used - options)]
    known = {variable_of(LocalSettings, field) for field in LocalSettings.model_fields}
    found += [f"environment: gaia does not read {key}" for key in sorted(set(init.get("environment", {})) - known)]
    return found


def _example_faults(text: str, example: str) -> list[str]:
    offered = {line.partition("=")[0] for line in example.splitlines() if line and not line.startswith("#")}
    references = _REFERENCE.findall(text)
    without_default = {name for name, default in references if not default.lstrip(":").startswith("-")}
    found = [f"deploy/compose/env.example: {name} is missing" for name in sorted(without_default - offered)]
    unused = sorted(offered - {name for name, _ in references})
    return found + [f"deploy/compose/env.example: {name} is not used" for name in unused]
