"""Which processes may call a server at all, and speak for others, by the names in their certificates."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc

from shared.errors import PermissionDenied
from shared.rpc import peers, status
from shared.rpc.entering import entered

HEALTH = "/grpc.health."
"""Orchestrators ask with a certificate of the same authority, whatever its name."""
_NAMES = ("x509_subject_alternative_name", "x509_common_name")

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class CallerInterceptor(grpc.aio.ServerInterceptor):
    """Refuses callers whose certificate has none of the allowed names, before anything else is looked at.

    Those with one of the names in `speakers` are believed about the address of the client that they call for.
    Wrapped handlers are made once per method, as `shared.rpc.interceptors` does.
    """

    def __init__(self, allowed: Iterable[str], speakers: Iterable[str] = ()) -> None:
        self._allowed = frozenset(name.encode() for name in allowed)
        self._speakers = frozenset(name.encode() for name in speakers)
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Implements grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(HEALTH):
            return handler
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, entered(handler, self._check))
        return known[1]

    async def _check(self, context: Any) -> None:
        presented: Mapping[str, Iterable[bytes]] = context.auth_context()
        names = {name for kind in _NAMES for name in presented.get(kind, ())}
        if not self._allowed.isdisjoint(names):
            peers.believe(not self._speakers.isdisjoint(names))
            return
        await status.abort(
            context,
            PermissionDenied(
                "the certificate of this caller has none of the names that may call this service", reason="CALLER"
            ),
        )
