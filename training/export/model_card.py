"""The model card: README.md of an export, for someone who has nothing else than its directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tfrecords_schema import Palette
from training.errors import LinewashError
from training.export.metadata import ExportMetadata
from training.export.parity import LEAST_EQUAL, MOST_DIFFERENCE, Parity
from training.hydra_config import compose
from training.run.run_info import differences, settings
from training.run.sample_grid import FRAME, INK, PAPER

CARD_NAME = "README.md"
MOST_LISTED = 64  # colours; of larger palettes export.json has the list
SWATCH, COLUMNS = 56, 9
# Heading in the card, score, digits.
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
USE = {
    "keras": (
        "Keras", "pip install tensorflow keras pillow",
        'import keras\n\nnet = keras.models.load_model("{file}", compile=False)\n'
        "logits = np.asarray(net(drawing, training=False))\n",
    ),
    "saved_model": (
        "TensorFlow", "pip install tensorflow pillow",
        'import tensorflow as tf\n\nnet = tf.saved_model.load("{file}")\n'
        'logits = net.serve(tf.constant(drawing))["logits"].numpy()\n',
    ),
    "onnx": (
        "ONNX Runtime", "pip install onnxruntime numpy pillow",
        'import onnxruntime\n\nnet = onnxruntime.InferenceSession("{file}")\n'
        'logits = net.run(["logits"], {{"drawing": drawing}})[0]\n',
    ),
    "litert": (
        "LiteRT", "pip install ai-edge-litert numpy pillow",
        'from ai_edge_litert.interpreter import Interpreter\n\nnet = Interpreter("{file}")\n'
        'logits = net.get_signature_runner()(drawing=drawing)["logits"]\n',
    ),
}  # fmt: skip
AFTER = """\
labels = logits[0, :height, :width].argmax(-1)
colors = np.array(about["palette"]["colors"], "uint8")
Image.fromarray(colors[labels]).save("colored.png")
"""


@dataclass(frozen=True)
class Facts:
    """What the card says beyond export.json.

    `network` is the checkpoint's file name, `record` the run's run.json, `evaluation` what evaluation.json
    holds (None when nothing was judged), `panel` what panel.png shows (None when there is none).
    """

    parameters: int
    network: str
    record: dict[str, Any]
    evaluation: dict[str, Any] | None
    notes: list[str]
    panel: str | None


def write_card(exported: ExportMetadata, rows: list[Parity], facts: Facts) -> str:
    """The whole card, Markdown."""
    palette = exported.palette
    sections = {
        "The palette": _palette(palette),
        "How it was trained": _training(exported, facts),
        "How good it is": _scores(facts),
        "The files": _parity(rows),
        "How to use them": _use(exported),
        "Limits": _limits(exported),
    }
    takes = " It also takes colour hints." if exported.hints else ""
    head = (
        f"# linewash {exported.model}, {len(palette)} colours\n\n"
        f"Line drawings in, posterized colour pictures out: for each pixel of a drawing, which of "
        f"{len(palette)} palette colours belongs there.{takes} A `{exported.model}` of "
        f"{facts.parameters:,} parameters, exported by linewash {exported.linewash_version}.\n"
    )
    if facts.panel:
        head += f"\n![{facts.panel}](panel.png)\n\n*{facts.panel}*\n"
    return "\n".join([head, *(f"## {title}\n\n{text}" for title, text in sections.items())])


def draw_palette(palette: Palette) -> Image.Image:
    """A swatch and a number for each colour, in the order of labels."""
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
    text = f"`{palette.name}`: label i is colour i, and the last axis of the logits is in this order.\n\n"
    text += "![The palette](palette.png)\n"
    if len(palette) > MOST_LISTED:
        return f"{text}\n`export.json` lists all {len(palette):,} colours.\n"
    cells = [f"{label} `#{bytes(color).hex()}`" for label, color in enumerate(palette.colors)]
    lines = [cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)]
    columns = len(lines[0])
    rows = [line + [""] * (columns - len(line)) for line in lines]
    return f"{text}\n{_table([''] * columns, rows)}"


def _training(exported: ExportMetadata, facts: Facts) -> str:
    record, size = facts.record, exported.image_size
    split = record["dataset"].get("examples", {})
    lines = [
        f"On {split.get('train', 0):,} drawings of {size}×{size} px "
        f"(dataset `{exported.dataset_fingerprint}`), from `{facts.network}` of its run; everything "
        "that is not a default of linewash:\n\n"
    ]
    rows = [
        [f"`{key}`", f"`{_typed(now)}`", f"`{_typed(then)}`"] for key, (now, then) in _changed(record).items()
    ]
    lines.append(_table(["setting", "here", "default"], rows) if rows else "Nothing: all are defaults.\n")
    if exported.recipe:
        lines.append(f"\nThe drawings were made so: `{json.dumps(exported.recipe)}`\n")
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    lines.append(f"\nVersions then: {versions}.\n")
    lines += [f"\n* {note}\n" for note in facts.notes]
    return "".join(lines)


def _changed(record: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings in which the run differs from the defaults of its kind of network: here, and there."""
    here = settings(record["config"])
    try:
        config = compose(["data.root=x", f"model={here['model.name']}"])
    except LinewashError:  # a kind that this version does not know
        return {key: (value, None) for key, value in here.items()}
    defaults = settings(json.loads(json.dumps(asdict(config))))
    return {key: values for key, values in differences(here, defaults).items() if key != "data.root"}


def _scores(facts: Facts) -> str:
    if facts.evaluation is None:
        return "None: it was not judged while its dataset was there.\n"
    content = facts.evaluation
    rows = [
        [name, *(_number(row.get(score), digits) for _, score, digits in SCORES)]
        for name, row in content["scores"].items()
    ]
    return (
        f"On {content['examples']:,} examples of the {content['split']} split, beside three predictions that "
        "never look at the drawing:\n\n"
        + _table(["", *(heading for heading, _, _ in SCORES)], rows)
        + "\nLoss is the cross-entropy a pixel in nats; ΔE the mean CIEDE2000 difference in colour.\n"
    )


def _parity(rows: list[Parity]) -> str:
    cells = [
        [
            f"`{r.format}`",
            f"{r.megabytes:.2f}",
            f"{r.difference:.1e}",
            f"{r.equal:.4%}",
            f"{r.milliseconds:.1f}",
        ]
        for r in rows
    ]
    return (
        _table(["format", "MB", "max abs Δp", "argmax equal", "ms for a drawing of 128 px"], cells)
        + f"\nEach was compared with Keras on drawings of several sizes: no probability may differ by more "
        f"than {MOST_DIFFERENCE:g}, and at least {LEAST_EQUAL:.1%} of the pixels must get the same colour. "
        "Times are medians on the CPU of the machine that made the export.\n\n"
        "All are in float32, and take any batch and any size.\n"
    )


def _use(exported: ExportMetadata) -> str:
    channels = "1 on a line, 0 on paper"
    if exported.hints:
        channels += "; then red, green, blue from 0 to 1 of a hint, and 1 where there is a hint"
    text = (
        f"Input `drawing`, float32 [batch, height, width, {exported.channels}]: {channels}. "
        f"Output `logits`, float32 [batch, height, width, {len(exported.palette)}]; their softmax is the "
        f"probability of each colour. Height and width must be multiples of {exported.stride}: pad with "
        "empty paper below and to the right, and crop what comes out. First:\n\n"
        f"```python\n{BEFORE.format(empty=exported.channels - 1)}```\n"
    )
    for name, file in exported.files.items():
        title, install, code = USE[name]
        text += f"\n{title} (`{install}`):\n\n```python\n{code.format(file=file)}```\n"
    return f"{text}\nAnd then:\n\n```python\n{AFTER}```\n"


def _limits(exported: ExportMetadata) -> str:
    size = exported.image_size
    lines = [
        f"It learnt from edges that Canny found in pictures of {size}×{size} px: lines one pixel wide. Scale "
        f"a drawing so that its longer side is not far from {size} px; larger ones work, but it sees less of "
        "the whole, and broad or grey lines are strange to it unless it was trained with `augment=hands`.",
        "It knows only its palette, and colours what is likely: an unusual picture gets usual colours.",
    ]
    if exported.model == "resunet":
        lines.append(
            "Attention takes memory with the fourth power of the side: colour large drawings in parts."
        )
    if exported.hints:
        lines.append("Hints are strokes of about 1 to 5 px in colours of the palette.")
    return "".join(f"* {line}\n" for line in lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
