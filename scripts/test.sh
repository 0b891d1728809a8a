#!/usr/bin/env bash
# The checks on a fresh machine: formatting, lint, types, and the tests that are quick.
#
#   ./scripts/test.sh                 all of these, in a few minutes
#   ./scripts/test.sh --slow          the slow proofs alone: real clusters, real environments, large networks, faults
#   ./scripts/test.sh PYTEST_ARGS     some tests: ./scripts/test.sh tests/test_plan.py -k split
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh dev

# A file's tests share what they make (a job's dataset, a trained network), so that one process runs them all.
pytest() {
    .venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 40 "$@"
}

case ${1:-} in
    "")
        .venv/bin/ruff format --check .
        .venv/bin/ruff check .
        .venv/bin/mypy
        pytest -m "not slow and not flink and not browser and not faults and not patient"
        ;;
    --slow) pytest -m "(slow or flink or browser or faults) and not patient" "${@:2}" ;;
    *) pytest "$@" ;;
esac
