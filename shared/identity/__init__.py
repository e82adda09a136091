"""Who is calling: API keys, identity tokens, principals, and the caches that forget them in time."""
