#!/usr/bin/env bash
# Jobs without end under random faults, kills, updates and cancellations: `scripts/soak.sh [MINUTES [SEED]]`, 15 by default.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
set_up tests
PYTHONPATH=.:mock_api exec .venv/bin/python -m scripts.soak "$@"
