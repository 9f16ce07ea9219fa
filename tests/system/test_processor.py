"""What the processor says of itself, the quota of a container, and int8 on a processor that is only emulated."""

from __future__ import annotations

import importlib
import mmap
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from bench import provenance
from bench.artifacts.onnx_session import session_options
from bench.records import Preprocessing
from bench.runtimes.onnxruntime import lowering
from bench.system import control_groups, processor
from bench.system.processor import Processor
from bench.variants.steps import quantize
from tests.support import ROOT, b0, tiny
from tests.support.group_files import group_files
from tests.support.quantised import calibration

on_x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="instructions of x86 CPUs")


@pytest.mark.parametrize(
    ("architecture", "features", "exact"),
    [
        ("x86_64", "", False), ("x86_64", "avx2", False), ("x86_64", "avx2 avx512f", False),
        ("x86_64", "avx2 avx_vnni", True), ("x86_64", "avx2 avx512f avx512_vnni", True),
        ("x86_64", "avx2 avx512f avx512_vnni amx_int8", True), ("arm64", "", True),
    ],
)  # fmt: skip
def test_signed_weights_are_exact_with_vnni_and_off_x86(architecture: str, features: str, exact: bool) -> None:
    assert Processor(architecture, "one", frozenset(features.split())).exact_with_signed_bytes == exact


@on_x86
def test_the_processor_says_what_numpy_was_told() -> None:
    """NumPy asks by itself; it knows fewer instruction sets."""
    numpy_features = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    asked = processor.processor()
    for name, numpy_name in (("avx2", "AVX2"), ("avx512f", "AVX512F"), ("avx512_vnni", "AVX512VNNI")):
        assert (name in asked.features) == numpy_features[numpy_name], name
    assert asked.architecture == "x86_64"
    assert asked.model.split()[0] in ("GenuineIntel", "AuthenticAMD", "HygonGenuine", "CentaurHauls")


class _Answers:
    """CPUID and XGETBV as a processor would answer them."""

    def __init__(self, leaves: dict[tuple[int, int], tuple[int, int, int, int]], saved: int) -> None:
        self.leaves, self.saved = leaves, saved

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        return self.leaves.get((leaf, subleaf), (0, 0, 0, 0))

    def saved_registers(self) -> int:
        return self.saved


VENDOR = (7, 0x756E6547, 0x6C65746E, 0x49656E69)  # "GenuineIntel", in ebx, edx, ecx


@pytest.mark.parametrize(
    ("saved", "features"),
    [
        (0b111 | 0b111 << 5 | 0b11 << 17, "avx2 avx512f avx512_vnni avx_vnni amx_int8"),
        (0b111, "avx2 avx_vnni"),  # the system keeps neither the registers of AVX-512 nor those of AMX
        (0b11, ""),
    ],
)
def test_instructions_whose_registers_the_system_does_not_keep_are_not_there(saved: int, features: str) -> None:
    answers: Any = _Answers(
        {
            (0, 0): VENDOR,
            (1, 0): (0x806F8, 0, 1 << 27, 0),
            (7, 0): (1, 1 << 5 | 1 << 16, 1 << 11, 1 << 25),
            (7, 1): (1 << 4, 0, 0, 0),
        },
        saved,
    )
    assert processor._x86(answers) == Processor(
        "x86_64", "GenuineIntel family 6 model 143", frozenset(features.split())
    )


def test_what_has_no_second_subleaf_is_not_asked_for_it() -> None:
    """Processors answer for subleaves that they do not have with those that they have."""
    leaf = (0, 1 << 5, 0, 0)
    answers: Any = _Answers(
        {(0, 0): VENDOR, (1, 0): (0x306C3, 0, 1 << 27, 0), (7, 0): leaf, (7, 1): (1 << 4, 0, 0, 0)}, 7
    )
    assert processor._x86(answers).features == {"avx2"}


@on_x86
def test_where_no_code_may_be_made_numpy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise PermissionError("no memory that can be written and executed")

    asked = processor.processor.__wrapped__()
    monkeypatch.setattr(mmap, "mmap", refuse)
    refused = processor.processor.__wrapped__()
    assert refused.features == asked.features & {"avx2", "avx512f", "avx512_vnni"}


def test_processors_of_arm_are_told_apart(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nFeatures\t: asimd asimddp i8mm\nCPU implementer\t: 0x41\nCPU variant\t: 0x1\n"
        "CPU part\t: 0xd40\n\nprocessor\t: 1\nFeatures\t: asimd\nCPU part\t: 0xd0c\n"
    )
    expected = Processor("arm64", "implementer 0x41, part 0xd40, variant 0x1", frozenset({"asimd", "asimddp", "i8mm"}))
    assert processor._from_cpuinfo("arm64", processor.cpuinfo(info)) == expected
    assert processor._from_cpuinfo("arm64", processor.cpuinfo(tmp_path / "absent")).features == frozenset()


# ----------------------------------------------------------------------------------------- the quota


@pytest.mark.parametrize(
    ("files", "lines", "quota"),
    [
        ({"cpu.max": "30000 100000\n"}, "0::/\n", 0.3),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 2.0),
        ({"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "150000 100000\n"}, "0::/a/b\n", 1.5),
        ({"unified/cpu.max": "150000 100000\n"}, "1:name=systemd:/\n0::/\n", 1.5),
        # In a container the group's path may be that of the host, which is not to be seen.
        ({"cpu.max": "50000 100000\n"}, "0::/kubepods/pod1/box\n", 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", None),
        ({"cpu/x/cpu.cfs_quota_us": "250000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, "3:cpu:/x\n", 2.5),
        (
            {"cpu,cpuacct/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            "4:memory:/\n3:cpu,cpuacct:/docker/1\n", 1.0,
        ),
        ({"cpu.max": "nonsense\n"}, "0::/\n", None),
        ({}, "0::/\n", None),
    ],
)  # fmt: skip
def test_the_quota_is_the_least_of_a_group_and_those_above_it(
    files: dict[str, str], lines: str, quota: float | None, tmp_path: Path
) -> None:
    assert control_groups.cpu_quota(*group_files(tmp_path, files, lines)) == quota


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert control_groups.cpu_quota(tmp_path, tmp_path / "groups") is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (0.3, 1), (1.9, 1), (2.5, 2), (64.0, 4)])
def test_threads_fit_into_affinity_and_quota(quota: float | None, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5, 7}, raising=False)
    monkeypatch.setattr(provenance, "cpu_quota", lambda: quota)
    assert provenance.cpu_cores() == cores


# ------------------------------------------------------------------------- what the kernels really do
def product(signed: bool) -> tuple[onnx.ModelProto, Any]:
    """Matrix products whose pairs do not fit into 16 bits, and the right answer for inputs of 255."""
    weight = np.full((64, 32), 127, np.int8)
    stored = weight if signed else (weight.astype(np.int16) + 128).astype(np.uint8)
    constants = {"w": stored, "one": np.float32(1), "ones": np.ones(32, np.float32), "zero": np.uint8(0)}
    constants |= {} if signed else {"mid": np.uint8(128)}
    node = helper.make_node(
        "MatMulIntegerToFloat",
        ["x", "w", "one", "ones", "zero", "" if signed else "mid"],
        ["y"],
        domain="com.microsoft",
    )
    graph = helper.make_graph(
        [node], "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [4, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 32])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), 64 * 255 * 127


@pytest.mark.parametrize("signed", [False, True])
def test_products_are_exact_where_the_processor_says_so(signed: bool) -> None:
    model, expected = product(signed)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    (answer,) = session.run(None, {"x": np.full((4, 64), 255, np.uint8)})
    if signed and not processor.processor().exact_with_signed_bytes:
        pytest.skip("the processor promises nothing of signed weights")
    np.testing.assert_array_equal(answer, expected)


EMULATED = """
import sys
sys.path[:0] = [{site!r}, {root!r}]
import numpy as np
from bench.system.processor import processor
assert processor().features == {{"avx2"}}, processor()
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 4
options.add_session_config_entry("session.disable_quant_qdq", "1")
def run(name, options=options, **feed):
    return onnxruntime.InferenceSession(name, options, providers=["CPUExecutionProvider"]).run(None, feed)[0]
numbers = np.full((4, 64), 255, np.uint8)
np.savez("answers.npz", unsigned=run("unsigned.onnx", x=numbers), signed=run("signed.onnx", x=numbers),
         logits=run("lowered.onnx", frames=np.load("frames.npy")),
         without_options=run("lowered.onnx", None, frames=np.load("frames.npy")))
"""


@on_x86
@pytest.mark.emulated
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64 (Debian's package qemu-user)")
@pytest.mark.timeout(900)
def test_int8_is_exact_on_an_emulated_processor_without_vnni(tmp_path: Path) -> None:
    """A Haswell has AVX2 and no VNNI, whatever runs the emulator: onnxruntime takes the kernels that may saturate."""
    torch.manual_seed(0)
    detector = tiny.lively(tiny.build("tiny", "tiny", Preprocessing(size=32)))
    graph = quantize.apply(detector, quantize.Settings(), calibration(32))
    frames = b0.frames(8, seed=7, size=32)
    np.save(tmp_path / "frames.npy", frames)
    (tmp_path / "lowered.onnx").write_bytes(lowering.lower(graph).SerializeToString())
    for signed in (False, True):
        (tmp_path / f"{'signed' if signed else 'unsigned'}.onnx").write_bytes(product(signed)[0].SerializeToString())
    site = str(Path(onnxruntime.__file__).parents[1])
    program = EMULATED.format(site=site, root=str(ROOT))
    python = str(Path(sys.executable).resolve())
    command = ["qemu-x86_64", "-cpu", "Haswell", python, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "answers.npz")
    expected = product(False)[1]
    assert (answers["unsigned"] == expected).all()
    assert (answers["signed"] != expected).any(), "the emulated processor is to be one that saturates"
    exact = b0.margin(b0.run(graph, frames)[0])
    for name in ("logits", "without_options"):
        assert np.abs(b0.margin(answers[name]) - exact).max() < 0.02 * exact.std(), name


@pytest.mark.parametrize("program", ["bench", "__main__.py"])
def test_the_command_is_bench_however_it_was_started(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [f"/usr/lib/{program}", "run", "my first"])
    assert provenance.command() == "bench run 'my first'"
