"""Access to Postgres: the pool, named queries and the errors of a database that is away."""
