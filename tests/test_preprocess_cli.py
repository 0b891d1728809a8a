"""The ending of the preprocessing command: exit codes, one-sentence errors, and signals."""

from __future__ import annotations

import errno
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace

import helper_photos
import pytest
from helper_commands import ROOT
from helper_jobs import file_contents, preprocess

from preprocess import cli, job, options, output_directory
from preprocess.__main__ import main
from preprocess.lines import styles
from preprocess.runners.launcher import Launcher
from preprocess.storage import files
from tfrecords_schema import __version__


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("python -m preprocess: ")
    return lines[0]


# -------------------------------------------------------------------------------------- name and flags


@pytest.mark.parametrize(
    ("started_as", "name"),
    [
        ("/usr/local/bin/linewash-preprocess", "linewash-preprocess"),
        (str(ROOT / "preprocess/__main__.py"), "python -m preprocess"),
    ],
)
def test_usage_version_and_errors_have_the_name_of_the_command(
    started_as: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [started_as, "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"{name} {__version__}\n"
    monkeypatch.setattr(sys, "argv", [started_as, "--help"])
    assert main() == 0
    assert capsys.readouterr().out.startswith(f"usage: {name} --input ")
    monkeypatch.setattr(sys, "argv", [started_as])
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"{name}: ")


def test_the_console_command_runs_main() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert pkgutil.resolve_name(scripts["linewash-preprocess"]) is main


def test_a_full_device_fails_the_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--version"]) == 1
    assert "No space left on device" in sentence(capsys)


def test_the_help_fits_into_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    flags = [name for action in options.build_parser()._actions for name in action.option_strings]
    assert all(f"{flag} " in text or f"{flag}\n" in text or f"{flag}," in text for flag in flags)
    assert not any("-" in flag.removeprefix("--") for flag in flags if flag.startswith("--"))


def test_own_flags_may_be_written_with_dashes() -> None:
    plain = ["--input", "a", "--output", "b", "--image_size=64", "--max_reject_fraction", "0.5"]
    dashed = ["--input", "a", "-o", "b", "--image-size=64", "--max-reject-fraction", "0.5"]
    assert options.parse(dashed) == options.parse(plain)
    assert options.parse([*plain, "--retry-rejects", "--keys-with-input"]).retry_rejects
    splits = options.parse(["--train-input", "a-b", "--val-input", "c-d", "-o", "e-f", "--num-shards", "3"])
    assert (splits.inputs, splits.output) == ({"train": ["a-b"], "val": ["c-d"]}, "e-f")


def test_dashes_in_flags_of_beam_and_in_values_stay() -> None:
    argv = ["--input", "a-b", "--output=c-d", "--temp_location=gs://a-b/c-d", "--temp-location", "x"]
    parsed = options.parse(argv)
    assert (parsed.inputs, parsed.output) == ({None: ["a-b"]}, "c-d")
    assert parsed.beam == ["--temp_location=gs://a-b/c-d", "--temp-location", "x"]
    with pytest.raises(options.UsageError, match="--temp-location; did you mean --temp_location"):
        options.check_beam_flags(parsed.beam)


# --------------------------------------------------------------------------------------- line styles


@pytest.fixture
def two_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("canny", "mirrored_lines"):
        monkeypatch.setitem(styles.LINE_STYLES, name, styles.LINE_STYLES["canny"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lines", "canny,mirrored_lines"],
        ["--lines", "canny", "mirrored_lines"],
        ["--lines=canny mirrored_lines,"],
        ["--lines", " canny , mirrored_lines "],
        ["--lines", "canny", "--lines", "mirrored_lines"],
    ],
)
@pytest.mark.usefixtures("two_styles")
def test_line_styles_are_separated_by_commas_or_spaces(arguments: list[str]) -> None:
    parsed = options.parse(["--input", "a", *arguments, "--output", "b"])
    assert parsed.recipe.lines == ("canny", "mirrored_lines")
    assert parsed.beam == []


def test_the_default_line_style_is_that_of_the_article() -> None:
    for recipe in ([], ["--recipe", "article"]):
        assert options.parse(["--input", "a", "-o", "b", *recipe]).recipe.lines == ("canny",)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("sobel", ["--lines", "no line style sobel", "canny"]),
        ("canny,mirorred-Lines", ["no line style mirorred-Lines", "did you mean mirrored_lines?"]),
        ("Canny", ["no line style Canny", "did you mean canny?"]),
        ("canny,mirrored_lines,canny", ["--lines", "canny twice"]),
        ("", ["--lines is empty", "canny"]),
        (" , ", ["--lines is empty"]),
    ],
)
@pytest.mark.usefixtures("two_styles")
def test_wrong_line_styles_are_one_sentence(
    value: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--input", "x", "--output", "y", "--lines", value]) == 2
    error = sentence(capsys)
    assert all(part in error for part in parts), error


def test_the_help_names_every_line_style(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    words = set(capsys.readouterr().out.replace(",", " ").replace(";", " ").split())
    assert set(styles.LINE_STYLES) <= words


# ----------------------------------------------------------------------------------------- packages


def test_without_any_package_the_error_says_what_to_install() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from preprocess.__main__ import main; "
    bare = [sys.executable, "-I", "-S", "-c", f"{code}sys.exit(main(['--help']))"]
    result = subprocess.run(bare, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"-m pip install --editable '{ROOT}[preprocess]'" in result.stderr


@pytest.mark.parametrize(
    ("module", "extras"),
    [
        ("apache_beam.options.pipeline_options", "preprocess"),
        ("google.cloud.storage", "gcp"),
        ("boto3", "aws"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(module: str, extras: str) -> None:
    explanation = cli.explain_error(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert explanation
    code, text = explanation
    assert code == 2
    assert f"{module} is not installed" in text
    assert f"{sys.executable} -m pip install" in text
    assert f"[{extras}]'" in text


def test_beam_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    assert main(["--input", "x", "--output", "y", "--runner", "DirectRunner"]) == 2
    assert "apache_beam.options.pipeline_options is not installed" in sentence(capsys)


def test_a_package_with_a_missing_library_is_named() -> None:
    explanation = cli.explain_error(ImportError("libGL.so.1: cannot open shared object file", name="cv2"))
    assert explanation
    assert "cv2 is installed but cannot be imported (libGL.so.1" in explanation[1]


@pytest.mark.parametrize(
    "bug", [ModuleNotFoundError(name="preprocess.nothing"), ModuleNotFoundError(name="re"), ValueError("x")]
)
def test_a_bug_is_not_explained(bug: Exception) -> None:
    assert cli.explain_error(bug) is None
    with pytest.raises(type(bug)):
        cli.run_command(lambda: (_ for _ in ()).throw(bug))


# ----------------------------------------------------------------------------------- files and streams


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (OSError(errno.EACCES, "Permission denied", "/a/b"), ["/a/b", "Permission denied"]),
        (OSError(errno.ENOSPC, "No space left on device"), ["No space left on device", "standard output"]),
        (OSError("cannot list s3://b"), ["cannot list s3://b"]),
        (MemoryError("photos/x.jpg"), ["not enough memory", "photos/x.jpg"]),
    ],
)
def test_an_error_of_the_system_is_one_sentence_and_code_1(
    error: Exception, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert cli.run_command(work) == 1
    message = sentence(capsys)
    assert all(part in message for part in parts), message


def test_a_name_that_is_not_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The name of the input folder may contain any bytes, because it is not part of the keys."""
    folder = tmp_path / os.fsdecode(b"p\xff")
    helper_photos.make_image_folder(folder, 1)
    assert main(["--input", str(folder), "--output", str(tmp_path / "out"), "--val_fraction", "0"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["--input", f"{folder}x", "--output", str(tmp_path / "out")]) == 2
    assert "\\udcff" in sentence(capsys)


def test_a_working_directory_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["--input", "x", "--output", str(tmp_path / "out")]) == 1
    assert "working directory was removed" in sentence(capsys)


def test_no_folder_for_temporary_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from preprocess.runners import worker

    def refuse() -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    monkeypatch.setattr(worker.forkserver, "ensure_running", refuse)
    assert main(["--input", "x", "--output", "y"]) == 1
    message = sentence(capsys)
    assert "No usable temporary directory" in message
    assert "TMPDIR" in message


def test_a_full_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--help"]) == 1
        assert "No space left on device" in sentence(capsys)


def test_closed_streams_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["--help"]) == 0
    assert main(["--nonsense"]) == 2


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert cli.run_command(lambda: cli.print_text("done") or 0) == 0


# --------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_job_like_ctrl_c(
    number: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The finished shard is kept, temporary folders are removed, and a second run writes the same bytes."""
    from preprocess.runners import local
    from preprocess.shard_writer import write_shard

    helper_photos.make_image_folder(tmp_path / "images", 12)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    argv = ["--input", str(tmp_path / "images"), "--image_size", "32", "--num_shards", "2"]
    argv += ["--val_fraction", "0"]
    recipe = options.parse([*argv, "--output", "x"]).recipe

    def run_job(output: str, received: int | None):
        """Runs the command without Beam: writes all shards, or one and then sends the signal."""

        def build(launcher, shards, beam_options, runner, queue):
            return list(queue.take()) if received is None else shards[:1]

        def run(pipeline):
            for shard in pipeline:
                write_shard(shard, recipe, "none", output)
            if received is not None:
                os.kill(os.getpid(), received)
                os.kill(os.getpid(), signal.SIGTERM if received == signal.SIGHUP else received)
            metrics = SimpleNamespace(query=lambda _: {"distributions": []})
            return SimpleNamespace(metrics=lambda: metrics)

        monkeypatch.setattr(Launcher, "_build_pipeline", build)
        monkeypatch.setattr(local, "run", run)
        return main([*argv, "--output", output])

    assert run_job(str(tmp_path / "out"), number) == code
    assert "finished shards are kept" in sentence(capsys)
    assert list((tmp_path / "temporary").glob("linewash-*")) == []
    assert len(list(tmp_path.glob("out/train/*"))) == 1
    assert run_job(str(tmp_path / "out"), None) == 0
    assert run_job(str(tmp_path / "whole"), None) == 0
    assert file_contents(tmp_path / "out") == file_contents(tmp_path / "whole")


def test_signals_are_handled_during_the_command_and_ignored_ones_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # like nohup
    try:
        assert cli.run_command(lambda: os.kill(os.getpid(), signal.SIGHUP) or 0) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_second_signal_of_a_closed_terminal_does_not_interrupt_the_cleanup(tmp_path: Path) -> None:
    def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            (tmp_path / "cleaned").touch()
        return 0

    assert cli.run_command(work) == 129
    assert (tmp_path / "cleaned").exists()


def test_a_remote_job_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    class Running:
        cancelled = False

        def run(self) -> Running:
            return self

        def wait_until_finish(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def cancel(self) -> None:
            self.cancelled = True

    running = Running()
    monkeypatch.setattr(Launcher, "_build_pipeline", lambda *args: running)
    parsed = options.parse(["--input", "x", "--output", "y", "--runner", "DirectRunner"])
    assert cli.run_command(lambda: job._launcher(parsed).run_once([]) or 0) == 143
    assert running.cancelled


# ------------------------------------------------------------------------------------ output directory


def test_a_job_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    for output in ("new/deeper/ds", "ours"):
        result = preprocess("--input", tmp_path / "no*such", "--output", tmp_path / output)
        assert result.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_the_output_directory_is_locked(tmp_path: Path) -> None:
    argv = ["--input", tmp_path / "images", "--output", tmp_path / "out", "--val_fraction", 0]
    helper_photos.make_image_folder(tmp_path / "images", 2)
    with output_directory.output_directory(str(tmp_path / "out"), lambda output: None):
        result = preprocess(*argv)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert f"another job is writing to {tmp_path / 'out'}" in result.stderr
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]
    assert preprocess(*argv).returncode == 0


def test_the_lock_file_of_an_earlier_version_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "out/.work").mkdir(parents=True)
    (tmp_path / "out/.work/lock").touch()
    helper_photos.make_image_folder(tmp_path / "images", 2)
    argv = ["--input", tmp_path / "images", "--output", tmp_path / "out", "--val_fraction", 0]
    assert preprocess(*argv).returncode == 0
    assert not (tmp_path / "out/.work").exists()


def test_a_directory_that_was_removed_before_it_was_locked_is_refused(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert not output_directory.try_lock(descriptor, str(tmp_path / "removed"))
        assert output_directory.try_lock(descriptor, str(tmp_path))
    finally:
        os.close(descriptor)


def test_an_output_directory_without_write_access_is_refused_before_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(root: str, name: str, data: bytes) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", f"{root}/{name}")

    monkeypatch.setattr(files, "write", refuse)
    assert main(["--input", str(tmp_path / "no*such"), "--output", str(tmp_path / "out")]) == 2
    assert f"cannot write to --output {tmp_path / 'out'}: Permission denied" in sentence(capsys)
    assert not (tmp_path / "out").exists()
