#!/usr/bin/env bash
# The live log of a job that prints 1 MiB/s: `scripts/live_log.sh [MINUTES]`, ten by default.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
set_up tests
PYTHONPATH=.:mock_api exec .venv/bin/python -m scripts.live_log "$@"
