"""Names of the metadata that travels between Gaia's processes."""

REQUEST_ID = "x-request-id"
"""Id of the request, the same from the edge to the last service."""
API_KEY = "x-api-key"
"""An internal caller's API key, instead of an identity token."""
IDEMPOTENCY_KEY = "idempotency-key"
"""The client's key for a call that must have its effect once."""
