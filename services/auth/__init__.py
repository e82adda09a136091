"""The auth service: users, API keys, identity tokens and revocations."""
