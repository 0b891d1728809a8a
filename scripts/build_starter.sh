#!/usr/bin/env bash
# Rebuilds the starter model in scripts/linewash/coloring/starter from storybook scenes: images, dataset, training,
# export. It takes about 40 minutes on two quiet CPU cores. A second run keeps the images and the dataset.
#
#   ./scripts/build_starter.sh
set -euo pipefail
[ $# -eq 0 ] || { echo "usage: $0" >&2; exit 2; }
cd "$(dirname "$0")/.."
. scripts/venv.sh dev

out=out/starter
.venv/bin/python scripts/make_storybook.py "$out/images" --count 12000 --seed 0
.venv/bin/python -m preprocess --input "$out/images" --output "$out/dataset" --palette kmeans:27
.venv/bin/python -m training data.root="$out/dataset" experiment=starter hydra.run.dir="$out/run"
.venv/bin/python -m training.export run="$out/run" out="$out/export" formats=keras,onnx
# The whole export is copied, because the images and numbers of the model card belong to this network.
rm -rf scripts/linewash/coloring/starter
cp -r "$out/export" scripts/linewash/coloring/starter
.venv/bin/python -m pytest tests/test_starter.py
