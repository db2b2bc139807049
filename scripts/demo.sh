#!/usr/bin/env bash
# See the worker work, on a machine that has nothing but Python: install what is missing, run a job, show its picture.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
set_up demo
.venv/bin/python -m scripts.demo "$@"
say "Done in $SECONDS seconds, with all that had to be installed"
