"""What is offered now: made from the settings, and made again when they or a provider's models change."""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from services.chat.adapters import Adapters
from services.chat.discovery import Discovery, Source
from services.chat.health import HealthBoard
from services.chat.listing import LOCAL, Discovered, Listing, build_listing
from services.chat.offer import connect_providers, ways_of
from services.chat.resilience.probing import probing
from services.chat.settings import ChatSettings, CompatibleEndpoint
from shared.settings import SettingsError

logger = logging.getLogger(__name__)

RELOADED = (
    "openai_",
    "anthropic_",
    "local_provider",
    "default_",
    "model",
    "provider_",
    "platform_monthly_budget_usd",
    "user_monthly_budget_usd",
)
"""What the names of settings begin with that are taken over without a restart."""
NOT_RELOADED = ("provider_total_seconds",)
"""Those among them that are not: all handlers were told the longest time of a call when they were made."""


class Offering:
    """The catalogue, the prices and the adapters, which are the same objects for as long as the process runs.

    What they hold is replaced at once, between two calls: a call has its model from before or from after. `changed` is
    called after each change. Raises SettingsError.
    """

    def __init__(self, settings: ChatSettings, now: Callable[[], dt.datetime]) -> None:
        listing = build_listing(settings, now())
        self.settings = settings
        self.catalogue = listing.catalogue
        self.prices = listing.prices
        self._ways = ways_of(settings)
        self.adapters = Adapters(connect_providers(self._ways), longest_seconds=settings.provider_total_seconds)
        self.board = HealthBoard(self._models(), now, self._is_left_alone)
        self.changed: Callable[[ChatSettings], None] = lambda _: None
        self._now = now
        self._discovery = Discovery({}, self._told)
        self._asking = contextlib.AsyncExitStack()
        self._changing = asyncio.Lock()
        _tell_unknown(listing)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Asks providers for their models while the block runs, and closes all adapters at its end."""
        try:
            await self._ask(self.settings, {})
            yield
        finally:
            await self._asking.aclose()
            await self.adapters.close()

    async def reload(self, settings: ChatSettings) -> None:
        """Offers what other settings say. Raises SettingsError, and nothing is changed then.

        An adapter whose settings are the same stays, with its connections.
        """
        async with self._changing:
            told = self._still_told(settings)
            listing = await self._list(settings, told)
            ways = ways_of(settings)
            same = {
                name for name, way in ways.items() if name in self._ways and self._ways[name].settings == way.settings
            }
            fresh = connect_providers({name: way for name, way in ways.items() if name not in same})
            adapters = {name: self.adapters[name] if name in same else fresh[name] for name in ways}
            later = _at_next_start(self.settings, settings)
            self.settings, self._ways = settings, ways
            self.adapters.take(adapters)
            self._take(listing)
            await self._ask(settings, told)
        _tell_unknown(listing)
        logger.info(
            "the settings were read again", extra={"models": len(self.catalogue.models), "at_next_start": later}
        )

    def _take(self, listing: Listing) -> None:
        self.catalogue.take(listing.catalogue)
        self.prices.take(listing.prices)
        self.board.measure(self._models())
        self.changed(self.settings)

    async def _told(self) -> None:
        """Lists the models anew, since a provider told of others."""
        async with self._changing:
            self._take(await self._list(self.settings, dict(self._discovery.found)))

    async def _list(self, settings: ChatSettings, told: Discovered) -> Listing:
        # Reading what is published of all models takes longer than a stream may wait for its next word.
        return await asyncio.to_thread(build_listing, settings, self._now(), told)

    def _still_told(self, settings: ChatSettings) -> dict[str, Sequence[str]]:
        """Returns what was told by those providers that are asked at the same address still."""
        before = {endpoint.id: endpoint.first_url for endpoint in self.settings.openai_compatible}
        asked = {one.id for one in settings.openai_compatible if one.discovers and before.get(one.id) == one.first_url}
        return {name: models for name, models in self._discovery.found.items() if name in asked}

    async def _ask(self, settings: ChatSettings, told: dict[str, Sequence[str]]) -> None:
        """Begins to ask for models, and for signs of life, in place of what was asked before."""
        await self._asking.aclose()
        asked = [endpoint for endpoint in settings.openai_compatible if endpoint.discovers]
        self._discovery = Discovery(_sources(asked), self._told, found=told)
        await self._asking.enter_async_context(self._discovery.running())
        probed = [pool for name, pool in self.adapters.items() if name != LOCAL]
        await self._asking.enter_async_context(probing(probed, self.board, settings.provider_probe_seconds))

    def _is_left_alone(self, provider: str) -> bool:
        return provider in self.adapters and self.adapters[provider].is_left_alone

    def _models(self) -> list[tuple[str, str]]:
        return [(model.provider, model.id) for model in self.catalogue.models]


@contextlib.asynccontextmanager
async def reloading(offering: Offering, asked: asyncio.Event, load: Callable[[], ChatSettings]) -> AsyncIterator[None]:
    """Reloads, while the block runs, whenever the event is set. Settings that do not load are refused in the log."""

    async def run() -> None:
        while True:
            await asked.wait()
            asked.clear()
            try:
                await offering.reload(await asyncio.to_thread(load))
            except SettingsError as error:
                logger.error("the settings were not taken over, those before hold", extra={"error": str(error)})
            except Exception:
                logger.exception("the settings were not taken over, those before hold")

    task = asyncio.get_running_loop().create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _sources(endpoints: Sequence[CompatibleEndpoint]) -> dict[str, Source]:
    if not endpoints:
        return {}
    from services.chat.providers.model_list import fetch_model_names
    from services.chat.providers.upstream import tls_context

    tls = tls_context()
    return {
        one.id: partial(fetch_model_names, one.id, one.first_url, one.first_key.get_secret_value(), tls)
        for one in endpoints
    }


def _at_next_start(before: ChatSettings, after: ChatSettings) -> list[str]:
    return [
        name
        for name in ChatSettings.model_fields
        if (not name.startswith(RELOADED) or name in NOT_RELOADED) and getattr(before, name) != getattr(after, name)
    ]


def _tell_unknown(listing: Listing) -> None:
    if listing.unknown:
        logger.warning("no provider offers models of which something is stated", extra={"models": listing.unknown})
