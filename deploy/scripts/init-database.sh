#!/usr/bin/env bash
# Prepares an empty database: roles, schema, an administrator with a new key, which is printed once.
#
#   DATABASE_URL=postgres://OWNER:PASSWORD@HOST/gaia deploy/scripts/init-database.sh --env dev --user admin@gaia.dev
#
# On Fly the database is gaia-db-ENV; `fly proxy 15432:5432 --app gaia-db-ENV` makes it reachable at 127.0.0.1:15432.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"
exec gaia db init "$@"
