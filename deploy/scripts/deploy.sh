#!/usr/bin/env bash
# Migrates the database and releases services to Fly.
#
#   deploy/scripts/deploy.sh --env dev --services all|auth,chat,asset,edge [--dry-run] [--no-migrate]
#
# DATABASE_URL is the owner's; --dry-run prints the commands and runs none.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"
exec gaia deploy "$@"
