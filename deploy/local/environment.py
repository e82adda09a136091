"""What each process is told, and nothing beyond it.

The edge and auth get the variables that their settings and OpenTelemetry read. Chat and asset call out to providers and
stores whose credentials have names of their own, so they get the whole environment but for what belongs to others.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic_settings import BaseSettings

from deploy.local.home import Home
from deploy.local.settings import LocalSettings
from edge.settings import EdgeSettings
from services.auth.settings import AuthSettings
from shared.config_file import VARIABLE, find_config
from shared.config_keys import variable_of

# What a program needs to run at all.
_BASE = re.compile(r"PATH|HOME|USER|LOGNAME|TMPDIR|TZ|LANG|LC_\w+|PYTHON\w+|VIRTUAL_ENV|LD_LIBRARY_PATH|SSL_CERT_\w+")
# Credentials of others: of the database, of auth, and of whoever runs the command line.
_OTHERS = re.compile(r"DATABASE_URL|PG[A-Z]+|GAIA_SIGNING_KEYS\w*|GAIA_API_KEY|GAIA_\w+_DB_PASSWORD|GAIA_LISTEN")


def base_environment(home: Home) -> dict[str, str]:
    """Returns what every process gets. `GAIA_HOME` marks the processes of this home."""
    found = {name: value for name, value in os.environ.items() if _BASE.fullmatch(name)}
    file = find_config(os.environ)
    return {**found, "GAIA_HOME": str(home.path)} | ({VARIABLE: str(file)} if file else {})


def service_environments(
    settings: LocalSettings, home: Home, database_urls: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Returns the whole environment of each process of Gaia; `database_urls` are by service."""
    targets = {
        "GAIA_AUTH_TARGET": f"dns:///127.0.0.1:{settings.auth_port}",
        "GAIA_ASSET_TARGET": f"dns:///127.0.0.1:{settings.asset_port}",
        "GAIA_CHAT_TARGET": f"dns:///127.0.0.1:{settings.chat_port}",
    }
    spans = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    common = {**base_environment(home), **spans, "GAIA_ENV": settings.env}
    outward = {name: value for name, value in os.environ.items() if not _OTHERS.fullmatch(name)} | common | targets
    auth = _read_by(AuthSettings)
    if not auth.keys() & {"GAIA_SIGNING_KEYS", "GAIA_SIGNING_KEYS_FILE"}:
        auth["GAIA_SIGNING_KEYS_FILE"] = str(home.signing_keys)
    edge = {"GAIA_EDGE_HOST": settings.edge_host, "GAIA_EDGE_PORT": str(settings.edge_port)}
    environments = {
        "auth": auth | common | _service(database_urls["auth"], settings.auth_port),
        "asset": {"GAIA_ASSET_STORE": _file_url(home.assets)}
        | outward
        | _service(database_urls["asset"], settings.asset_port),
        "chat": {"GAIA_CALL_JOURNAL": str(home.call_journal)}
        | outward
        | _service(database_urls["chat"], settings.chat_port),
        "edge": _read_by(EdgeSettings) | common | targets | edge,
    }
    return {name: environment | _own(settings, name) for name, environment in environments.items()}


def _own(settings: LocalSettings, process: str) -> dict[str, str]:
    """What each process needs one of its own of: a certificate, and an address for metrics."""
    own: dict[str, str] = {}
    files = settings.tls_files_of(process)
    if files is not None:
        own = {
            "GAIA_TLS_CERT": str(files.certificate),
            "GAIA_TLS_KEY": str(files.key),
            "GAIA_TLS_CA": str(files.authority),
        }
    if address := settings.metrics_addresses().get(process):
        own["GAIA_METRICS_LISTEN"] = address
    return own


def _read_by(settings: type[BaseSettings]) -> dict[str, str]:
    names = {variable_of(settings, field) for field in settings.model_fields}
    return {name: os.environ[name] for name in names & os.environ.keys() if os.environ[name]}


def _service(database_url: str, port: int) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "GAIA_LISTEN": f"127.0.0.1:{port}"}


def _file_url(folder: Path) -> str:
    return folder.as_uri()
