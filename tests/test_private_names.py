"""Lists the private names of other packages that linewash uses, so that an upgrade fails here first.

Each entry says where a name is used and what no longer works without it. pyproject.toml bounds the versions
of these packages: before an upgrade, raise the bound there and run this file.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BEAM = "apache_beam"
PORTABILITY = f"{BEAM}.runners.portability.fn_api_runner"


@dataclass(frozen=True)
class Private:
    """A name as `module:attribute.attribute`, its user, what breaks without it, and its parameters."""

    name: str
    used_in: str
    breaks: str
    parameters: tuple[str, ...] = ()


NAMES = [
    Private(
        f"{PORTABILITY}.fn_runner:FnApiRunner", "preprocess/runners/local.py",
        "the local runner cannot start linewash's workers",
        ("default_environment", "provision_info"),
    ),
    Private(
        f"{PORTABILITY}.fn_runner:ExtendedProvisionInfo", "preprocess/runners/local.py",
        "local workers lack the pipeline's options, which they need for buckets", ("provision_info",),
    ),
    Private(
        f"{PORTABILITY}.worker_handlers:WorkerHandler.register_environment", "preprocess/runners/local.py",
        "the local runner starts Beam's own workers and misses their deaths", ("urn", "payload_type"),
    ),
    Private(
        f"{PORTABILITY}.worker_handlers:GrpcWorkerHandler", "preprocess/runners/local.py",
        "local workers cannot be started",
        ("state", "provision_info", "grpc_server"),
    ),
    Private(
        f"{PORTABILITY}.worker_handlers:GrpcWorkerHandler.start_worker", "preprocess/runners/local.py",
        "it is overridden: under another name, Beam would not start linewash's workers",
    ),
    Private(
        f"{PORTABILITY}.worker_handlers:GrpcWorkerHandler.stop_worker", "preprocess/runners/local.py",
        "it is overridden: under another name, workers would not end with the job",
    ),
    Private(
        f"{BEAM}.transforms.environments:SubprocessSDKEnvironment.from_command_string",
        "preprocess/runners/local.py",
        "the local runner cannot start linewash's workers", ("command_string",),
    ),
    Private(
        f"{BEAM}.portability:python_urns.SUBPROCESS_SDK", "preprocess/runners/local.py",
        "the local runner cannot start linewash's workers",
    ),
    Private(
        f"{BEAM}.runners.job.utils:dict_to_struct", "preprocess/runners/local.py",
        "local workers lack the pipeline's options", ("dict_obj",),
    ),
    Private(
        f"{BEAM}.runners.worker.sdk_worker_main:main", "preprocess/runners/worker.py",
        "local workers cannot be started", ("unused_argv",),
    ),
    Private(
        f"{BEAM}.io.filesystems:FileSystems._pipeline_options", "preprocess/storage/registry.py",
        "credentials and endpoints in Beam's flags are ignored",
    ),
    Private(
        f"{BEAM}.io.filesystem:FileSystem.translate_pattern", "preprocess/storage/base.py",
        "glob patterns cannot be matched in buckets", ("pattern",),
    ),
    Private(
        f"{BEAM}.runners.runner:create_runner", "preprocess/runners/preflight.py",
        "an unknown runner is found only after the images are listed", ("runner_name",),
    ),
    Private(
        f"{BEAM}.options.pipeline_options_validator:PipelineOptionsValidator.validate",
        "preprocess/runners/preflight.py",
        "wrong flags of a runner are found only after the images are listed",
    ),
    Private(
        f"{BEAM}.options.pipeline_options:PipelineOptions._add_argparse_args", "preprocess/options.py",
        "misspelt flags of Beam are ignored silently", ("parser",),
    ),
    Private(
        f"{BEAM}.io.gcp.gcsio:create_storage_client", "preprocess/storage/gcs.py",
        "gs:// cannot be opened", ("pipeline_options", "use_credentials"),
    ),
    Private(
        f"{BEAM}.runners.dataflow.internal.apiclient:DataflowApplicationClient",
        "preprocess/runners/dataflow.py",
        "a missing package of Dataflow is found only when the job is submitted",
    ),
    Private(
        "google.cloud.storage:Client._http", "preprocess/storage/gcs.py",
        "sixteen readers share ten connections, and the client logs a warning at each read",
    ),
    Private(
        "keras.optimizers:Muon._should_use_adamw", "training/loop/optimizers.py",
        "it is overridden: under another name, AdamW would update the kernels of convolutions", ("variable",),
    ),
    Private(
        "keras.optimizers:Muon.zeropower_via_newtonschulz5", "training/loop/optimizers.py",
        "Muon's updates of convolutions are not orthogonal", ("x", "steps"),
    ),
    Private(
        "keras.optimizers:Muon._get_variable_index", "training/loop/optimizers.py",
        "ConvMuon cannot find the momentum of a kernel", ("variable",),
    ),
    Private(
        "keras.optimizers:Optimizer._all_reduce_sum_gradients", "training/loop/optimizers.py",
        "it is overridden: under another name, replicas would sum their gradients twice",
        ("grads_and_vars",),
    ),
]  # fmt: skip


@pytest.mark.parametrize("private", NAMES, ids=lambda private: private.name.rpartition(":")[2])
def test_the_name_exists_and_takes_these_parameters(private: Private) -> None:
    usage = f"{private.used_in} uses {private.name}. Without it: {private.breaks}."
    module, _, path = private.name.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for attribute in path.split("."):
            target = inspect.getattr_static(target, attribute)
            target = getattr(target, "__func__", target)
    except (ImportError, AttributeError) as e:
        pytest.fail(f"{usage} ({type(e).__name__}: {e})")
    if private.parameters:
        parameters = list(inspect.signature(target).parameters)
        missing = [name for name in private.parameters if name not in parameters]
        assert not missing, f"{usage} It takes {parameters}."


def test_instances_have_these_attributes() -> None:
    """Constructors set them, so that the classes do not have them."""
    import argparse

    import keras

    assert argparse.ArgumentParser()._actions, "preprocess/options.py: misspelt flags are not recognised"
    muon = keras.optimizers.Muon()
    muon.build([keras.Variable([[1.0]])])
    for name in ("rms_rate", "ns_steps", "momentums", "_trainable_variables"):
        assert hasattr(muon, name), f"training/loop/optimizers.py: ConvMuon uses {name} of Keras's Muon"


# Public names with a leading underscore.
DOCUMENTED = {"_exit", "_asdict", "_replace", "_fields", "_make"}


def test_all_used_private_names_are_listed() -> None:
    """A private name that linewash reads but does not define belongs to another package."""
    used: dict[str, str] = {}
    defined: set[str] = set()
    paths = [ROOT / "tfrecords_schema.py"]
    paths += [
        path for folder in ("preprocess", "training", "scripts") for path in (ROOT / folder).rglob("*.py")
    ]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                used.setdefault(node.attr, f"{path.relative_to(ROOT)}:{node.lineno}")
            elif isinstance(node, ast.Attribute):
                defined.add(node.attr)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined.add(node.id)
    private = {name for name in used if name.startswith("_") and not name.endswith("__")}
    listed = {attribute for each in NAMES for attribute in each.name.partition(":")[2].split(".")}
    listed |= {"_actions", "_trainable_variables"}
    unlisted = {name: used[name] for name in private - defined - DOCUMENTED - listed}
    assert unlisted == {}, "add them to NAMES, with what breaks without them"


def test_packages_with_used_private_names_have_an_upper_bound() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [line for lines in project["optional-dependencies"].values() for line in lines]
    for package in ("apache-beam", "keras", "omegaconf", "hydra-core", "google-cloud-storage"):
        lines = [line for line in requirements if line.partition(">")[0].partition("[")[0] == package]
        assert lines, package
        assert all(",<" in line for line in lines), lines
