"""Everything a run leaves in its directory after each epoch, written by one call.

The state of the run was saved before: all this follows from it, and is made up for when the run is resumed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import keras
from PIL import Image

from training.atomic_files import atomic_write
from training.config import TrainConfig
from training.data.dataset import ShardedDataset
from training.loop import checkpoint
from training.metrics.baselines import Baselines
from training.run import history, plots
from training.run.history import Epoch
from training.run.run_info import settings
from training.run.sample_grid import SampleGrid
from training.run.tensorboard import TensorBoardWriter

HISTORY = "history.csv"


@dataclass
class RunArtifacts:
    """The run's directory: run.json, history.csv, curves.png, panel.png, checkpoints/, tensorboard/.

    Nothing is written there unless `writes`: of several processes that share a run, one does.
    """

    run_dir: Path
    title: str
    baselines: Baselines
    panel: SampleGrid
    scalars: TensorBoardWriter
    epochs: list[Epoch]
    writes: bool

    @classmethod
    def of(
        cls,
        run_dir: Path,
        config: TrainConfig,
        dataset: ShardedDataset,
        baselines: Baselines,
        epochs: list[Epoch],
        writes: bool,
    ) -> RunArtifacts:
        """A journal of `epochs`, a list that grows while the run goes on; picks the pictures of the panel."""
        name = Path(dataset.root).resolve().name if "://" not in dataset.root else dataset.root
        title = f"{config.model.name} on {name} · {len(dataset.manifest.palette)} colours"
        typed = settings(dataclasses.asdict(config))
        scalars = TensorBoardWriter(run_dir / "tensorboard", typed, dataset.selection_split)
        return cls(run_dir, title, baselines, SampleGrid.of(config, dataset), scalars, epochs, writes)

    @property
    def best(self) -> Epoch | None:
        """The best epoch so far; None before the first has ended."""
        return history.best_of(self.epochs)

    def write(self, net: keras.Model) -> None:
        """Takes down the last of the epochs, after which `net` has its weights.

        The network goes first: if the disk is full, it matters most. history.csv goes last: where it has
        the epoch's row, all the rest stands too.
        """
        if not self.writes:
            return
        epoch = self.epochs[-1]
        checkpoint.save_net(net, self.run_dir / "checkpoints" / checkpoint.LAST)
        if self.best is epoch:
            checkpoint.save_net(net, self.run_dir / "checkpoints" / checkpoint.BEST)
        picture = self.panel.draw(net)
        with atomic_write(self.run_dir / "panel.png") as temporary:
            Image.fromarray(picture).save(temporary)
        self.scalars.write(epoch, picture)
        self._write_history()

    def make_up(self, net: keras.Model, epoch_just_ended: bool) -> None:
        """On resuming: writes what a killed process did not, and takes back what it wrote too much."""
        path = self.run_dir / HISTORY
        if not self.writes:
            return
        if not self.epochs:
            path.unlink(missing_ok=True)
        elif path.exists() and path.read_bytes() == history.to_csv(self.epochs).encode():
            return
        elif epoch_just_ended:
            self.write(net)
        else:
            self._write_history()

    def _write_history(self) -> None:
        plots.write_curves(self.run_dir / "curves.png", self.epochs, self.baselines, self.title)
        history.write_csv(self.run_dir / HISTORY, self.epochs)
