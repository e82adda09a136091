"""Running Gaia: the local stack, the command line, containers, platforms and the database's schema."""
