"""An OpenID issuer over real HTTP: discovery, a key set, and tokens signed with real keys."""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.asgi_server import running_asgi

AUDIENCE = "gaia-tests"


class Issuer:
    """The issuer. `url` is its name; `keys` sign by `kid`; `document` and `status` are what discovery answers."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: dict[str, tuple[str, Any]] = {
            "rsa": ("RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
            "ec": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "ed": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        }
        self.document: dict[str, Any] = {}
        self.status = 200
        self.asked = 0

    def token(self, kid: str = "rsa", **changes: Any) -> str:
        """Returns a token; a claim of None is left out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "subject-1",
            "email": "outside@gaia.test",
            "iat": now,
            "exp": now + 300,
        }
        claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        algorithm, key = self.keys[kid]
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})

    async def discover(self, _request: Request) -> Response:
        """`/.well-known/openid-configuration`."""
        self.asked += 1
        return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.document}, self.status)

    async def list_keys(self, _request: Request) -> Response:
        """The key set."""
        algorithms = get_default_algorithms()
        listed = []
        for kid, (algorithm, key) in self.keys.items():
            jwk = algorithms[algorithm].to_jwk(key.public_key())
            listed.append(
                {**(json.loads(jwk) if isinstance(jwk, str) else jwk), "kid": kid, "use": "sig", "alg": algorithm}
            )
        # What real sets hold besides: keys for encryption, and kinds that nobody knows.
        others = [{"kty": "RSA", "use": "enc", "kid": "enc", "n": "AQAB", "e": "AQAB"}, {"kty": "new", "kid": "new"}]
        return JSONResponse({"keys": [*listed, *others]})


@contextlib.asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    """Runs an issuer on a free port of the loopback interface."""
    issuer = Issuer()
    routes = [Route("/.well-known/openid-configuration", issuer.discover), Route("/keys", issuer.list_keys)]
    async with running_asgi(Starlette(routes=routes)) as url:
        issuer.url = url
        yield issuer
