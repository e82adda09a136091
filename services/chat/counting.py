"""Counting the tokens of a request before it is sent: by the model's provider where it counts, else by an estimate."""

import asyncio
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from services.chat.catalogue import Catalogue, ModelSpec
from services.chat.dialects.base import Asked
from services.chat.metering import check_model
from services.chat.providers import errors
from services.chat.responding import Responder
from services.chat.tokens import turn_tokens
from services.chat.turn import Turn
from shared.errors import GaiaError
from shared.identity.principal import Principal


@runtime_checkable
class TokenCounter(Protocol):
    """A provider that counts tokens."""

    async def count_tokens(self, turn: Turn, model: ModelSpec) -> int:
        """Returns how many tokens the turn has. Raises the errors of `services.chat.providers.errors`."""
        ...


@dataclass(frozen=True, slots=True)
class Counted:
    """How many tokens a request has; an estimate is rather too high than too low."""

    tokens: int
    is_estimate: bool


class Counting:
    """Counts the tokens of requests of any dialect; nothing is stored of it, since it costs nothing."""

    def __init__(self, catalogue: Catalogue, responder: Responder) -> None:
        self._catalogue = catalogue
        self._responder = responder

    async def count(self, asked: Asked, caller: Principal, seconds: float) -> Counted:
        """Counts a request's tokens within `seconds`.

        Raises NotFound for the model, PermissionDenied where the key may not use it, InvalidArgument for what its
        provider has no counterpart of, and the provider's errors.
        """
        model = self._catalogue.model(asked.model)
        check_model(caller, model)
        if not self._responder.speaks(model, asked.dialect):
            turn, _ = self._responder.fit(asked.translated()[0], model)
            return Counted(turn_tokens(turn), is_estimate=True)
        turn = asked.same_dialect()
        lease = self._responder.providers[model.provider].lease(model)
        try:
            if not isinstance(lease.endpoint.adapter, TokenCounter):
                return Counted(turn_tokens(turn), is_estimate=True)
            async with asyncio.timeout(seconds):
                counted = await lease.endpoint.adapter.count_tokens(turn, model)
            lease.succeeded()
        except TimeoutError as late:
            raise errors.timed_out(model.provider) from late
        except GaiaError as failure:
            lease.failed(failure)
            raise
        finally:
            lease.end()
        return Counted(counted, is_estimate=False)
