#!/usr/bin/env bash
# The whole check on a fresh machine: formatting, lint, types, tests. Arguments go to pytest.
#
#   ./scripts/test.sh [PYTEST_ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh dev

.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
exec .venv/bin/python -m pytest --numprocesses 2 --dist loadgroup "$@"
