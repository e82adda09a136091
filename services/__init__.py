"""The gRPC services behind the edge; none imports another."""
