"""Recordings for tests: silence, as long as one likes."""

import io
import wave


def wav(seconds: int, rate: int = 8000) -> bytes:
    """Makes a WAV file of so many seconds."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(2 * rate * seconds))
    return file.getvalue()
