#!/usr/bin/env bash
# From nothing but python3 to a coloured drawing: environment, pictures, shards, training, sketches.
#
#   ./scripts/quickstart.sh                 storybook scenes drawn on the spot
#   ./scripts/quickstart.sh IMAGES_DIR      your own photographs
#
# Trains for three or four minutes; MINUTES=15 for as many. What is already there is not made again.
set -euo pipefail
unset CDPATH # with it, cd prints where it goes
usage="usage: $0 [IMAGES_DIR]"
case "$#${1:-}" in
    1-h | 1--help) echo "$usage: from nothing but python3 to a coloured drawing; MINUTES=15 trains for fifteen"; exit ;;
    0* | 1[!-]*) ;;
    *) echo "$usage" >&2; exit 2 ;;
esac
photographs=
if [ $# -eq 1 ] && ! photographs=$(cd -- "$1" 2>/dev/null && pwd); then
    echo "$0: $1 is not a folder; give one that holds JPEGs, or nothing to use drawn scenes" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
. scripts/venv.sh all,demo

if [ -n "$photographs" ]; then
    out=out/$(basename -- "$photographs")
    images=$photographs
else
    out=out/quickstart
    images=$out/images
    echo "== 1/5  Drawing 4,000 storybook scenes"
    .venv/bin/python scripts/make_storybook.py "$images" --count 4000 --seed 0
fi

echo "== 2/5  Drawings and colourings, once: $images -> $out/dataset"
.venv/bin/python -m preprocess --input "$images" --output "$out/dataset"

echo "== 3/5  A look at what the network will see"
.venv/bin/python scripts/inspect_shards.py "$out/dataset" --out "$out/sheet.png"

run=$out/runs/$(date +%Y-%m-%d_%H-%M-%S)
echo "== 4/5  Training"
.venv/bin/python -m training data.root="$out/dataset" experiment=storybook hydra.run.dir="$run" \
    ${MINUTES:+trainer.epochs=null "trainer.max_minutes=$MINUTES"}

echo "== 5/5  Colouring a few sketches"
.venv/bin/python scripts/make_sketches.py "$out/sketches"
.venv/bin/python scripts/colorize.py --run "$run" --overlay -o "$run/sketches" \
    "$out"/sketches/drawings/{01-ink.png,02-chalk.png,03-transparent.png,05-phone.jpg}

cat <<END

Done. Look at:
  $out/sheet.png
      what it learnt from: drawing | colouring
  $run/panel.png
      drawing | truth | prediction, for pictures it never saw
  $run/curves.png
      loss and accuracy against epoch
  $run/sketches
      hand-like sketches, coloured by it

Draw something yourself:
  .venv/bin/python scripts/serve.py --run $run
      by what was learnt just now; without --run, by the starter model, which learnt for longer
  .venv/bin/python scripts/colorize.py MY_DRAWING.jpg -o colored.png

Next:
  MINUTES=15 $0 $*
      the same shards, more training
  $0 ~/Pictures
      your own photographs
  .venv/bin/python -m training --help
      every setting
  .venv/bin/tensorboard --logdir $out/runs
      all runs side by side
END
