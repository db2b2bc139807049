#!/usr/bin/env bash
# Set up this machine and run the tests:
#   scripts/test.sh              all of them
#   scripts/test.sh -k registry  other arguments go to pytest
#   scripts/test.sh --quick      those that need no engine, no network and little time; further arguments go to pytest
# Without arguments, two sessions run side by side, each with its own registry and images: those of the faults mostly wait.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
if [ "${1:-}" = --quick ]; then
    set_up quick
    exec .venv/bin/python -m pytest -n auto --dist worksteal "$@"
fi
set_up tests
if (($#)); then exec .venv/bin/python -m pytest "$@"; fi
failed=0
.venv/bin/python -m pytest tests/faults >"$cache/faults.log" 2>&1 &
.venv/bin/python -m pytest --ignore=tests/faults || failed=1
wait $! || failed=1
cat "$cache/faults.log"
exit "$failed"
