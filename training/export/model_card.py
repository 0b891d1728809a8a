"""The model card: the README.md of an export, for readers who have only this directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tfrecords_schema import Palette
from training.errors import LinewashError
from training.export.metadata import ExportMetadata
from training.export.parity import MAX_DIFFERENCE, MIN_EQUAL_FRACTION, Parity
from training.hydra_config import compose
from training.metrics.logit_adjustment import MIN_FREQUENCY
from training.run.run_info import RunInfo, Versions, differing_settings, flat_settings
from training.run.sample_grid import FRAME, INK, PAPER

CARD_NAME = "README.md"
MAX_LISTED = 64  # colours; larger palettes are listed in export.json only
SWATCH, COLUMNS = 56, 9  # pixels per side; swatches per row
# Heading, field of Scores, decimals.
SCORES = (
    ("loss", "loss", 3), ("bits", "bits", 3), ("accuracy", "accuracy", 3),
    ("balanced", "balanced_accuracy", 3), ("top 3", "top3_accuracy", 3), ("ΔE", "delta_e", 2),
)  # fmt: skip

BEFORE = """\
import json
import numpy as np
from PIL import Image

about = json.load(open("export.json"))
dark = np.asarray(Image.open("drawing.png").convert("L")) < 128  # dark lines on light paper
height, width = dark.shape
margin = ((0, 0), (0, -height % about["stride"]), (0, -width % about["stride"]), (0, {empty}))
drawing = np.pad(dark[None, :, :, None], margin).astype("float32")
"""
REFERENCE = """\
wanted = {{{example}}}  # weights of colours by their numbers in the palette; {{}} for no reference
reference = np.zeros((1, len(about["palette"]["colors"])), "float32")
for label, weight in wanted.items():
    reference[0, label] = weight / sum(wanted.values())
"""
# Of each format: its name, how to install it, the program, and its inputs without and with a reference.
USE = {
    "keras": (
        "Keras", "pip install tensorflow keras pillow",
        'import keras\n\nnet = keras.models.load_model("{file}", compile=False)\n'
        "logits = np.asarray(net({inputs}, training=False))\n",
        "drawing", "[drawing, reference]",
    ),
    "saved_model": (
        "TensorFlow", "pip install tensorflow pillow",
        'import tensorflow as tf\n\nnet = tf.saved_model.load("{file}")\n'
        'logits = net.serve({inputs})["logits"].numpy()\n',
        "tf.constant(drawing)", "tf.constant(drawing), tf.constant(reference)",
    ),
    "onnx": (
        "ONNX Runtime", "pip install onnxruntime numpy pillow",
        'import onnxruntime\n\nnet = onnxruntime.InferenceSession("{file}")\n'
        'logits = net.run(["logits"], {{{inputs}}})[0]\n',
        '"drawing": drawing', '"drawing": drawing, "reference": reference',
    ),
    "litert": (
        "LiteRT", "pip install ai-edge-litert numpy pillow",
        'from ai_edge_litert.interpreter import Interpreter\n\nnet = Interpreter("{file}")\n'
        'logits = net.get_signature_runner()({inputs})["logits"]\n',
        "drawing=drawing", "drawing=drawing, reference=reference",
    ),
}  # fmt: skip
AFTER = """\
labels = logits[0, :height, :width].argmax(-1)
colors = np.array(about["palette"]["colors"], "uint8")
Image.fromarray(colors[labels]).save("colored.png")
"""


@dataclass(frozen=True)
class CardDetails:
    """The content of the card that export.json does not have.

    Attributes:
      run: the content of run.json.
      parameters: number of parameters of the network.
      network: file name of the checkpoint.
      evaluation: the content of evaluation.json; None if the network was not evaluated.
      notes: sentences to add.
      panel_caption: caption of panel.png; None if there is no such picture.
      about: Markdown that is put before the other sections.
    """

    run: RunInfo
    parameters: int
    network: str
    evaluation: dict[str, Any] | None
    notes: list[str]
    panel_caption: str | None
    about: str = ""


def write_card(metadata: ExportMetadata, rows: list[Parity], details: CardDetails) -> str:
    """Returns the card as Markdown; `rows` compare the files with Keras."""
    palette, caption = metadata.palette, details.panel_caption
    sections = {
        "Palette": _palette(palette),
        "Training": _training(metadata, details),
        "Scores": _scores(details),
        "Files": _parity(rows),
        "Use": _use(metadata),
        "Limits": _limits(metadata),
    }
    hints = " It also takes colour hints." if metadata.hints else ""
    if metadata.reference:
        hints += " It can be told how much of each colour is wanted: the reference."
    head = (
        f"# linewash {metadata.model}, {len(palette)} colours\n\n"
        f"A network that turns line drawings into posterized colour pictures: it chooses one of "
        f"{len(palette)} colours for each pixel of a drawing.{hints} It is a `{metadata.model}` with "
        f"{details.parameters:,} parameters, exported by linewash {metadata.linewash_version}.\n"
    )
    if caption:
        head += f"\n![{caption}](panel.png)\n\n*{caption}*\n"
    if details.about:
        head += f"\n{details.about}\n"
    return "\n".join([head, *(f"## {title}\n\n{text}" for title, text in sections.items())])


def draw_palette(palette: Palette) -> Image.Image:
    """Draws a swatch with its label for each colour, in the order of the labels."""
    columns = max(COLUMNS, min(64, round(len(palette) ** 0.5)))
    columns = min(columns, len(palette))
    side = SWATCH if len(palette) <= 256 else SWATCH // 4
    sheet = Image.new("RGB", (columns * side, -(-len(palette) // columns) * side), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for label, color in enumerate(palette.colors):
        x, y = label % columns * side, label // columns * side
        draw.rectangle((x + 1, y + 1, x + side - 2, y + side - 2), fill=color, outline=FRAME)
        if side == SWATCH:
            ink = INK if sum(color) > 384 else PAPER
            draw.text((x + side // 2, y + side // 2), str(label), fill=ink, font=font, anchor="mm")
    return sheet


def _palette(palette: Palette) -> str:
    text = f"The palette `{palette.name}`. The last axis of the logits has the colours in this order.\n\n"
    text += "![The palette](palette.png)\n"
    if len(palette) > MAX_LISTED:
        return f"{text}\n`export.json` lists all {len(palette):,} colours.\n"
    cells = [f"{label} `#{bytes(color).hex()}`" for label, color in enumerate(palette.colors)]
    lines = [cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)]
    columns = len(lines[0])
    rows = [line + [""] * (columns - len(line)) for line in lines]
    return f"{text}\n{_table([''] * columns, rows)}"


def _training(metadata: ExportMetadata, details: CardDetails) -> str:
    run, size = details.run, metadata.image_size
    lines = [
        f"The network was trained on {run.dataset.examples.get('train', 0):,} drawings of {size}×{size} px "
        f"(dataset `{metadata.dataset_fingerprint}`). This is the checkpoint `{details.network}` of its run. "
    ]
    rows = [
        [f"`{key}`", f"`{_as_typed(value)}`", f"`{_as_typed(default)}`"]
        for key, (value, default) in _changed_settings(run).items()
    ]
    if rows:
        lines.append("Settings that differ from the defaults of linewash:\n\n")
        lines.append(_table(["setting", "value", "default"], rows))
    else:
        lines.append("All settings are the defaults of linewash.\n")
    if metadata.recipe:
        lines.append(f"\nThe recipe of the drawings: `{json.dumps(metadata.recipe)}`\n")
    lines.append(f"\nTrained with {_versions(run.versions)}")
    lines += [f"; resumed with {_versions(versions)}" for versions in run.resumed_versions]
    lines.append(".\n")
    lines += [f"\n* {note}\n" for note in details.notes]
    return "".join(lines)


def _versions(versions: Versions) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown versions"


def _changed_settings(run: RunInfo) -> dict[str, tuple[Any, Any]]:
    """Returns the settings that differ from the defaults of the model config, each with its default."""
    settings = flat_settings(run.config)
    try:
        config = compose(["data.root=x", f"model={run.model.name}"])
    except LinewashError:  # a model config of another version
        return {key: (value, None) for key, value in settings.items()}
    defaults = flat_settings(json.loads(json.dumps(asdict(config))))
    differing = differing_settings(settings, defaults)
    return {key: values for key, values in differing.items() if key != "data.root"}


def _scores(details: CardDetails) -> str:
    if details.evaluation is None:
        return "The network was not evaluated while its dataset was there.\n"
    content = details.evaluation
    rows = [
        [name, *(_number(row.get(score), digits) for _, score, digits in SCORES)]
        for name, row in content["scores"].items()
    ]
    return (
        f"On {content['examples']:,} examples of the {content['split']} split, beside predictions that "
        "ignore the drawing:\n\n"
        + _table(["", *(heading for heading, _, _ in SCORES)], rows)
        + "\nloss: cross-entropy per pixel in nats (bits: in bits). accuracy: fraction of pixels with the "
        "right colour (balanced: mean over the colours; top 3: right colour among the 3 most probable). ΔE: "
        "mean colour difference (CIEDE2000).\n"
    )


def _parity(rows: list[Parity]) -> str:
    cells = [
        [
            f"`{row.format}`",
            f"{row.megabytes:.2f}",
            f"{row.max_difference:.1e}",
            f"{row.equal_fraction:.4%}",
            f"{row.milliseconds:.1f}",
        ]
        for row in rows
    ]
    return (
        _table(["format", "MB", "max abs Δp", "argmax equal", "ms per drawing of 128 px"], cells)
        + f"\nEach file was compared with Keras on drawings of several sizes: no probability may differ by "
        f"more than {MAX_DIFFERENCE:g}, and at least {MIN_EQUAL_FRACTION:.1%} of the pixels must get the "
        "same colour. Times are medians on the CPU of the machine that made the export.\n\n"
        "All files compute in float32, and accept any batch size and any image size.\n"
    )


def _use(metadata: ExportMetadata) -> str:
    channels = "1 on a line, 0 on paper"
    if metadata.hints:
        channels += "; then red, green and blue of a hint from 0 to 1, and 1 where there is a hint"
    text = (
        f"Input `drawing`, float32 [batch, height, width, {metadata.channels}]: {channels}. "
        + _reference_input(metadata)
        + f"Output `logits`, float32 [batch, height, width, {len(metadata.palette)}]; their softmax is the "
        f"probability of each colour. Height and width must be multiples of {metadata.stride}: pad with "
        "paper (0) below and to the right, and crop the output. First, read a drawing:\n\n"
        f"```python\n{BEFORE.format(empty=metadata.channels - 1)}```\n"
    )
    if metadata.reference:
        program = REFERENCE.format(example=f"{len(metadata.palette) - 1}: 3, 0: 1")
        text += "\nChoose a reference, here three parts of the last colour and one of the first:\n"
        text += f"\n```python\n{program}```\n"
    text += "\nThen run the network:\n"
    for name, file in metadata.files.items():
        title, install, code, *inputs = USE[name]
        program = code.format(file=file, inputs=inputs[metadata.reference])
        text += f"\nWith {title} (`{install}`):\n\n```python\n{program}```\n"
    return f"{text}\nFinally, write the picture:\n\n```python\n{AFTER}```\n"


def _reference_input(metadata: ExportMetadata) -> str:
    if not metadata.reference:
        return ""
    return (
        f"Input `reference`, float32 [batch, {len(metadata.palette)}]: how much of each colour is wanted, as "
        "fractions that add up to 1, such as those of another picture, or equal ones of a few colours; zeros "
        "for no reference. "
    )


def _line_styles(metadata: ExportMetadata) -> str:
    """Names the line styles of the training data. Recipes without `lines` have Canny's."""
    styles = metadata.recipe.get("lines", ["canny"])
    return f"line style{'s' * (len(styles) > 1)} {', '.join(styles)}"


def _limits(metadata: ExportMetadata) -> str:
    size = metadata.image_size
    lines = [
        f"The network was trained on drawings of {size}×{size} px with lines one pixel wide, which linewash "
        f"made from images ({_line_styles(metadata)}). Scale a drawing so that its longer side is about "
        f"{size} px. Larger drawings work, but the network sees a smaller part of them at once. Broad or "
        "grey lines reduce the quality, unless the network was trained with `augment=hands`.",
        "It uses the colours of its palette only, and prefers likely colours, also in unusual pictures.",
    ]
    if metadata.prior:
        lines[-1] += (
            f' `logits -= tau * np.log(np.maximum(about["prior"], {MIN_FREQUENCY}))` brings rare colours '
            "forward: more with a larger tau, from 0 to 1."
        )
    if metadata.model == "resunet":
        lines.append(
            "Attention needs memory that grows with the fourth power of the side: colour large drawings in "
            "parts."
        )
    if metadata.hints:
        lines.append("Hints are strokes 1 to 5 px wide, in colours of the palette.")
    if metadata.reference:
        lines.append(
            "A reference moves the colours of the picture towards its own; it does not say where they go."
        )
    return "".join(f"* {line}\n" for line in lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _as_typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
