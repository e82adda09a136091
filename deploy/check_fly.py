"""Holds the files of deploy/fly to the code."""

import tomllib
from typing import Any

from deploy.cli.release import CALLS, PORTS, SERVICES
from deploy.entry_points import module_exists, variables_of

EDGE_PORT = 8666


def module_of(service: str) -> str:
    """Returns the module of a service's process."""
    return "edge" if service == "edge" else f"services.{service}"


def fly_faults(service: str, text: str) -> list[str]:
    """Returns what is wrong with a service's file."""
    file = f"deploy/fly/{service}.toml"
    try:
        config = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [f"{file}: {error}"]
    return [f"{file}: {fault}" for fault in [*_process_faults(service, config), *_port_faults(service, config)]]


def release_faults() -> list[str]:
    """Returns what is wrong with what `gaia deploy` adds to the files."""
    return [
        f"deploy/cli/release.py: {module_of(service)} does not read {name}"
        for service in SERVICES
        for name in sorted({"GAIA_ENV", *CALLS[service]} - variables_of(module_of(service)))
    ]


def _process_faults(service: str, config: dict[str, Any]) -> list[str]:
    module = module_of(service)
    found = []
    if "app" in config:
        found.append("app: must not be named; one file serves all environments")
    if config.get("processes") != {"app": f"python -m {module}"}:
        found.append(f"processes: must be app = 'python -m {module}'")
    if not module_exists(module):
        found.append(f"processes: there is no module {module}")
    unknown = sorted(set(config.get("env", {})) - variables_of(module))
    found += [f"env: {module} does not read {name}" for name in unknown]
    found += [
        f"env: {name} must be a string" for name, value in config.get("env", {}).items() if type(value) is not str
    ]
    return found


def _port_faults(service: str, config: dict[str, Any]) -> list[str]:
    environment = config.get("env", {})
    if service == "edge":
        http = config.get("http_service", {})
        ports = {
            "env.GAIA_EDGE_PORT": environment.get("GAIA_EDGE_PORT"),
            "http_service.internal_port": str(http.get("internal_port")),
        }
        found = [f"{name}: must be {EDGE_PORT}, not {port}" for name, port in ports.items() if port != str(EDGE_PORT)]
        if [check.get("path") for check in http.get("checks", [])] != ["/readyz"]:
            found.append("http_service.checks: there must be one, of /readyz")
        return found
    found = []
    if environment.get("GAIA_LISTEN") != f"[::]:{PORTS[service]}":
        found.append(f"env.GAIA_LISTEN: must be [::]:{PORTS[service]}, Fly's network being IPv6")
    if [check.get("port") for check in config.get("checks", {}).values()] != [PORTS[service]]:
        found.append(f"checks: there must be one, of port {PORTS[service]}")
    if "http_service" in config or "services" in config:
        found.append("a service is not to be reached from outside")
    return found
