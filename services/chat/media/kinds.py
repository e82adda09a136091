"""What models make beside replies."""

import enum


class Kind(enum.StrEnum):
    """What a call makes. The value is that of the capability of a model that can."""

    EMBEDDINGS = "embeddings"
    IMAGES = "images"
    SPEECH = "speech"
    TRANSCRIPTIONS = "transcriptions"

    @property
    def operation(self) -> str:
        """What the ledger calls it."""
        return f"openai.{self.value}"
