"""What the processor says of itself, and which of its cores this process may use. Free of heavy imports.

x86 processors are asked by their instruction CPUID: `/proc/cpuinfo` shows those of the host under an emulator
and in some containers, and no library known to the project tells of AVX-VNNI and AMX without loading PyTorch.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Instructions that add up products of unsigned and signed bytes in 32 bits, any of which onnxruntime takes."""

# As Linux spells them, on x86-64 and on ARM, and as people write them.
_SPELLED = {
    "avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI", "amx_bf16": "AMX BF16", "amx_int8": "AMX int8",
    "asimd": "NEON", "asimddp": "NEON dot product", "i8mm": "int8 matrix products", "bf16": "BF16", "sve": "SVE",
}  # fmt: skip

# Machine code for the calling convention of Linux and macOS on x86-64, by Intel's manual, volume 2.
_CPUID = bytes.fromhex(
    "53"  # push rbx
    "89f0"  # mov eax, esi: the leaf
    "89d1"  # mov ecx, edx: the subleaf
    "0fa2"  # cpuid
    "8907895f04894f0889570c"  # mov eax, ebx, ecx, edx to [rdi]
    "5bc3"  # pop rbx; ret
)
_XGETBV = bytes.fromhex("31c90f01d0890789570489570889570cc3")  # the registers that the system saves, to [rdi]

# Name: leaf, subleaf, register (0 to 3 for eax to edx), bit, and bits of XCR0 that the system must have set.
_AVX, _AVX512, _AMX = 0b110, 0b11100110, 0b11 << 17
_FEATURES = {
    "avx2": (7, 0, 1, 5, _AVX),
    "avx512f": (7, 0, 1, 16, _AVX512),
    "avx512_vnni": (7, 0, 2, 11, _AVX512),
    "avx512_bf16": (7, 1, 0, 5, _AVX512),
    "avx_vnni": (7, 1, 0, 4, _AVX),
    "amx_bf16": (7, 0, 3, 22, _AMX),
    "amx_int8": (7, 0, 3, 25, _AMX),
}


@dataclass(frozen=True)
class Processor:
    """A processor's architecture ("x86_64", "arm64"), model and instruction sets; an empty model is an unknown one."""

    architecture: str
    model: str
    features: frozenset[str]

    @property
    def exact_with_signed_bytes(self) -> bool:
        """Whether products of unsigned and signed bytes are added up in 32 bits.

        x86 processors without VNNI add two of them in 16 bits and cut off what does not fit (`vpmaddubsw`). ARM
        has no such instruction.
        """
        return self.architecture != "x86_64" or bool(self.features & VNNI)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from others whose kernels or speeds may differ; names such as "AMD EPYC" are many."""
        return {"architecture": self.architecture, "model": self.model, "features": sorted(self.features)}


@cache
def processor() -> Processor:
    """The one that this process runs on, emulated ones included."""
    architecture = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    if architecture != "x86_64":
        return _from_cpuinfo(architecture, cpuinfo())
    try:
        return _x86(_Instructions())
    except OSError:
        # Memory that can be written and executed is refused; NumPy asked when it was compiled to do so.
        return Processor(architecture, platform.processor(), _numpy_features())


class _Instructions:
    """CPUID and XGETBV as functions; `OSError` where the system lets no process make code."""

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise OSError("the machine code here is for other systems")
        self._memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(_CPUID.ljust(64, b"\xcc") + _XGETBV)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
        self._cpuid, self._xgetbv = signature(address), signature(address + 64)

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """eax, ebx, ecx and edx."""
        return self._call(self._cpuid, leaf, subleaf)

    def saved_registers(self) -> int:
        """XCR0: which registers the system keeps for each process."""
        low, high, *_ = self._call(self._xgetbv, 0, 0)
        return low | high << 32

    def _call(self, function: Any, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        registers = (ctypes.c_uint32 * 4)()
        function(ctypes.addressof(registers), leaf, subleaf)
        return registers[0], registers[1], registers[2], registers[3]


def _x86(instructions: _Instructions) -> Processor:
    """An x86 processor by its CPUID: vendor, family, model, and the features whose registers the system saves."""
    highest, *vendor = instructions.cpuid(0)
    vendor_name = b"".join(vendor[index].to_bytes(4, "little") for index in (0, 2, 1)).decode("ascii", "replace")
    version, _, ecx, _ = instructions.cpuid(1)
    has_xgetbv = bool(ecx >> 27 & 1)
    saved = instructions.saved_registers() if has_xgetbv else 0
    features = set()
    for name, (leaf, subleaf, register, bit, registers) in _FEATURES.items():
        is_known = highest >= leaf and instructions.cpuid(leaf)[0] >= subleaf
        if is_known and instructions.cpuid(leaf, subleaf)[register] >> bit & 1 and saved & registers == registers:
            features.add(name)
    family, model = version >> 8 & 15, version >> 4 & 15
    if family in (6, 15):
        model += (version >> 16 & 15) << 4
    if family == 15:
        family += version >> 20 & 255
    return Processor("x86_64", f"{vendor_name} family {family} model {model}", frozenset(features))


def cpuinfo(file: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What Linux tells of the first processor, by name; empty on other systems. An emulator shows its host's."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    return facts


def _from_cpuinfo(architecture: str, facts: Mapping[str, str]) -> Processor:
    """As Linux tells it of ARM: who made it, which part it is, its features; elsewhere the platform's name for it."""
    parts = [f"{name} {facts[f'CPU {name}']}" for name in ("implementer", "part", "variant") if f"CPU {name}" in facts]
    features = frozenset(facts.get("Features", "").split())
    return Processor(architecture, ", ".join(parts) or platform.processor(), features)


def _numpy_features() -> frozenset[str]:
    import importlib

    # What `numpy.show_runtime()` prints.
    features: dict[str, bool] = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    spelled = {"AVX2": "avx2", "AVX512F": "avx512f", "AVX512VNNI": "avx512_vnni"}
    return frozenset(name for numpy_name, name in spelled.items() if features.get(numpy_name))


def allowed_cores() -> list[int]:
    """The numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def flags(names: Collection[str]) -> str:
    """Instruction sets as people write them, such as "AVX2, AVX-512 VNNI"."""
    return ", ".join(text for name, text in _SPELLED.items() if name in names)
