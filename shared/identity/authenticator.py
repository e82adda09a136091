"""From an API key, or a JWT of an outside issuer, to an identity, asking auth only when the cache cannot vouch for it.

A cached identity is used while its token lives and the revocation feed vouches for it: no later revocation concerns it,
and the feed spoke, or auth was asked, within `TRUST_SECONDS`. So a revoked key ends when its revocation arrives, and
never later than that many seconds.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gaia.auth.v1 import auth_service_pb2 as pb

from shared import telemetry
from shared.errors import GaiaError, Unauthenticated
from shared.identity import api_key
from shared.identity.claims import LIFETIME_SECONDS
from shared.identity.jwt_form import looks_like_jwt
from shared.identity.principal import Principal
from shared.identity.refusals import RefusalCounter
from shared.identity.revocations import Revocation, RevocationFeed
from shared.identity.wire import decode_principal

IDENTITY_METADATA = "x-gaia-identity"
REFRESH_BEFORE_SECONDS = 20.0
"""A token that ends sooner is renewed in the background by the request that finds it."""
EXPIRY_MARGIN_SECONDS = 5.0
"""A token is not sent on when it ends sooner: the call it travels with must be verified before that."""
NEGATIVE_SECONDS = 5.0
INVALID_KEY = "the API key is not valid; send a valid one as X-API-Key"


@dataclass(slots=True)
class Identity:
    """A principal, and the metadata that carries its identity token to services.

    `sequence` is the newest revocation that was taken into account. Times are monotonic seconds.
    """

    principal: Principal
    metadata: tuple[tuple[str, str], ...]
    sequence: int
    expires_at: float
    verified_at: float
    refreshing: bool = field(default=False)


class Authenticator:
    """A bounded cache of identities by key digest, in front of auth's Authenticate.

    `exchange` asks auth; it raises Unauthenticated for a key that is not valid and Unavailable when auth is away. Its
    answers that a key is not valid are remembered for five seconds. Keys that are refused without asking are counted in
    `refusals`. For metrics: `hits` were answered from the cache, `misses` had to be asked about, `refused` were refused
    without asking.
    """

    def __init__(
        self,
        exchange: Callable[[str], Awaitable[pb.AuthenticateResponse]],
        feed: RevocationFeed,
        *,
        capacity: int = 10_000,
        refusals: RefusalCounter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exchange = exchange
        self._feed = feed
        self._capacity = capacity
        self._refusals = refusals if refusals is not None else RefusalCounter()
        self._clock = clock
        self._identities: OrderedDict[str, Identity] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._pending: dict[str, asyncio.Task[Identity]] = {}
        self.hits = self.misses = self.refused = 0
        feed.listen(self._forget)

    def cached(self, key: str) -> Identity | None:
        """Returns the identity of a key when the cache may still vouch for it. No I/O."""
        digest = api_key.digest(key)
        identity = self._identities.get(digest)
        if identity is None:
            return None
        now = self._clock()
        if identity.expires_at - EXPIRY_MARGIN_SECONDS <= now:
            return None
        if not self._feed.vouches_for(identity.principal, identity.sequence, identity.verified_at):
            return None
        if identity.expires_at - now < REFRESH_BEFORE_SECONDS and not identity.refreshing:
            identity.refreshing = True
            self._ask(digest, key).add_done_callback(_retrieve)
        self.hits += 1
        return identity

    def __len__(self) -> int:
        """How many identities are cached."""
        return len(self._identities)

    def knows(self, key: str) -> bool:
        """Whether the key was good when it was last asked about, and is not forgotten. No I/O."""
        return api_key.digest(key) in self._identities

    async def authenticate(self, key: str) -> Identity:
        """Returns the identity of a key. Raises Unauthenticated or Unavailable."""
        if identity := self.cached(key):
            return identity
        digest = api_key.digest(key)
        plausible = api_key.is_plausible(key) or looks_like_jwt(key)
        if not plausible or self._refused.get(digest, 0.0) > self._clock():
            # Auth notes what it is asked about and refuses; this is what it never hears of.
            self._refusals.record(telemetry.client_address.get(), telemetry.request_id.get())
            self.refused += 1
            raise Unauthenticated(INVALID_KEY)
        self.misses += 1
        # shield: a caller that leaves must not fail the others that wait for the same key
        return await asyncio.shield(self._ask(digest, key))

    def _ask(self, digest: str, key: str) -> asyncio.Task[Identity]:
        task = self._pending.get(digest)
        if task is None:
            task = asyncio.ensure_future(self._exchange_and_store(digest, key))
            self._pending[digest] = task
            task.add_done_callback(lambda _: self._pending.pop(digest, None))
        return task

    async def _exchange_and_store(self, digest: str, key: str) -> Identity:
        asked_at = self._clock()
        try:
            response = await self._exchange(key)
        except Unauthenticated:
            self._identities.pop(digest, None)
            self._refused[digest] = self._clock() + NEGATIVE_SECONDS
            self._refused.move_to_end(digest)
            while len(self._refused) > self._capacity:
                self._refused.popitem(last=False)
            raise
        except GaiaError:
            if (known := self._identities.get(digest)) is not None:
                known.refreshing = False
            raise
        # The time left comes from auth, so that the clock of this machine does not matter.
        lifetime = min(response.identity_lifetime_ms / 1000, LIFETIME_SECONDS)
        identity = Identity(
            principal=decode_principal(response.principal),
            metadata=((IDENTITY_METADATA, response.identity_token),),
            sequence=response.revocation_sequence,
            expires_at=asked_at + lifetime,
            verified_at=asked_at,
        )
        # A revocation that overtook this answer has a later number: `cached` will not use it then.
        self._identities[digest] = identity
        self._identities.move_to_end(digest)
        while len(self._identities) > self._capacity:
            self._identities.popitem(last=False)
        return identity

    def _forget(self, event: Revocation) -> None:
        if event.reset:
            self._identities.clear()


def _retrieve(task: asyncio.Task[Identity]) -> None:
    # A failed renewal is asked again by the next request; looking at the error keeps asyncio from reporting it.
    if not task.cancelled():
        task.exception()
