"""What `gaia test` asks, and what a right answer looks like."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from deploy.cli.client import Edge
from deploy.cli.smoke import Check
from deploy.local.errors import StackError

QUESTION = "This is a test of the platform. Answer with one short sentence."
_STREAM_BEGINS = ["start", "ready", "model_selection"]
_STREAM_ENDS = ["metadata", "complete"]


class Failed(Exception):
    """The answer is not right; the message says in what."""


@dataclass(frozen=True, slots=True)
class Context:
    """What checks work with."""

    edge: Edge
    provider: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a check went."""

    name: str
    ok: bool
    seconds: float
    detail: str


def run_check(context: Context, check: Check) -> Result:
    """Runs a check; every fault of the platform becomes a result."""
    began = time.monotonic()
    try:
        ok, detail = True, CHECKS[check](context)
    except (Failed, StackError) as error:
        ok, detail = False, str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        ok, detail = False, f"the answer has another form than expected: {error!r}"
    return Result(check, ok, time.monotonic() - began, detail)


def check_health(context: Context) -> str:
    """Every service and the database are healthy."""
    report = context.edge.call("GET", "/health")
    parts = {name: service["status"] for name, service in report["services"].items()}
    parts["database"] = report["database"]["status"]
    summary = ", ".join(f"{name} {status}" for name, status in parts.items())
    _require(report["status"] == "healthy", f"{report['status']}: {summary}")
    return summary


def check_providers(context: Context) -> str:
    """There are providers, and the edge knows the key."""
    reply = context.edge.call("GET", "/api/v0.2/providers")
    providers = reply["providers"]
    _require(len(providers) == reply["total_providers"] > 0, f"{reply['total_providers']} providers are counted")
    return ", ".join(f"{provider['id']} {provider['status']}" for provider in providers)


def check_models(context: Context) -> str:
    """There are models, each of a provider."""
    reply = context.edge.call("GET", "/api/v0.2/models")
    models = reply["models"]
    _require(len(models) == reply["total"] > 0, f"{reply['total']} models are counted, {len(models)} listed")
    _require(all(model["id"] and model["provider"] for model in models), "a model has no id or no provider")
    return f"{len(models)} models"


def check_chat(context: Context) -> str:
    """A question is answered, and the tokens are counted."""
    reply = context.edge.call("POST", "/api/v0.2/chat", body=_question(context))
    _require(bool(reply["response"].strip()), "the reply is empty")
    _require(reply["usage"]["output_tokens"] > 0, "no tokens are counted")
    _require(bool(reply["conversation_id"]), "the reply belongs to no conversation")
    return f"{reply['model']} of {reply['provider']}: {reply['usage']['total_tokens']} tokens"


def check_stream(context: Context) -> str:
    """A question is answered as events, in their order, with an end."""
    began, first = time.monotonic(), None
    types: list[str] = []
    text = ""
    for line in context.edge.lines("/api/v0.2/chat/stream", _question(context)):
        data = line.removeprefix("data: ")
        if data == line:
            continue  # blank lines and comments
        if data == "[DONE]":
            types.append(data)
            continue
        event: dict[str, Any] = json.loads(data)
        types.append(event["type"])
        if event["type"] == "error":
            raise Failed(f"the stream ended in an error: {event['error']}")
        if event["type"] == "content":
            first = first or time.monotonic() - began
            text += event["content"]
    contents = types.count("content")
    expected = [*_STREAM_BEGINS, *["content"] * contents, *_STREAM_ENDS, "[DONE]"]
    _require(
        [name for name in types if name != "fallback_attempt"] == expected, f"the events came as {' '.join(types)}"
    )
    _require(bool(text.strip()), "the reply is empty")
    return f"{contents} content events, the first after {(first or 0) * 1000:.0f} ms"


def check_assets(context: Context) -> str:
    """The asset service answers and lists the caller's assets."""
    reply = context.edge.call("GET", "/api/v1/assets/test")
    _require(reply["status"] == "ok", f"the service says {reply['status']}")
    return f"{context.edge.call('GET', '/api/v1/assets')['total']} assets"


CHECKS: Mapping[Check, Callable[[Context], str]] = MappingProxyType(
    {
        Check.HEALTH: check_health,
        Check.PROVIDERS: check_providers,
        Check.MODELS: check_models,
        Check.CHAT: check_chat,
        Check.STREAM: check_stream,
        Check.ASSETS: check_assets,
    }
)


def _question(context: Context) -> dict[str, str]:
    return {"message": QUESTION, "provider": context.provider}


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)
