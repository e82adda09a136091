#!/usr/bin/env bash
# Tests a running platform; exit code 1 when anything failed.
#
#   GAIA_API_KEY=… deploy/scripts/test.sh --url https://gaia-edge-dev.fly.dev health|providers|models|chat|stream|assets|all
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"
exec gaia test "$@"
