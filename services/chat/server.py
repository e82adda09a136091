"""Building the chat service from its settings, its database, its providers and a channel to auth."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator

from gaia.chat.v1 import (
    chat_service_pb2,
    chat_service_pb2_grpc,
    combined_chat_service_pb2,
    combined_chat_service_pb2_grpc,
    completion_service_pb2,
    completion_service_pb2_grpc,
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    media_service_pb2,
    media_service_pb2_grpc,
    message_service_pb2,
    message_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    persona_service_pb2,
    persona_service_pb2_grpc,
    plain_chat_service_pb2,
    plain_chat_service_pb2_grpc,
    provider_service_pb2,
    provider_service_pb2_grpc,
    response_service_pb2,
    response_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)

from services.chat.background import BackgroundCalls
from services.chat.background_postgres import PostgresRunningCalls
from services.chat.cache import ResponseCache
from services.chat.calls import Calls
from services.chat.chatting import Chat
from services.chat.combining import Combined
from services.chat.completing import Completions
from services.chat.conversations import Conversations
from services.chat.conversations_postgres import PostgresConversations
from services.chat.counting import Counting
from services.chat.handlers_chat import ChatHandlers
from services.chat.handlers_combined import CombinedChatHandlers
from services.chat.handlers_completion import CompletionHandlers
from services.chat.handlers_conversations import ConversationHandlers
from services.chat.handlers_media import EmbeddingHandlers, MediaHandlers
from services.chat.handlers_messages import MessageHandlers
from services.chat.handlers_models import ModelHandlers
from services.chat.handlers_personas import PersonaHandlers
from services.chat.handlers_plain_chat import PlainChatHandlers
from services.chat.handlers_providers import ProviderHandlers
from services.chat.handlers_responses import ResponseHandlers
from services.chat.handlers_usage import UsageHandlers
from services.chat.kept_responses import KeptResponses
from services.chat.ledger_postgres import PostgresLedger
from services.chat.media.answering import MediaCalls
from services.chat.metering import Meter
from services.chat.offer import utc_now
from services.chat.offering import Offering, reloading
from services.chat.personas import Personas
from services.chat.personas_postgres import PostgresPersonas
from services.chat.recommending import Advisor
from services.chat.resilience.policy import RetryPolicy
from services.chat.responding import Responder
from services.chat.selection import Selector
from services.chat.settings import ChatSettings
from services.chat.store_postgres import PostgresStore
from services.chat.upkeep import sweeping
from services.chat.usage_postgres import PostgresUsage
from shared.budgets import Budgets
from shared.db.idempotency import IdempotencyRecords
from shared.db.metrics import service_metrics
from shared.db.pool import Database
from shared.metrics import limiter_metrics, serving_metrics
from shared.rates.limiter import RateLimiter
from shared.rates.tokens import TokenLimit
from shared.rpc.channel import connect
from shared.rpc.mesh import following, mesh_identity, reporting
from shared.rpc.repeats import RepeatInterceptor
from shared.rpc.server import RpcServer, ServerTls
from shared.rpc.tls import load_certificates
from shared.rpc.transports import Limits
from shared.settings import SettingsError, load

SERVICES = (
    chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"],
    conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"],
    persona_service_pb2.DESCRIPTOR.services_by_name["PersonaService"],
    plain_chat_service_pb2.DESCRIPTOR.services_by_name["PlainChatService"],
    combined_chat_service_pb2.DESCRIPTOR.services_by_name["CombinedChatService"],
    completion_service_pb2.DESCRIPTOR.services_by_name["CompletionService"],
    response_service_pb2.DESCRIPTOR.services_by_name["ResponseService"],
    message_service_pb2.DESCRIPTOR.services_by_name["MessageService"],
    embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"],
    media_service_pb2.DESCRIPTOR.services_by_name["MediaService"],
    provider_service_pb2.DESCRIPTOR.services_by_name["ProviderService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"],
)

CREATING = (
    conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"].methods_by_name["CreateConversation"],
    plain_chat_service_pb2.DESCRIPTOR.services_by_name["PlainChatService"].methods_by_name["CreatePlainConversation"],
    persona_service_pb2.DESCRIPTOR.services_by_name["PersonaService"].methods_by_name["CreatePersona"],
)
"""Methods that create something and ask no model; calls of models heed an Idempotency-Key by their ledger."""


@contextlib.asynccontextmanager
async def serving(settings: ChatSettings, reload: asyncio.Event | None = None) -> AsyncIterator[RpcServer]:
    """Serves while the block runs, and drains at its end. Raises SettingsError, or OSError for the address.

    Whenever `reload` is set, the settings are read again, and what they offer is taken over.
    """
    offering = Offering(settings, utc_now)
    catalogue, board = offering.catalogue, offering.board
    database = Database(settings.database_url.get_secret_value(), size=settings.database_pool_size)
    store = PostgresStore(database)
    repeats = IdempotencyRecords(database, hours=settings.idempotency_hours)
    ledger = _ledger(settings, database, repeats)
    limiter = RateLimiter(settings.rate_limit_url.get_secret_value() if settings.rate_limit_url else "")
    tokens = TokenLimit(limiter, per_address=settings.tokens_per_minute_per_address)
    meter = Meter(ledger, offering.prices, tokens, _budgets(settings), utc_now, settings.ledger_grace_seconds)
    responder = Responder(
        offering.adapters,
        board,
        _policy(settings),
        first_token_seconds=settings.provider_first_token_seconds,
    )
    cache = ResponseCache(
        entries=settings.response_cache_entries,
        max_bytes=settings.response_cache_bytes,
        seconds=settings.response_cache_seconds,
    )
    background = BackgroundCalls(
        PostgresRunningCalls(database, ledger),
        meter,
        offering.adapters,
        first_seconds=settings.background_look_seconds,
        longest=dt.timedelta(hours=settings.background_hours),
    )
    calls = Calls(responder, meter, cache, background)
    kept = PostgresConversations(database)
    conversations = Conversations(kept)
    selector = Selector(catalogue, board)
    chat = Chat(selector, calls, store, kept)
    completions = Completions(catalogue, calls)
    combined = Combined(selector, chat, completions, store)
    media = MediaCalls(catalogue, calls)
    usage = PostgresUsage(database)
    longest = settings.provider_total_seconds
    certificates = load_certificates(settings)

    def take_over(new: ChatSettings) -> None:
        meter.budgets = _budgets(new)
        responder.policy, responder.first_token_seconds = _policy(new), new.provider_first_token_seconds
        background.first_seconds = new.background_look_seconds
        background.longest = dt.timedelta(hours=new.background_hours)

    offering.changed = take_over
    async with connect(settings.auth_target, certificates) as auth, offering.running():
        identity = mesh_identity(settings.env, auth)
        # A user who is deleted leaves nothing behind.
        identity.feed.listen(lambda revoked: cache.forget(revoked.user_id))
        server = RpcServer(
            listen=settings.listen,
            services=SERVICES,
            register=(
                lambda server: chat_service_pb2_grpc.add_ChatServiceServicer_to_server(
                    ChatHandlers(chat, utc_now, longest), server
                ),
                lambda server: conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(
                    ConversationHandlers(conversations), server
                ),
                lambda server: persona_service_pb2_grpc.add_PersonaServiceServicer_to_server(
                    PersonaHandlers(Personas(PostgresPersonas(database))), server
                ),
                lambda server: plain_chat_service_pb2_grpc.add_PlainChatServiceServicer_to_server(
                    PlainChatHandlers(chat, conversations, longest), server
                ),
                lambda server: combined_chat_service_pb2_grpc.add_CombinedChatServiceServicer_to_server(
                    CombinedChatHandlers(combined, longest), server
                ),
                lambda server: completion_service_pb2_grpc.add_CompletionServiceServicer_to_server(
                    CompletionHandlers(completions, longest), server
                ),
                lambda server: response_service_pb2_grpc.add_ResponseServiceServicer_to_server(
                    ResponseHandlers(completions, KeptResponses(background), longest), server
                ),
                lambda server: message_service_pb2_grpc.add_MessageServiceServicer_to_server(
                    MessageHandlers(completions, Counting(catalogue, responder), longest), server
                ),
                lambda server: embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(
                    EmbeddingHandlers(media, longest), server
                ),
                lambda server: media_service_pb2_grpc.add_MediaServiceServicer_to_server(
                    MediaHandlers(media, longest), server
                ),
                lambda server: provider_service_pb2_grpc.add_ProviderServiceServicer_to_server(
                    ProviderHandlers(catalogue, board, utc_now, usage), server
                ),
                lambda server: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(
                    UsageHandlers(usage, catalogue, board, utc_now, lambda: meter.budgets.user), server
                ),
                lambda server: model_service_pb2_grpc.add_ModelServiceServicer_to_server(
                    ModelHandlers(catalogue, board, Advisor(selector, catalogue, board)), server
                ),
            ),
            interceptors=[*identity.interceptors(SERVICES), RepeatInterceptor(repeats, CREATING)],
            probes={"database": database.ping},
            tls=ServerTls.of(settings, certificates),
            kind=settings.rpc_server,
            limits=Limits.of(settings),
        )
        await database.open()
        try:
            async with (
                serving_metrics(
                    settings.metrics_listen, [*service_metrics(identity, database), limiter_metrics(limiter)]
                ),
                following(identity.feed, auth),
                reporting(identity.refusals, auth),
                sweeping(ledger.sweep),
                sweeping(background.sweep, settings.background_look_seconds, told=None),
                reloading(offering, reload or asyncio.Event(), lambda: load(ChatSettings)),
            ):
                await server.start()
                try:
                    yield server
                finally:
                    await server.stop(settings.drain_seconds)
                    await calls.drain()
                    await background.drain()
                    await meter.drain()
                    await ledger.drain()
        finally:
            await limiter.close()
            await database.close()


def _ledger(settings: ChatSettings, database: Database, repeats: IdempotencyRecords) -> PostgresLedger:
    try:
        return PostgresLedger(database, repeats, settings.call_journal, kept_ids_days=settings.kept_ids_days)
    except OSError as error:
        raise SettingsError(
            f"GAIA_CALL_JOURNAL: cannot write to {settings.call_journal}: {error.strerror}; set it to another folder"
        ) from error


def _policy(settings: ChatSettings) -> RetryPolicy:
    return RetryPolicy(settings.provider_retries, longest_wait=settings.provider_retry_wait_seconds)


def _budgets(settings: ChatSettings) -> Budgets:
    return Budgets(settings.platform_monthly_budget_usd, settings.user_monthly_budget_usd)
