"""The generator of an installation that has no key for a provider yet."""

from services.asset.generators.generator import GeneratedImage, ImageOrder, Quote
from shared.errors import Unavailable

RETRY_SECONDS = 60.0
"""Only an operator can help; a minute keeps clients from asking in vain every second."""


class UnconfiguredImages:
    """Implements `ImageGenerator` by saying which setting is missing."""

    def __init__(self, provider: str, setting: str) -> None:
        self._provider = provider
        self._setting = setting

    @property
    def provider(self) -> str:
        """Id of the provider."""
        return self._provider

    def quote(self, order: ImageOrder) -> Quote:  # noqa: ARG002 - as the Protocol has it
        """Raises Unavailable."""
        raise self._unavailable()

    async def generate(self, order: ImageOrder, seconds: float) -> GeneratedImage:  # noqa: ARG002 - likewise
        """Raises Unavailable."""
        raise self._unavailable()

    def _unavailable(self) -> Unavailable:
        return Unavailable(
            f"images are not configured: the operator has to set {self._setting}",
            reason="PROVIDER_UNCONFIGURED",
            metadata={"provider": self._provider, "setting": self._setting},
            retry_after=RETRY_SECONDS,
        )
