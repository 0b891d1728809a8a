"""Settings: every file in conf/ composes, every setting has a sentence, and mistakes are explained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from training.config import MODELS, ArticleLogitsConfig, Settings, TrainConfig, UNetConfig
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


# ------------------------------------------------------------------------------------ sentences and values


def setting_kinds() -> dict[str, type[Settings]]:
    """The dataclass of each group, and of each network, by group=option."""
    kinds = {group: kind for group, kind in get_type_hints(TrainConfig).items() if group != "model"}
    return kinds | {f"model={name}": kind for name, kind in MODELS.items()}


@pytest.mark.parametrize("kind", setting_kinds().values(), ids=setting_kinds().keys())
def test_every_setting_has_a_sentence(kind: type[Settings]) -> None:
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        sentence = field.metadata["help"]
        assert len(sentence) > 20
        assert not sentence.endswith(".")
        assert "\n" not in sentence


@pytest.mark.parametrize(
    "path", sorted(CONF_DIR.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}={path.stem}"
)
def test_options_have_one_comment_and_values(path: Path) -> None:
    """Sentences about settings are in training/config.py. Values of presets may have a reason beside them."""
    lines = path.read_text().splitlines()
    assert [line.startswith("# ") for line in lines[:2]] == [True, path.parent.name == "experiment"]
    sentences = [
        field.metadata["help"]
        for kind in setting_kinds().values()
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    ]
    for comment in (line.partition("# ")[2] for line in lines[2:] if "# " in line):
        assert path.parent.name in ("experiment", "model"), comment
        assert not any(comment in sentence for sentence in sentences)


@pytest.mark.parametrize(
    "path", sorted(CONF_DIR.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}={path.stem}"
)
def test_variants_have_only_differences(path: Path) -> None:
    """Each value of a file differs from that of the options on which the file is based."""
    own = yaml.safe_load(path.read_text())
    bases = [entry for entry in own.pop("defaults", []) if isinstance(entry, str)]
    options = [f"{path.parent.name}={base}" for base in bases]
    if path.parent.name == "experiment":
        composed = yaml.safe_load(path.read_text()).get("defaults", [])
        options = [
            f"{key.rpartition('/')[2]}={option}" for entry in composed for key, option in entry.items()
        ]
        before = dataclasses.asdict(compose(["data.root=x", *options]))
        repeated = [
            f"{group}.{key}" for group, values in own.items() for key, value in values.items()
            if before[group][key] == value
        ]  # fmt: skip
    else:
        before = dataclasses.asdict(compose(["data.root=x", *options]))[path.parent.name] if bases else {}
        repeated = [key for key, value in own.items() if key in before and before[key] == value]
    assert repeated == []


def test_options_of_a_group_have_one_base() -> None:
    """Otherwise the same value would be written in several files."""
    for group in ("augment", "loss", "optimizer"):
        files = [yaml.safe_load(path.read_text()) for path in (CONF_DIR / group).glob("*.yaml")]
        assert [content for content in files if "defaults" not in content] == [
            content
            for content in files
            if content.keys() == {field.name for field in dataclasses.fields(setting_kinds()[group])}  # type: ignore[arg-type]
        ]
        assert sum("defaults" not in content for content in files) == 1


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
        (["augment.flip=2"], "augment.flip must be from 0 to 1; got 2"),
        (["loss.label_smoothing=1"], "loss.label_smoothing must be"),
        (["optimizer.learning_rate=-0.1"], "optimizer.learning_rate must be above 0; got -0.1"),
        (["model.widths=[8]"], "model.widths must be"),
        (["model.widths=8"], "model.widths"),
        (["model.blocks=[0,1]"], "model.blocks must be 5 numbers"),
        (["model=resunet", "model.attention=5"], "model.attention must be from 0 to 4"),
        (["model.name=none"], "choose a network with model=NAME"),
        (["model.name=resunet"], "choose a network with model=NAME"),
        (["trainer.epochs"], "write group.key=value"),
        (["trainer.epochs=[1"], "write group.key=value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_reported_in_one_sentence(overrides: list[str], sentence: str) -> None:
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
def test_settings_that_do_not_fit_the_dataset_are_refused(
    shared_dataset: Path, overrides: list[str], sentence: str
) -> None:
    config = compose([f"data.root={shared_dataset}", *overrides])
    with pytest.raises(UsageError) as error:
        config.check_fits(ShardedDataset.open(str(shared_dataset)).manifest)
    assert sentence in str(error.value)
