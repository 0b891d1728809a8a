#!/usr/bin/env bash
# Makes an environment, images, a dataset and a trained network, and colours sketches with it. Needs only python3.
#
#   ./scripts/quickstart.sh                 uses storybook scenes, which it draws
#   ./scripts/quickstart.sh IMAGES_DIR      uses your own images
#
# Training takes up to four minutes; MINUTES=15 sets another time. A second run keeps the images and the dataset.
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

scenes=1600
step() { # NUMBER SENTENCE
    printf '\n== %d/5  %s (after %d min)\n' "$1" "$2" $((SECONDS / 60))
}
again="$0${1:+ $(printf %q "$1")}"
continue_with() { # COMMAND...: exit code 2 means that it cannot continue what is there
    "$@" && return
    code=$?
    if [ $code -eq 2 ] && [ -e "$out" ]; then
        echo "$0: if another version of linewash made $out, type rm -r $(printf %q "$out"), then $again" >&2
    fi
    exit $code
}

echo "Plan, in minutes on two CPU cores:"
echo "  1  install linewash into .venv, the first time only   2"
if [ -n "$images" ]; then
    echo "  2  convert the images of $images to a dataset         1 for 10,000"
else
    echo "  2  draw $scenes storybook scenes, make a dataset       2"
fi
echo "  3  draw a contact sheet of the dataset"
echo "  4  train a network                                    ${MINUTES:-4}"
echo "  5  colour four sketches"

step 1 "Installing"
. scripts/venv.sh all,demo

if [ -n "$images" ]; then
    out=out/$(basename -- "$images") lines=canny
    step 2 "Making a dataset"
else
    out=out/quickstart images=out/quickstart/images lines=drawn,borders
    step 2 "Drawing scenes and making a dataset"
    continue_with .venv/bin/python scripts/make_storybook.py "$images" --count "$scenes" --seed 0 --format svg
fi
continue_with .venv/bin/python -m preprocess --input "$images" --lines "$lines" --output "$out/dataset"

step 3 "Drawing a contact sheet of the dataset"
.venv/bin/python scripts/inspect_shards.py "$out/dataset" --output "$out/sheet.png"

run=$out/runs/$(date +%Y-%m-%d_%H-%M-%S)
step 4 "Training a network"
.venv/bin/python -m training data.root="$out/dataset" experiment=storybook hydra.run.dir="$run" \
    ${MINUTES:+trainer.epochs=null "trainer.max_minutes=$MINUTES"}

step 5 "Colouring four sketches"
.venv/bin/python scripts/make_sketches.py "$out/sketches"
.venv/bin/python scripts/colorize.py --run "$run" -o "$run/sketches" \
    "$out"/sketches/drawings/{01-ink.png,02-chalk.png,03-transparent.png,05-phone.jpg}

cat <<END

Done after $(((SECONDS + 59) / 60)) minutes. Look at:
  $out/sheet.png
      the training data: drawing | colouring
  $run/panel.png
      drawing | truth | prediction, for images that were not used in training
  $run/curves.png
      loss and accuracy per epoch
  $run/sketches
      the coloured sketches

Draw on a page, with a palette, hints and a picture to colour like:
  .venv/bin/python scripts/serve.py --open --run $run
      with this network; without --run, with the starter model, which was trained for longer on more drawings

Colour your own drawings:
  .venv/bin/python scripts/colorize.py MY_DRAWING.jpg -o colored.png
      with the starter model

Next:
  MINUTES=15 $again
      trains for 15 minutes on the same dataset
  $0 ~/Pictures
      uses your own images
  .venv/bin/python -m training --help
      lists all settings
  .venv/bin/tensorboard --logdir $out/runs
      compares all runs
END
