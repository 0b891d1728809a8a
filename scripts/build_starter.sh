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
   5  convert them to shards
  60  train 28 epochs with rare colours weighing more
  20  train 9 epochs with all pixels weighing the same
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
for art in openclipart "${sets[@]}"; do
    ./scripts/fetch_art.sh "$art" "$out/$art" >"$out.log" || { cat "$out.log"; exit 1; }
    grep -E '^(==|holds)' "$out.log"
done
.venv/bin/python scripts/make_storybook.py "$out/scenes" --count 1400 --seed 0 --format svg

step "converting them to shards"
# At most 200 pictures of a folder, so that icons and signs do not outvote animals. A series is in one split.
.venv/bin/python -m preprocess --keys_with_input --input "${sets[@]/#/$out/}" "$out"/{openclipart,scenes} \
    --lines drawn,borders,canny,xdog --class_limit 200 --split series --min_colored 0.02 \
    --max_reject_fraction 0.6 --output "$out/dataset"

step "training, with rare colours weighing more"
.venv/bin/python -m training data.root="$out/dataset" experiment=starter loss=rebalanced trainer.epochs=28 \
    hydra.run.dir="$out/rebalanced"

step "training, with all pixels weighing the same"
.venv/bin/python -m training data.root="$out/dataset" experiment=starter init="$out/rebalanced" \
    optimizer.learning_rate=0.005 optimizer.warmup=0.1 hydra.run.dir="$out/run"

step "evaluating, exporting and testing"
.venv/bin/python -m training.evaluate run="$out/run"
rm -rf "$out/export"
.venv/bin/python -m training.export run="$out/run" out="$out/export" formats=keras,onnx about=scripts/linewash/coloring/starter.md
# The whole export is copied, because the images and numbers of the model card belong to this network.
rm -rf scripts/linewash/coloring/starter
cp -r "$out/export" scripts/linewash/coloring/starter
.venv/bin/python -m pytest -q tests/test_starter.py
step "done"
