"""The schema of Gaia's database, as Alembic revisions in plain SQL."""
