"""How calls reach a gRPC server: one interface, and two implementations of it."""
