#!/usr/bin/env bash
# Makes an environment, images, a dataset and a trained network, and colours sketches with it. Needs only python3.
#
#   ./scripts/quickstart.sh                 uses storybook scenes, which it draws
#   ./scripts/quickstart.sh IMAGES_DIR      uses your own images
#
# Training takes three or four minutes; MINUTES=15 sets another time. A second run keeps the images and the dataset.
set -euo pipefail
unset CDPATH # with CDPATH, cd prints the folder
usage="usage: $0 [IMAGES_DIR]"
case "$#${1:-}" in
    1-h | 1--help) echo "$usage: makes a dataset, trains a network and colours sketches; MINUTES=15 trains for 15 minutes"; exit ;;
    0* | 1[!-]*) ;;
    *) echo "$usage" >&2; exit 2 ;;
esac
images=
if [ $# -eq 1 ] && ! images=$(cd -- "$1" 2>/dev/null && pwd); then
    echo "$0: $1 is not a folder: type a folder of images, or nothing to use storybook scenes" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
. scripts/venv.sh all,demo

if [ -n "$images" ]; then
    out=out/$(basename -- "$images")
else
    out=out/quickstart
    images=$out/images
    echo "== 1/5  Drawing 4,000 storybook scenes"
    .venv/bin/python scripts/make_storybook.py "$images" --count 4000 --seed 0
fi

echo "== 2/5  Preprocessing $images to $out/dataset"
.venv/bin/python -m preprocess --input "$images" --output "$out/dataset"

echo "== 3/5  Drawing a contact sheet of the dataset"
.venv/bin/python scripts/inspect_shards.py "$out/dataset" --output "$out/sheet.png"

run=$out/runs/$(date +%Y-%m-%d_%H-%M-%S)
echo "== 4/5  Training a network"
.venv/bin/python -m training data.root="$out/dataset" experiment=storybook hydra.run.dir="$run" \
    ${MINUTES:+trainer.epochs=null "trainer.max_minutes=$MINUTES"}

echo "== 5/5  Colouring four sketches"
.venv/bin/python scripts/make_sketches.py "$out/sketches"
.venv/bin/python scripts/colorize.py --run "$run" -o "$run/sketches" \
    "$out"/sketches/drawings/{01-ink.png,02-chalk.png,03-transparent.png,05-phone.jpg}

cat <<END

Done. Look at:
  $out/sheet.png
      the training data: drawing | colouring
  $run/panel.png
      drawing | truth | prediction, for images that were not used in training
  $run/curves.png
      loss and accuracy per epoch
  $run/sketches
      the coloured sketches

Colour your own drawings:
  .venv/bin/python scripts/serve.py --run $run
      with this network, on a web page; without --run, with the starter model, which was trained for longer
  .venv/bin/python scripts/colorize.py MY_DRAWING.jpg -o colored.png
      with the starter model

Next:
  MINUTES=15 $0${1:+ $(printf %q "$1")}
      trains for 15 minutes on the same dataset
  $0 ~/Pictures
      uses your own images
  .venv/bin/python -m training --help
      lists all settings
  .venv/bin/tensorboard --logdir $out/runs
      compares all runs
END
