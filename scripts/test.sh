#!/usr/bin/env bash
# Set up this machine and run the tests:
#   scripts/test.sh              all of them, several at a time: most of them wait for an engine or a worker
#   scripts/test.sh -k registry  any arguments go to pytest, which runs one test after the other
#   scripts/test.sh --quick      of the rooms below the engine's, and of the loop: no engine, no network, 90 seconds
#   scripts/test.sh --quick tests/engine  the quick ones of another folder; any arguments go to pytest
# All tests together leave the engine as they found it. In CI they fail otherwise; elsewhere others may use it, too.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
unset PYTHONDONTWRITEBYTECODE # pytest takes ten seconds a process to prepare all files that it has not written down
readonly processes=$((2 * $(nproc) < 8 ? 2 * $(nproc) : 8)) # more than processors: many tests wait for something
if [ "${1:-}" = --quick ]; then
    set_up quick
    (($# > 1)) || set -- "$@" tests/{core,config,platform,transfer,workspace,worker,scripts} tests/test_steps*.py
    exec .venv/bin/python -m pytest -n $((2 * $(nproc) < 16 ? 2 * $(nproc) : 16)) --dist worksteal "$@"
fi
set_up tests
if (($#)); then exec .venv/bin/python -m pytest "$@"; fi
failed=0
.venv/bin/python -m tests.support.litter before "$cache/engine-before-tests.json"
.venv/bin/python -m pytest -n "$processes" --dist loadgroup --no-loadscope-reorder --durations=40 || failed=1
.venv/bin/python -m tests.support.litter after "$cache/engine-before-tests.json" || [ -z "${CI:-}" ] || failed=1
exit "$failed"
