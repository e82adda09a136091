"""Turns HTTP and JSON into gRPC for any service whose methods carry `google.api.http` rules."""
