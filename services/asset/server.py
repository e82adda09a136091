"""Building the asset service from its settings and its connections."""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator

from gaia.asset.v1 import asset_service_pb2, asset_service_pb2_grpc

from services.asset.blobs_obstore import ObstoreBlobs, connect_blobs
from services.asset.generation import IMAGE_CATEGORIES, AssetGeneration
from services.asset.generators.generator import ImageGenerator
from services.asset.generators.unconfigured import UnconfiguredImages
from services.asset.handlers import AssetHandlers
from services.asset.ledger_postgres import PostgresLedger
from services.asset.library import AssetLibrary
from services.asset.settings import AssetSettings
from services.asset.spending import Spending
from services.asset.store_postgres import PostgresStore
from shared.budgets import Budgets
from shared.db.idempotency import IdempotencyRecords
from shared.db.metrics import service_metrics
from shared.db.pool import Database
from shared.metrics import limiter_metrics, serving_metrics
from shared.rates.limiter import RateLimiter
from shared.rates.tokens import TokenLimit
from shared.rpc.channel import connect
from shared.rpc.mesh import background, following, mesh_identity, reporting
from shared.rpc.repeats import RepeatInterceptor
from shared.rpc.server import RpcServer, ServerTls
from shared.rpc.tls import load_certificates
from shared.rpc.transports import Limits
from shared.settings import SettingsError, load

logger = logging.getLogger(__name__)

SERVICES = (asset_service_pb2.DESCRIPTOR.services_by_name["AssetService"],)
CREATING = (SERVICES[0].methods_by_name["GenerateAsset"],)
"""Methods that heed an Idempotency-Key."""


@contextlib.asynccontextmanager
async def serving(settings: AssetSettings, reload: asyncio.Event | None = None) -> AsyncIterator[RpcServer]:
    """Serves while the block runs, and drains at its end. Raises SettingsError, or OSError for the address.

    Whenever `reload` is set, the settings are read again, and their budgets taken over.
    """
    blobs = _open_blobs(settings.asset_store)
    database = Database(settings.database_url.get_secret_value(), size=settings.database_pool_size)
    store = PostgresStore(database)
    limiter = RateLimiter(settings.rate_limit_url.get_secret_value() if settings.rate_limit_url else "")
    spending = Spending(
        PostgresLedger(database),
        TokenLimit(limiter, per_address=settings.tokens_per_minute_per_address),
        _budgets(settings),
        _now,
    )
    certificates = load_certificates(settings)
    async with connect(settings.auth_target, certificates) as auth, _image_generator(settings) as images:
        identity = mesh_identity(settings.env, auth)
        generation = AssetGeneration(
            dict.fromkeys(IMAGE_CATEGORIES, images),
            blobs,
            store,
            spending,
            timeout=settings.image_timeout_seconds,
            max_in_flight=settings.max_generations,
        )
        repeats = IdempotencyRecords(database)
        handlers = AssetHandlers(generation, AssetLibrary(store, blobs), blobs.location)
        server = RpcServer(
            listen=settings.listen,
            services=SERVICES,
            register=(lambda server: asset_service_pb2_grpc.add_AssetServiceServicer_to_server(handlers, server),),
            interceptors=[*identity.interceptors(SERVICES), RepeatInterceptor(repeats, CREATING)],
            probes={"database": database.ping},
            tls=ServerTls.of(settings, certificates),
            kind=settings.rpc_server,
            limits=Limits.of(settings),
        )
        await database.open()
        try:
            # Started outside of the task group that follows, so that an address in use stays the OSError that it is.
            await server.start()
            try:
                async with (
                    serving_metrics(
                        settings.metrics_listen, [*service_metrics(identity, database), limiter_metrics(limiter)]
                    ),
                    following(identity.feed, auth),
                    reporting(identity.refusals, auth),
                    background(_reloading(spending, reload or asyncio.Event())),
                ):
                    yield server
            finally:
                await server.stop(settings.drain_seconds)
                await generation.drain()
                await spending.drain()
        finally:
            await limiter.close()
            await database.close()


async def _reloading(spending: Spending, asked: asyncio.Event) -> None:
    """Takes budgets over whenever the event is set. Settings that do not load are refused in the log."""
    while True:
        await asked.wait()
        asked.clear()
        try:
            settings = await asyncio.to_thread(load, AssetSettings)
        except SettingsError as error:
            logger.error("the budgets were not taken over, those before hold", extra={"error": str(error)})
            continue
        spending.budgets = _budgets(settings)
        logger.info("budgets were taken over; other settings are at the next start")


def _budgets(settings: AssetSettings) -> Budgets:
    return Budgets(settings.platform_monthly_budget_usd, settings.user_monthly_budget_usd)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _open_blobs(url: str) -> ObstoreBlobs:
    try:
        return connect_blobs(url)
    except ValueError as error:
        raise SettingsError(f"GAIA_ASSET_STORE: {error}") from error
    except OSError as error:
        raise SettingsError(f"GAIA_ASSET_STORE: cannot make the folder {error.filename}: {error.strerror}") from error


@contextlib.asynccontextmanager
async def _image_generator(settings: AssetSettings) -> AsyncIterator[ImageGenerator]:
    if settings.openai_api_key is None:
        yield UnconfiguredImages("openai", "OPENAI_API_KEY")
        return
    # The SDK takes a second and some 45 MB to load, which a process without a key need not pay.
    from services.asset.generators.openai_images import MAX_IMAGE_BYTES, OpenAIImages, connect_openai
    from services.asset.generators.public_fetch import PublicFetcher

    fetcher = PublicFetcher(max_bytes=MAX_IMAGE_BYTES)
    try:
        async with connect_openai(settings.openai_api_key.get_secret_value(), settings.openai_base_url) as client:
            yield OpenAIImages(client, settings.image_model, fetcher.fetch)
    finally:
        await fetcher.close()
