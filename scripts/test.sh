#!/usr/bin/env bash
# Checks formatting, lint and types, and runs the tests. It makes the environment if there is none.
#
#   ./scripts/test.sh                 the checks and the quick tests, in a few minutes
#   ./scripts/test.sh --slow          the slow tests: clusters, environments, large networks, a browser, faults
#   ./scripts/test.sh PYTEST_ARGS     pytest with these arguments: ./scripts/test.sh tests/test_plan.py -k split
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh dev

# All tests of a file run in one process, because they share fixtures such as a dataset or a trained network.
pytest() {
    .venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 40 "$@"
}

# The page's modules are typed by JSDoc. Without Node.js, or when the compiler cannot be fetched, they are not checked.
check_page() {
    command -v npx >/dev/null || { echo "page: not checked, there is no npx"; return 0; }
    npx --yes --package typescript@5.9.3 tsc --version >/dev/null || { echo "page: not checked, there is no tsc"; return 0; }
    npx --yes --package typescript@5.9.3 tsc --project scripts/linewash/serving/tsconfig.json
}

case ${1:-} in
    "")
        .venv/bin/ruff format --check .
        .venv/bin/ruff check .
        .venv/bin/mypy
        check_page
        pytest -m "not slow and not flink and not browser and not faults and not patient"
        ;;
    --slow) pytest -m "(slow or flink or browser or faults) and not patient" "${@:2}" ;;
    *) pytest "$@" ;;
esac
