"""What an error tells a program beside its message and reason, in the metadata that travels with it."""

import orjson

CODE, PARAM = "provider_code", "provider_param"
"""What the provider calls the fault, and the field that it is in, where OpenAI's family says so."""
DETAILS = "provider_details"
"""JSON of the `details` of an error of Anthropic's dialect: its SDK goes by their `error_code`."""


def details(error_code: str, **more: object) -> dict[str, str]:
    """Makes the metadata of an error of Gaia's own for the SDK of Anthropic's dialect."""
    return {DETAILS: orjson.dumps({"error_code": error_code, **more}).decode()}
