#!/usr/bin/env bash
# Set up this machine and run the tests; arguments go to pytest: `scripts/test.sh -k registry`.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
set_up tests
exec .venv/bin/python -m pytest "$@"
