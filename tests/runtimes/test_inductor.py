"""The inductor runtime: which packages are loaded and which are compiled anew, what it needs, and what it computes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from bench import cli, runtimes, seals
from bench.commands.doctor import findings, libraries
from bench.errors import UserError
from bench.provenance import file_digest
from bench.records import Built
from bench.runtimes import inductor, pytorch
from bench.runtimes.inductor import package, requirements
from bench.system.processor import Processor
from tests.conftest import Build
from tests.support.batches import frames
from tests.support.predictions import logits_and_cam

pytestmark = pytest.mark.slow

needs_compiler = pytest.mark.skipif(
    runtimes.unavailable_reason("inductor", "cpu") is not None,
    reason=str(runtimes.unavailable_reason("inductor", "cpu")),
)


@pytest.fixture
def compiled(common: Build, tmp_path: Path) -> Built:
    """A copy of the float32 artifact and of its package, which the contract test shares."""
    shared = common()
    inductor.load(shared, "cpu", 1)
    folder = shutil.copytree(shared.file.parent, tmp_path / "artifact")
    return replace(shared, file=folder / shared.file.name)


@pytest.fixture
def made(compiled: Built, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compiled from now on: it takes no time, since it is the package that there was."""
    good = compiled.file.parent.parent / "good.pt2"
    shutil.copy(sealed_package(compiled), good)
    digests: list[str] = []

    def compile_to(file: Path, *_: Any) -> None:
        assert not file.exists()
        shutil.copy(good, file)
        digests.append(file_digest(file))

    monkeypatch.setattr(package, "compile_to", compile_to)
    return digests


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str]]:
    """Every file that is loaded as code, with its content's digest."""
    files: list[tuple[Path, str]] = []
    real = package.opened

    def open_and_note(file: Path) -> Any:
        files.append((file, file_digest(file)))
        return real(file)

    monkeypatch.setattr(package, "opened", open_and_note)
    return files


def sealed_package(built: Built) -> Path:
    (file,) = built.file.parent.glob("model.inductor-*.pt2")
    return file


# ----------------------------------------------------------------------------------------- what it computes
@needs_compiler
def test_logits_and_maps_are_those_of_pytorch_for_any_number_of_frames(compiled: Built) -> None:
    session, reference = inductor.load(compiled, "cpu", 1), pytorch.load(compiled, "cpu", 1)
    for count in (1, 2, 7):
        logits, cam = logits_and_cam(session.predict(frames(count)))
        expected, expected_cam = logits_and_cam(reference.predict(frames(count)))
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        np.testing.assert_allclose(cam, expected_cam, atol=1e-4)
        margin = logits[:, 1] - logits[:, 0]
        np.testing.assert_allclose(cam.mean((1, 2)) + compiled.margin_bias, margin, atol=1e-4)
    assert (session.executed.mode, session.executed.computed) == ("compiled", "fp32")


@needs_compiler
def test_frames_that_do_not_fit_are_refused(compiled: Built) -> None:
    """Compiled code would read beyond their end."""
    session = inductor.load(compiled, "cpu", 1)
    wrong_frames: tuple[Any, ...] = (frames(2)[:, :, :16], frames(2)[:, :2], frames(2).astype(np.float32))
    for wrong in wrong_frames:
        with pytest.raises(ValueError, match=r"expected torch.uint8 \[n, 3, 32, 32\]"):
            session.predict(wrong)
    transposed = np.ascontiguousarray(frames(2).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(session.predict(transposed)[0], session.predict(frames(2))[0])


@needs_compiler
@pytest.mark.parametrize(
    ("message", "failed_allocations", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", 0, torch.OutOfMemoryError),
        ("API call failed at wrapper.cpp, line 3", 1, torch.OutOfMemoryError),
        ("API call failed at wrapper.cpp, line 3", 0, RuntimeError),
    ],
)
def test_exhausted_memory_is_told_from_other_errors(
    compiled: Built,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    failed_allocations: int,
    expected: type[Exception],
) -> None:
    network: Any = inductor.load(compiled, "cpu", 1)._network

    def fail(_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(network, "body", fail)
    monkeypatch.setattr(network, "device", "cuda")
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: {"num_ooms": failed_allocations})
    with pytest.raises(RuntimeError) as caught:
        network(torch.from_numpy(frames(1)))
    assert type(caught.value) is expected
    if expected is torch.OutOfMemoryError:
        assert "out of memory" in str(caught.value).lower(), "by this those who halve the batch know it"


@needs_compiler
def test_the_head_is_computed_without_tf32_and_the_switches_are_put_back(
    compiled: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: Any = inductor.load(compiled, "cpu", 1)._network
    switches: list[tuple[str, bool, bool]] = []

    def note(part: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def noting(argument: Any) -> Any:
            switches.append((part, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return function(argument)

        return noting

    monkeypatch.setattr(network, "body", note("body", network.body))
    preprocess = network.detector.preprocess
    monkeypatch.setattr(preprocess, "forward", note("preprocessing", preprocess.forward))
    monkeypatch.setattr(network.detector, "classify", note("head", network.detector.classify))
    monkeypatch.setattr(network, "device", "cuda")
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    for tf32 in (True, False):
        monkeypatch.setattr(network, "tf32", tf32)
        network(torch.from_numpy(frames(1)))
    assert switches == [
        ("preprocessing", False, False), ("body", True, True), ("head", False, False),
        ("preprocessing", False, False), ("body", False, False), ("head", False, False),
    ]  # fmt: skip
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


@needs_compiler
@pytest.mark.slow
def test_a_run_in_it_gives_the_scores_of_pytorch(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    file = workplace / "experiments.yaml"
    text = file.read_text()
    logits: list[Any] = []
    for name in ("inductor", "pytorch"):
        file.write_text(text.replace("    device: cpu\n", f"    device: cpu\n    runtime: {name}\n"))
        result = CliRunner().invoke(cli.app, ["run", "--only", "baseline,q16"])
        assert result.exit_code == 0, result.output
        scores = json.loads((workplace / "reports/first/scores.json").read_text())["variants"]
        assert {scores[variant]["runtime"] for variant in ("baseline", "q16")} == {name}
        logits += [pd.read_parquet(workplace / "results/first/q16/predictions.parquet")[["logit_real", "logit_fake"]]]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)
    assert len(list((workplace / "variants").glob("*/model.inductor-*.pt2"))) == 2


# ------------------------------------------------------------------------------------- what is loaded as code
@needs_compiler
def test_what_this_user_compiled_is_loaded_again(
    compiled: Built, made: list[str], opened: list[tuple[Path, str]]
) -> None:
    inductor.load(compiled, "cpu", 1)
    assert made == []
    ((file, content),) = opened
    assert content == file_digest(sealed_package(compiled))
    assert not file.is_relative_to(compiled.file.parent), "what is loaded nobody else can change meanwhile"
    assert not file.parent.exists(), "and nothing of it is left"


def append(file: Path) -> None:
    with file.open("ab") as target:
        target.write(b"!")


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def reseal(file: Path) -> None:
    """A stranger's code with a stranger's seal."""
    append(file)
    key = file.stem.rpartition("-")[2]
    file.with_suffix(".seal").write_text(seals.seal(file, b"a stranger's secret, 32 bytes...", key))


def seal_of_another_key(file: Path) -> None:
    file.with_suffix(".seal").write_text(seals.seal(file, seals.secret(), "another key"))


@needs_compiler
@pytest.mark.parametrize(
    "harm",
    [
        append,
        cut,
        reseal,
        seal_of_another_key,
        lambda file: file.with_suffix(".seal").unlink(),
        lambda file: file.with_suffix(".seal").write_bytes(b"\xff\xfe"),
        lambda file: file.with_suffix(".seal").write_text("0" * 64),
        lambda file: file.unlink(),
    ],
)
def test_what_is_foreign_forged_or_damaged_is_compiled_anew_and_never_loaded(
    harm: Callable[[Path], None], compiled: Built, made: list[str], opened: list[tuple[Path, str]]
) -> None:
    file = sealed_package(compiled)
    expected = inductor.load(compiled, "cpu", 1).predict(frames(2))[0]
    good = opened.pop()[1]
    harm(file)
    for _ in range(2):
        np.testing.assert_array_equal(inductor.load(compiled, "cpu", 1).predict(frames(2))[0], expected)
    assert made == [good], "once"
    assert [content for _, content in opened] == [good, good]
    assert file_digest(file) == good


@needs_compiler
def test_another_users_package_is_compiled_anew(
    compiled: Built, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals, "own_folder", lambda: tmp_path / "another user")
    inductor.load(compiled, "cpu", 1)
    assert len(made) == 1


@pytest.mark.parametrize("part", ["artifact", "torch", "triton", "processor", "threads", "version", "config", "tf32"])
def test_packages_hang_on_all_that_makes_them(
    part: str, common: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = common()
    before = inductor._key(built, "cpu", 1, False)
    assert before == inductor._key(built, "cpu", 1, False)
    threads = 2 if part == "threads" else 1
    if part == "artifact":
        changed = tmp_path / "model.safetensors"
        changed.write_bytes(built.file.read_bytes() + b"!")
        built = replace(built, file=changed)
    elif part == "processor":
        monkeypatch.setattr(inductor, "processor", lambda: Processor("x86_64", "another", frozenset({"avx2"})))
    elif part == "version":
        monkeypatch.setitem(inductor.VERSIONS, "inductor", 99)
    elif part == "config":
        monkeypatch.setitem(inductor.CONFIG, "max_autotune", True)
    elif part in ("torch", "triton"):
        changed_versions = {"torch": "2.0", "triton": "3.0"} | {part: "0"}
        monkeypatch.setattr(inductor, "versions", lambda names: changed_versions)
    assert before != inductor._key(built, "cpu", threads, part == "tf32")


def test_packages_hang_on_the_gpu(common: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    h100 = inductor._key(common(), "cuda", 1, True)
    assert h100 == inductor._key(common(), "cuda", 8, True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert h100 != inductor._key(common(), "cuda", 1, True)


# ------------------------------------------------------------------------------------------------ the secret
@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state" / "bench"
    monkeypatch.setattr(seals, "own_folder", lambda: folder)
    return folder


def test_the_secret_is_made_once_for_this_user_alone(state: Path) -> None:
    first = seals.secret()
    assert len(first) == 32
    assert first == seals.secret()
    (file,) = state.iterdir()
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="files have no mode there")
@pytest.mark.parametrize("fault", ["readable by others", "short"])
def test_a_secret_that_others_may_know_is_replaced(state: Path, fault: str) -> None:
    first, file = seals.secret(), state / "secret"
    if fault == "short":
        file.write_bytes(first[:16])
    else:
        file.chmod(0o644)
    second = seals.secret()
    assert len(second) == 32
    assert second != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_where_the_secret_cannot_be_kept_is_said_before_any_work(state: Path) -> None:
    state.parent.parent.mkdir(exist_ok=True)
    state.parent.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"must keep a secret in .*bench.*and cannot .*let this user write there"):
        seals.secret()
    assert "cannot" in str(runtimes.unavailable_reason("inductor", "cpu"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the custom of other systems")
def test_the_secret_lies_where_this_systems_programs_keep_their_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert seals.own_folder() == tmp_path / "elsewhere" / "bench"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert seals.own_folder() == tmp_path / ".local" / "state" / "bench"


# -------------------------------------------------------------------------------------------- what it needs
def test_without_a_compiler_it_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    reason = str(runtimes.unavailable_reason("inductor", "cpu"))
    assert "runtime 'inductor' needs a C++ compiler, and there is no g++: install it" in reason
    assert reason.endswith("or choose another `runtime:`")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/clang++" if name == "clang++" else None)
    assert "set CXX=/usr/bin/clang++" in str(inductor.unavailable_reason("cpu"))
    monkeypatch.setenv("CXX", "clang++ -fuse-ld=lld")
    assert requirements.compiler() == "/usr/bin/clang++"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "CXX=no-such-compiler is not there" in str(inductor.unavailable_reason("cpu"))


def test_an_older_pytorch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "version", lambda name: "2.9.1+cpu")
    assert "needs PyTorch 2.11 or later, this is 2.9.1+cpu" in str(requirements.missing("cpu"))


def test_on_cuda_it_needs_the_toolkits_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "compiler", lambda: "g++")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(requirements, "_toolkits", lambda: iter([tmp_path / "none", tmp_path]))
    assert "needs the headers of the CUDA toolkit" in str(requirements.missing("cuda"))
    (tmp_path / "include").mkdir()
    for name in requirements._HEADERS:
        (tmp_path / "include" / name).touch()
    assert requirements.toolkit() == tmp_path
    assert requirements.missing("cuda") is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs the package triton" in str(requirements.missing("cuda"))


def test_the_linker_is_given_the_driver_that_is_loaded(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    line = "7f00-7f01 r--p 00000000 08:01 42                         "
    maps.write_text(f"{line}/usr/lib/libcudart.so.13\n{line}\n{line}/usr/lib64/libcuda.so.580.95\n")
    assert requirements.driver_library(maps) == Path("/usr/lib64/libcuda.so.580.95")
    maps.write_text(f"{line}/usr/lib/libcudart.so.13\n")
    assert requirements.driver_library(maps) is None
    assert requirements.driver_library(tmp_path / "not Linux") is None


def test_auto_never_takes_it() -> None:
    devices: tuple[runtimes.Device, ...] = ("cpu", "cuda")
    assert "inductor" not in {runtimes.choose("auto", kind, device) for kind in ("torch", "onnx") for device in devices}
    assert runtimes.choose("inductor", "torch", "cpu") == "inductor"


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_doctor_compiles_something_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "PATIENCE_SECONDS", 3000.0)  # a compiler beside other work takes minutes
    (finding,) = libraries.inductor(tmp_path)
    assert finding.level == "ok", finding
    assert "compiled a small network for cpu" in finding.observed or "for cuda" in finding.observed


def test_doctor_notes_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "cuda_devices", lambda: ())
    monkeypatch.setattr(runtimes, "unavailable_reason", lambda name, device: "there is no g++")
    (finding,) = libraries.inductor(tmp_path)
    assert (finding.level, finding.observed) == ("note", "there is no g++")
    monkeypatch.setattr(runtimes, "unavailable_reason", lambda name, device: None)
    answer = {"compiler": "g++", "seconds": 9.0, "right": False}
    monkeypatch.setattr(libraries, "ask", lambda question, device: answer)
    (finding,) = libraries.inductor(tmp_path)
    assert (finding.level, finding.observed.endswith("it computes wrongly")) == ("note", True)
