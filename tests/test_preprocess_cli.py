"""How `python -m preprocess` ends: every failure is one sentence and an exit code, every signal is heard."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import helper_photos
import pytest
from helper_commands import ROOT
from helper_jobs import file_contents, preprocess

from preprocess import cli, job
from preprocess.__main__ import main


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("preprocess: ")
    return lines[0]


# ----------------------------------------------------------------------------------------- packages


def test_without_any_package_the_answer_is_what_to_install() -> None:
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
def test_a_missing_package_is_named_with_the_extra_that_brings_it(module: str, extras: str) -> None:
    told = cli.explain(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert told
    code, text = told
    assert code == 2
    assert f"{module} is not installed" in text
    assert f"{sys.executable} -m pip install" in text
    assert f"[{extras}]'" in text


def test_beam_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    assert main(["--input", "x", "--output", "y", "--runner", "DirectRunner"]) == 2
    assert "apache_beam.options.pipeline_options is not installed" in sentence(capsys)


def test_a_package_whose_library_is_missing_is_named() -> None:
    told = cli.explain(ImportError("libGL.so.1: cannot open shared object file", name="cv2"))
    assert told
    assert "cv2 is installed but cannot be imported (libGL.so.1" in told[1]


@pytest.mark.parametrize(
    "bug", [ModuleNotFoundError(name="preprocess.nothing"), ModuleNotFoundError(name="re"), ValueError("x")]
)
def test_a_bug_is_not_taken_for_a_users_mistake(bug: Exception) -> None:
    assert cli.explain(bug) is None
    with pytest.raises(type(bug)):
        cli.exit_code(lambda: (_ for _ in ()).throw(bug))


# ----------------------------------------------------------------------------------- files and streams


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "Permission denied", "/a/b"), ["/a/b", "Permission denied"]),
        (OSError(errno.ENOSPC, "No space left on device"), ["No space left on device", "standard output"]),
        (OSError("cannot list s3://b"), ["cannot list s3://b"]),
        (MemoryError("photos/x.jpg"), ["not enough memory", "photos/x.jpg"]),
    ],
)
def test_what_the_system_refuses_is_a_sentence_and_code_1(
    error: Exception, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert cli.exit_code(work) == 1
    said = sentence(capsys)
    assert all(word in said for word in words), said


def test_a_name_that_is_not_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bytes of a folder's name do not matter, for it is not part of what is written."""
    folder = tmp_path / os.fsdecode(b"p\xff")
    helper_photos.folder(folder, 1)
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
    said = sentence(capsys)
    assert "No usable temporary directory" in said
    assert "TMPDIR" in said


def test_a_full_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--help"]) == 1
        assert "No space left on device" in sentence(capsys)


def test_closed_streams_are_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["--help"]) == 0
    assert main(["--nonsense"]) == 2


def test_a_reader_that_left_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert cli.exit_code(lambda: cli.say("done") or 0) == 0


# --------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_job_as_ctrl_c_does(
    number: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The finished shard stays, temporary folders go, and the same command ends with the same bytes."""
    from preprocess.runners import local
    from preprocess.shard_writer import write_shard

    helper_photos.folder(tmp_path / "images", 12)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    argv = ["--input", str(tmp_path / "images"), "--image_size", "32", "--num_shards", "2"]
    argv += ["--val_fraction", "0"]

    def work(output: str, then: int | None):
        """Takes the place of Beam: one shard, then the signal; or all of them."""

        def build(options, todo, flags, runner, queue):
            return [(shard, options) for shard in queue.take()] if then is None else (todo[0], options)

        def run(graph):
            for shard, options in graph if then is None else [graph]:
                write_shard(shard, options.recipe, "none", output)
            if then is not None:
                os.kill(os.getpid(), then)
                os.kill(os.getpid(), signal.SIGTERM if then == signal.SIGHUP else then)

        monkeypatch.setattr(job, "_graph", build)
        monkeypatch.setattr(local, "run", run)
        return main([*argv, "--output", output])

    assert work(str(tmp_path / "out"), number) == code
    assert "finished shards stay" in sentence(capsys)
    assert list((tmp_path / "temporary").glob("linewash-*")) == []
    assert len(list(tmp_path.glob("out/train/*"))) == 1
    assert work(str(tmp_path / "out"), None) == 0
    assert work(str(tmp_path / "whole"), None) == 0
    assert file_contents(tmp_path / "out") == file_contents(tmp_path / "whole")


def test_signals_are_heard_only_meanwhile_and_ignored_ones_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert cli.exit_code(lambda: os.kill(os.getpid(), signal.SIGHUP) or 0) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_closed_terminal_sends_two_signals_and_the_second_harms_nothing(tmp_path: Path) -> None:
    def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            (tmp_path / "tidied").touch()
        return 0

    assert cli.exit_code(work) == 129
    assert (tmp_path / "tidied").exists()


def test_a_remote_job_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    from preprocess import options

    class Running:
        cancelled = False

        def run(self) -> Running:
            return self

        def wait_until_finish(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def cancel(self) -> None:
            self.cancelled = True

    running = Running()
    monkeypatch.setattr(job, "_graph", lambda *args: running)
    chosen = options.parse(["--input", "x", "--output", "y", "--runner", "DirectRunner"])
    assert cli.exit_code(lambda: job._run_pipeline(chosen, []) or 0) == 143
    assert running.cancelled


def test_a_job_that_is_refused_leaves_no_folder(tmp_path):
    (tmp_path / "ours").mkdir()
    for output in ("new/deeper/ds", "ours"):
        result = preprocess("--input", tmp_path / "no*such", "--output", tmp_path / output)
        assert result.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
