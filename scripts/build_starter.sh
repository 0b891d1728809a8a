#!/usr/bin/env bash
# Rebuilds the starter model in scripts/linewash/coloring/starter: art of several artists, scenes, dataset, training,
# export. It takes about 70 minutes on two CPU cores, and goes on where an earlier run was stopped.
#
#   ./scripts/build_starter.sh
set -euo pipefail
[ $# -eq 0 ] || { echo "usage: $0" >&2; exit 2; }
cd "$(dirname "$0")/.."

cat <<END
Plan, with minutes on two CPU cores:
  install                           2   the first time only
  fetch drawings, draw scenes       1   Openclipart, Fluent Emoji, Twemoji; needs apt-get and npm
  convert them to shards            4
  train                            60
  export, evaluate, test            3
END
started=$SECONDS
step() { # SENTENCE
    printf '\n== %s   (after %d minutes)\n' "$1" $(((SECONDS - started) / 60))
}

step "Installing"
. scripts/venv.sh dev

out=out/starter
step "Fetching drawings and drawing scenes"
for art in openclipart fluent twemoji; do ./scripts/fetch_art.sh "$art" "$out/$art" | head -n 5; done
.venv/bin/python scripts/make_storybook.py "$out/scenes" --count 1400 --seed 0 --format svg

step "Converting them to shards"
# Of each class 200 at most, so that icons and signs do not outvote animals. Series are whole in one split.
.venv/bin/python -m preprocess --input "$out"/{openclipart,fluent,twemoji,scenes} --keys_with_input \
    --lines drawn,borders,canny,xdog --class_limit 200 --split series --min_colored 0.02 \
    --max_reject_fraction 0.6 --output "$out/dataset"

step "Training"
.venv/bin/python -m training data.root="$out/dataset" experiment=starter hydra.run.dir="$out/run"

step "Exporting, evaluating and testing"
.venv/bin/python -m training.evaluate run="$out/run"
.venv/bin/python -m training.export run="$out/run" out="$out/export" formats=keras,onnx
# The whole export is copied, because the images and numbers of the model card belong to this network.
rm -rf scripts/linewash/coloring/starter
cp -r "$out/export" scripts/linewash/coloring/starter
.venv/bin/python -m pytest -q tests/test_starter.py
step "Done"
