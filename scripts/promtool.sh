#!/usr/bin/env bash
# Prometheus' own tool checks the worker's metrics and the alerts of docs/monitoring.md. Debian's package brings it along.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
set_up quick
install_missing promtool:prometheus
.venv/bin/python -m scripts.monitoring_docs --metrics >"$cache/metrics.txt"
.venv/bin/python -m scripts.monitoring_docs --rules >"$cache/rules.yml"
promtool check metrics <"$cache/metrics.txt"
promtool check rules "$cache/rules.yml"
