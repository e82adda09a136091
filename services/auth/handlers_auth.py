"""gaia.auth.v1.AuthService, in the order of the contract: decode, call one domain function, encode."""

from collections.abc import AsyncIterator
from typing import Any

from gaia.auth.v1 import auth_service_pb2 as pb
from gaia.auth.v1 import auth_service_pb2_grpc

from services.auth import users
from services.auth.credentials import CredentialCheck
from services.auth.encoding import encode_identity, encode_user
from services.auth.revocations import RevocationHub
from services.auth.store import Store
from shared import telemetry
from shared.errors import Unauthenticated
from shared.identity.principal import current_principal
from shared.identity.refusals import RefusalCounter
from shared.identity.token import SigningKeys, TokenVerifier
from shared.identity.wire import encode_principal
from shared.rpc.peers import MAX_ADDRESS, is_believed

Context = Any  # grpc.aio.ServicerContext, whose type arguments say nothing here


class AuthHandlers(auth_service_pb2_grpc.AuthServiceServicer):
    """Turns credentials into identities."""

    def __init__(
        self,
        check: CredentialCheck,
        signing_keys: SigningKeys,
        verifier: TokenVerifier,
        hub: RevocationHub,
        store: Store,
        refusals: RefusalCounter,
    ) -> None:
        self._check = check
        self._signing_keys = signing_keys
        self._verifier = verifier
        self._hub = hub
        self._store = store
        self._refusals = refusals

    async def Authenticate(self, request: pb.AuthenticateRequest, context: Context) -> pb.AuthenticateResponse:
        """Turns an API key, or a JWT of the outside issuer, into a principal and a signed identity token."""
        try:
            if request.token:
                return encode_identity(await self._check.authenticate_token(request.token))
            return encode_identity(await self._check.authenticate(request.api_key))
        except Unauthenticated:
            self._refuse(request.client_address)
            raise

    async def CheckIdentity(self, request: pb.CheckIdentityRequest, context: Context) -> pb.CheckIdentityResponse:
        """Returns who an identity token stands for now."""
        claims, _ = await self._verifier.decode(request.identity_token)
        checked = await self._check.check(claims)
        return pb.CheckIdentityResponse(
            principal=encode_principal(checked.principal), revocation_sequence=checked.sequence
        )

    async def ListSigningKeys(self, request: pb.ListSigningKeysRequest, context: Context) -> pb.ListSigningKeysResponse:
        """Lists the public keys that verify identity tokens."""
        response = pb.ListSigningKeysResponse()
        for kid, key in self._signing_keys.items():
            response.keys.add(kid=kid, public_key=key.public_bytes_raw())
        return response

    async def WatchRevocations(
        self, request: pb.WatchRevocationsRequest, context: Context
    ) -> AsyncIterator[pb.WatchRevocationsResponse]:
        """Streams revocations, and a heartbeat at least every second."""
        async for event in self._hub.watch(request.after_sequence):
            yield pb.WatchRevocationsResponse(
                sequence=event.sequence, api_key_id=event.api_key_id, user_id=event.user_id, reset=event.reset
            )

    async def ValidateCredential(
        self, request: pb.ValidateCredentialRequest, context: Context
    ) -> pb.ValidateCredentialResponse:
        """Says whether a credential is valid."""
        response = pb.ValidateCredentialResponse(auth_type="none")
        try:
            if request.api_key:
                response.user_id = (await self._check.authenticate(request.api_key)).principal.user_id
                response.auth_type = "api_key"
            elif request.token:
                if self._check.issued_outside(request.token):
                    response.user_id = (await self._check.authenticate_token(request.token)).principal.user_id
                else:
                    response.user_id = (await self._verifier.verify(request.token)).user_id
                response.auth_type = "jwt"
            else:
                response.error = "no credential; send api_key or token"
        except Unauthenticated as error:
            self._refuse("")
            response.error = str(error)
        response.valid = not response.error
        return response

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        """Returns the caller."""
        principal = current_principal()
        user = await users.get_user(self._store, principal.user_id)
        return pb.GetMeResponse(
            user=encode_user(user), api_key_id=principal.api_key_id, scopes=sorted(principal.scopes)
        )

    def _refuse(self, client_address: str) -> None:
        told = client_address[:MAX_ADDRESS] if is_believed() else ""
        self._refusals.record(told or telemetry.client_address.get(), telemetry.request_id.get())
