"""The REST edge: HTTP and JSON in front of the gRPC services."""
