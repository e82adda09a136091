"""Getting an answer out of providers that fail: retries, circuits, balancing over endpoints, probes."""
