#!/usr/bin/env bash
# Rebuilds the starter model in scripts/linewash/coloring/starter: drawings of several artists and scenes of our own,
# a dataset, a trained network, its export. A second run goes on where the first was stopped.
#
#   ./scripts/build_starter.sh
set -euo pipefail
[ $# -eq 0 ] || { echo "usage: $0" >&2; exit 2; }
cd "$(dirname "$0")/.."

cat <<END
Plan, in minutes on two CPU cores:
   2  install (the first time)
   1  fetch drawings, with apt-get and npm, and draw scenes
   8  convert them to shards, of 64 and of 128 pixels
  35  train 30 epochs at 64 pixels
  55  train 18 epochs at 128 pixels
   2  evaluate, export, test
END
step() { # SENTENCE
    printf '\n== %d min: %s\n' $((SECONDS / 60)) "$1"
}

step "installing"
. scripts/venv.sh dev

out=out/starter
sets=(fluent twemoji emojione noto fxemoji)
step "fetching drawings and drawing scenes"
mkdir -p "$out"
for art in openclipart "${sets[@]}"; do
    ./scripts/fetch_art.sh "$art" "$out/$art" >"$out/fetch.log" || { cat "$out/fetch.log"; exit 1; }
    grep -E '^(==|holds)' "$out/fetch.log"
done
.venv/bin/python scripts/make_storybook.py "$out/scenes" --count 2800 --seed 0 --format svg

# At most 200 pictures of a folder, so that icons and signs do not outvote animals. A series is in one split.
for size in 64 128; do
    step "converting them to shards of $size pixels"
    .venv/bin/python -m preprocess --keys_with_input --input "${sets[@]/#/$out/}" "$out"/{openclipart,scenes} \
        --lines drawn,borders,canny,xdog --class_limit 200 --split series --min_colored 0.02 \
        --max_reject_fraction 0.6 --image_size "$size" --output "$out/dataset$size"
done

# What a drawing shows is learnt at a quarter of the pixels, which takes 0.4 of the time. Augmentations that are in
# pixels are half as large.
step "training at 64 pixels"
.venv/bin/python -m training data.root="$out/dataset64" experiment=starter trainer.epochs=30 \
    augment.translate=6 augment.thickness_max=3 augment.jitter=0.75 augment.drop_specks=4 hydra.run.dir="$out/run64"

step "training at 128 pixels"
.venv/bin/python -m training data.root="$out/dataset128" experiment=starter init="$out/run64" \
    hydra.run.dir="$out/run"

step "evaluating, exporting and testing"
.venv/bin/python -m training.evaluate run="$out/run"
rm -rf "$out/export"
.venv/bin/python -m training.export run="$out/run" out="$out/export" formats=keras,onnx about=scripts/linewash/coloring/starter.md
# The whole export is copied, because the images and numbers of the model card belong to this network.
rm -rf scripts/linewash/coloring/starter
cp -r "$out/export" scripts/linewash/coloring/starter
.venv/bin/python -m pytest -q tests/test_starter.py
step "done"
