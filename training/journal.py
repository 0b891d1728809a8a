"""Everything a run leaves in its directory after each epoch, written by one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import keras
from PIL import Image

import tfrecords_schema as schema
from training import checkpoint, curves, history, record
from training.baselines import Baselines
from training.config import TrainConfig
from training.errors import UsageError
from training.history import Epoch
from training.panel import Panel
from training.scalars import Scalars


@dataclass
class Journal:
    """The run's directory: run.json, history.csv, curves.png, panel.png, checkpoints/, tensorboard/."""

    run_dir: Path
    title: str
    baselines: Baselines
    panel: Panel
    epochs: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._scalars = Scalars(self.run_dir / "tensorboard")

    @classmethod
    def open(
        cls,
        run_dir: Path,
        config: TrainConfig,
        manifest: schema.Manifest,
        net: keras.Model,
        baselines: Baselines,
    ) -> Journal:
        """Creates the directory, writes run.json, and picks the pictures the panel will show.

        Raises:
          UsageError: the directory holds another run.
        """
        if (run_dir / record.RUN_NAME).exists():
            raise UsageError(f"{run_dir} holds a run already: type hydra.run.dir=ANOTHER")
        run_dir.mkdir(parents=True, exist_ok=True)
        record.write_run(run_dir / record.RUN_NAME, config, manifest, net)
        title = f"{config.model.name} on {Path(config.data.root).name} · {len(manifest.palette)} colours"
        return cls(run_dir, title, baselines, Panel.of(config, manifest))

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest validation (or else training) loss; None before the first has ended."""
        return min(self.epochs, key=lambda epoch: epoch.judged_by.loss, default=None)

    def write(self, epoch: Epoch, net: keras.Model) -> None:
        """Takes down one epoch. The network goes first: if the disk is full, it matters most."""
        self.epochs.append(epoch)
        checkpoint.save_net(net, self.run_dir / "checkpoints" / checkpoint.LAST)
        if self.best is epoch:
            checkpoint.save_net(net, self.run_dir / "checkpoints" / checkpoint.BEST)
        history.append_csv(self.run_dir / "history.csv", epoch)
        curves.write_curves(self.run_dir / "curves.png", self.epochs, self.baselines, self.title)
        picture = self.panel.draw(net)
        _save_png(Image.fromarray(picture), self.run_dir / "panel.png")
        self._scalars.write(epoch, picture)


def _save_png(image: Image.Image, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    image.save(temporary, "PNG")
    temporary.replace(path)
