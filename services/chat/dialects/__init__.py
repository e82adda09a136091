"""The clients' dialects, each translated to and from `services.chat.turn`."""
