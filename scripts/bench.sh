#!/usr/bin/env bash
# Every benchmark, to bench.json and a page of Markdown tables, bench.md: about half an hour on two quiet cores.
#
#   ./scripts/bench.sh PHOTOS              a folder of JPEGs, such as some of ImageNet
#   OUT=elsewhere ./scripts/bench.sh PHOTOS    not out/bench
#
# COUNT=8000 is how many photographs the Beam job converts (they are linked under new names until there are as
# many), and half as many an epoch has.
set -euo pipefail
unset CDPATH # with it, cd prints where it goes
if [ $# -ne 1 ] || ! photographs=$(cd -- "$1" 2>/dev/null && pwd); then
    echo "usage: $0 PHOTOS, a folder of JPEGs (./scripts/quickstart.sh leaves drawn ones in out/quickstart/images)" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
. scripts/venv.sh bench,demo
out=${OUT:-out/bench} count=${COUNT:-8000}
mkdir -p "$out"

bench() { # FIGURES NAME ARGUMENTS: the figures of one benchmark, and what it says
    echo "== $1"
    .venv/bin/python "scripts/bench/$2.py" "${@:3}" --json "$out/$1.json" | tee "$out/$1.txt"
}

bench preprocess preprocess --images "$photographs" --count "$count"
bench input input
bench step step
bench inference inference
bench epochs epochs --images "$photographs" --count $((count / 2))
bench epochs_training epochs --images "$photographs" --count $((count / 8)) --train unet
.venv/bin/python scripts/bench/report.py "$out"
echo "== $out/bench.md, $out/bench.json"
