"""The LLM providers, one adapter a module."""
