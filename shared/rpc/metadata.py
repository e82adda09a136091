"""Names of the metadata that travels between Gaia's processes."""

REQUEST_ID = "x-request-id"
"""Id of the request, the same from the edge to the last service."""
API_KEY = "x-api-key"
"""An internal caller's API key, instead of an identity token."""
IDEMPOTENCY_KEY = "idempotency-key"
"""The client's key for a call that must have its effect once."""
CLIENT_ADDRESS = "x-gaia-client-address"
"""Address of the client that the edge speaks for. From REST clients it is dropped in every spelling, and
`shared.rpc.peers` says which callers are believed."""
