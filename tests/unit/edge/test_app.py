"""The contracts as the edge compiles them."""

import grpc

from edge.app import build_transcoder, services
from edge.auth import Authorizer
from shared.identity.authenticator import Authenticator
from shared.identity.revocations import RevocationFeed
from shared.rpc.rules import access_table


async def test_every_contract_compiles_without_a_fault_and_every_method_says_who_may_call_it():
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        authorizer = Authorizer(services(), Authenticator(None, RevocationFeed()), trusted_proxies=0)
        transcoder = build_transcoder({"auth": channel, "chat": channel, "asset": channel}, authorizer)
        bound = {route.method.full_name for route in transcoder.routes}
    declared = {path.removeprefix("/").replace("/", ".") for path in access_table(services())}
    assert bound <= declared
    assert "gaia.auth.v1.AuthService.Authenticate" not in bound
    assert "gaia.chat.v1.ChatService.StreamChatChunks" not in bound
