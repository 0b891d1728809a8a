"""Settings: every file in conf/ composes, and every slip gets its sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from training.config import ArticleLogitsConfig, TrainConfig, UNetConfig
from training.data.dataset import ShardedDataset
from training.errors import UsageError
from training.hydra_config import CONF_DIR, compose
from training.models import build_model

OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONF_DIR.glob("*/*.yaml") if path.parent.name != "hydra"
)


def test_conf_mirrors_the_settings() -> None:
    groups = {path.parent.name for path in CONF_DIR.glob("*/*.yaml")} - {"experiment"}
    assert groups == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes(option: str) -> None:
    config = compose(["data.root=x", option])
    assert isinstance(config, TrainConfig)
    assert config.data.root == "x"


@pytest.mark.parametrize(
    "option", ["model=unet", "model=article_logits", "model=article", "experiment=smoke"]
)
def test_every_model_option_builds(option: str) -> None:
    small = ["model.width=0.02"] if "article" in option else []
    config = compose(["data.root=x", option, *small])
    net = build_model(config.model, colors=5, seed=0)
    assert net.compute_output_shape((2, 128, 128, 1)) == (2, 128, 128, 5)


@pytest.mark.parametrize("path", sorted(CONF_DIR.glob("**/*.yaml")), ids=lambda path: path.stem)
def test_every_value_has_a_comment(path: Path) -> None:
    if path.parent == CONF_DIR or path.parent.name == "experiment":
        pytest.skip("holds choices, not values")
    lines = path.read_text().splitlines()
    values = [line for line in lines if ": " in line and not line.startswith((" ", "#", "name:"))]
    assert lines[0].startswith("# ")
    assert all(" # " in line for line in values), values


def test_models_have_their_own_settings() -> None:
    assert isinstance(compose(["data.root=x"]).model, UNetConfig)
    article = compose(["data.root=x", "model=article_logits", "model.width=0.5"]).model
    assert isinstance(article, ArticleLogitsConfig)
    assert article.width == 0.5
    assert article.gives_logits


def test_config_is_frozen() -> None:
    config = compose(["data.root=x"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.trainer.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([], "data.root is missing: type data.root=DATASET"),
        (["modle=unet"], "no setting modle: did you mean model?"),
        (["trainer.epoch=3"], "no setting trainer.epoch: did you mean trainer.epochs?"),
        (["+trainer.epoch=3"], "no setting trainer.epoch: did you mean trainer.epochs?"),
        (["+bogus=3"], "no setting bogus"),
        (["model=resnet"], "model=resnet does not exist: did you mean resunet? model can be article,"),
        (["model=unte"], "did you mean unet?"),
        (["trainer=none"], "trainer=none does not exist"),
        (["experiment=smokey"], "did you mean smoke?"),
        (["trainer.epochs=many"], "trainer.epochs must be a whole number; got many"),
        (["trainer.epochs=2.5"], "trainer.epochs must be a whole number; got 2.5"),
        (["optimizer.learning_rate=fast"], "optimizer.learning_rate must be a number; got fast"),
        (["trainer.jit_compile=maybe"], "trainer.jit_compile must be true or false; got maybe"),
        (["trainer.epochs=0"], "trainer.epochs must be at least 1, or null; got 0"),
        (["trainer.epochs=null"], "one of them must end the run"),
        (["trainer.batch_size=-8"], "trainer.batch_size must be at least 1; got -8"),
        (["trainer.seed=-1"], "trainer.seed must be"),
        (["trainer.precision=int8"], "one of float32, mixed_bfloat16, mixed_float16; got int8"),
        (["augment.flip=2"], "augment.flip must be a probability from 0 to 1; got 2"),
        (["loss.label_smoothing=1"], "loss.label_smoothing must be"),
        (["optimizer.learning_rate=-0.1"], "optimizer.learning_rate must be above 0; got -0.1"),
        (["model.widths=[8]"], "model.widths must be"),
        (["model.widths=8"], "model.widths"),
        (["trainer.epochs"], "write group.key=value"),
        (["trainer.epochs=[1"], "write group.key=value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_slips_get_one_sentence(overrides: list[str], sentence: str) -> None:
    root = ["data.root=x"] if overrides else []
    with pytest.raises(UsageError) as error:
        compose([*root, *overrides])
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["trainer.batch_size=64"], "there are only 48 training examples: type trainer.batch_size=12"),
        (["trainer.batch_size=8", "trainer.steps_per_epoch=7"], "has only 6 batches of 8"),
        (["model=article"], "takes multiples of 128 px, but these images are 32 px"),
    ],
)
def test_what_does_not_fit_the_dataset(shared_dataset: Path, overrides: list[str], sentence: str) -> None:
    config = compose([f"data.root={shared_dataset}", *overrides])
    with pytest.raises(UsageError) as error:
        config.check_fits(ShardedDataset.open(str(shared_dataset)).manifest)
    assert sentence in str(error.value)
