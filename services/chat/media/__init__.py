"""Embeddings, images and sound: what models make that is no conversation, in OpenAI's dialect."""
