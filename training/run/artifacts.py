"""The files that a run writes into its directory after each epoch, apart from its checkpoints.

The checkpoint is saved first. These files follow from it, so a resumed run can write those that are missing.
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
from training.metrics.baselines import Baselines
from training.run import plots
from training.run.history import Epoch, best_of, to_csv, write_csv
from training.run.run_info import flat_settings, network_path
from training.run.sample_grid import SampleGrid
from training.run.tensorboard import TensorBoardWriter

HISTORY = "history.csv"


@dataclass
class RunArtifacts:
    """Writes best.keras, last.keras, history.csv, curves.png, panel.png and tensorboard/ of a run.

    The training loop appends to `history`, the list of ended epochs. Nothing is written unless `is_chief`: of
    several processes that share a run, only the chief writes.
    """

    run_dir: Path
    title: str
    baselines: Baselines
    sample_grid: SampleGrid
    tensorboard: TensorBoardWriter
    history: list[Epoch]
    is_chief: bool

    @classmethod
    def create(
        cls,
        run_dir: Path,
        config: TrainConfig,
        dataset: ShardedDataset,
        baselines: Baselines,
        history: list[Epoch],
        is_chief: bool,
    ) -> RunArtifacts:
        """Returns the writer for a run, and reads the examples of its sample grid."""
        name = Path(dataset.root).resolve().name if "://" not in dataset.root else dataset.root
        title = f"{config.model.name} on {name} · {len(dataset.manifest.palette)} colours"
        settings = flat_settings(dataclasses.asdict(config))
        tensorboard = TensorBoardWriter(run_dir / "tensorboard", settings, dataset.selection_split)
        sample_grid = SampleGrid.read(
            dataset, dataset.selection_split, config.trainer.panel_images, config.model.stride
        )
        return cls(run_dir, title, baselines, sample_grid, tensorboard, history, is_chief)

    @property
    def best(self) -> Epoch | None:
        """The best epoch so far; None before the first has ended."""
        return best_of(self.history)

    def write(self, net: keras.Model) -> None:
        """Writes all files after an epoch, the last of `history`; `net` has the weights of its end.

        The networks come first, since they matter most if the disk is full. history.csv comes last: if it
        has the row of an epoch, all other files of the epoch are complete.
        """
        if not self.is_chief:
            return
        epoch = self.history[-1]
        save_network(net, network_path(self.run_dir, "last"))
        if self.best is epoch:
            save_network(net, network_path(self.run_dir, "best"))
        grid = self.sample_grid.draw(net)
        with atomic_write(self.run_dir / "panel.png") as temporary:
            Image.fromarray(grid).save(temporary)
        self.tensorboard.write(epoch, grid)
        self._write_history_and_curves()

    def sync_with_checkpoint(self, net: keras.Model, epoch_just_ended: bool) -> None:
        """Makes the files agree with the checkpoint from which the run was resumed.

        A killed process may have left files of the last epoch unwritten. They are written now if the
        checkpoint is that of its end, so that `net` has the right weights. Rows of history.csv that are
        newer than the checkpoint are removed.
        """
        path = self.run_dir / HISTORY
        if not self.is_chief:
            return
        if not self.history:
            path.unlink(missing_ok=True)
        elif path.exists() and path.read_bytes() == to_csv(self.history).encode():
            return
        elif epoch_just_ended:
            self.write(net)
        else:
            self._write_history_and_curves()

    def _write_history_and_curves(self) -> None:
        plots.write_curves(self.run_dir / "curves.png", self.history, self.baselines, self.title)
        write_csv(self.run_dir / HISTORY, self.history)


def save_network(net: keras.Model, path: Path) -> None:
    """Writes a network as a .keras archive, atomically."""
    with atomic_write(path) as temporary:
        net.save(temporary)
