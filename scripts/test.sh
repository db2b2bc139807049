#!/usr/bin/env bash
# Set up this machine and run the tests; arguments go to pytest: `scripts/test.sh -k registry`.
# Without any, two sessions run side by side, each with its own registry and images: those of the faults mostly wait.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
set_up tests
if (($#)); then exec .venv/bin/python -m pytest "$@"; fi
failed=0
.venv/bin/python -m pytest tests/faults >"$cache/faults.log" 2>&1 &
.venv/bin/python -m pytest --ignore=tests/faults || failed=1
wait $! || failed=1
cat "$cache/faults.log"
exit "$failed"
