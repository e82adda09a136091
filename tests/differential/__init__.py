"""Compares the transcoder with Envoy's: `make differential`."""
