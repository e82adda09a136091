"""The chat service: providers, models, conversations, and one turn of a conversation after the other."""
