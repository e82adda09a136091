"""The local stack: Postgres and Gaia's processes under one supervisor, in one folder."""
