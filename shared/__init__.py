"""What every process of Gaia stands on: settings, errors, identity, telemetry, the gRPC mesh and the database."""
