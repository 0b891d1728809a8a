#!/usr/bin/env bash
# Runs every benchmark and writes bench.json and a page of Markdown tables, bench.md. It takes about forty minutes
# on two quiet cores.
#
#   ./scripts/bench.sh IMAGES                  IMAGES is a folder of JPEGs, such as a part of ImageNet
#   OUT=elsewhere ./scripts/bench.sh IMAGES    writes to another folder than out/bench
#
# COUNT=8000 is the number of images that the Beam job converts (hard links to IMAGES make up the number).
# An epoch has half as many.
set -euo pipefail
unset CDPATH # with CDPATH, cd prints the folder
if [ $# -ne 1 ] || ! images=$(cd -- "$1" 2>/dev/null && pwd); then
    echo "usage: $0 IMAGES, a folder of JPEGs (./scripts/quickstart.sh draws some in out/quickstart/images)" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
. scripts/venv.sh bench,demo
out=${OUT:-out/bench} count=${COUNT:-8000}
mkdir -p "$out"

bench() { # RESULT NAME ARGUMENTS: runs bench/NAME.py, writes RESULT.json and what it prints to RESULT.txt
    echo "== $1"
    .venv/bin/python "scripts/bench/$2.py" "${@:3}" --json "$out/$1.json" | tee "$out/$1.txt"
}

bench preprocess preprocess --images "$images" --count "$count"
bench input input
bench step step
bench inference inference
bench epochs epochs --images "$images" --count $((count / 2))
bench epochs_training epochs --images "$images" --count $((count / 8)) --train unet
if command -v npm >/dev/null || [ -d "$out/openmoji/art" ]; then
    echo "== coloring"
    .venv/bin/python scripts/bench/coloring.py -o "$out" --cache "$out/openmoji" | tee "$out/coloring.txt"
    echo "== guessing"
    .venv/bin/python scripts/bench/guessing.py -o "$out" --cache "$out/openmoji" | tee "$out/guessing.txt"
else
    echo "== coloring and guessing are skipped: their drawings come with npm (apt-get install npm)"
fi
.venv/bin/python scripts/bench/report.py "$out"
echo "== $out/bench.md, $out/bench.json"
