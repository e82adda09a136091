"""The gRPC mesh: servers, channels, interceptors and the check of a caller's identity."""
