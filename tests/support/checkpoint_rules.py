"""Checkpoints by rule: dtype, layout, claimed size, name, container, format and damage, drawn by a seed.

Files are written without torch's own checks, so that they may claim what no tensor could be.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

DTYPES = sorted(
    {value for value in vars(torch).values() if isinstance(value, torch.dtype)}, key=str
)  # every one that there is: complex, quantised, float8, float4, bits, int1, ...
LAYOUTS = (
    "dense", "dense", "dense", "transposed", "view", "tied", "expanded", "zero-size", "0-d", "parameter", "typed",
    "sparse", "meta", "nested", "quantized", "wrapped", "negated", "no shape", "negative stride", "many dimensions",
)  # fmt: skip
CLAIMS = (1, 1, 1, 1, 2, 2**20, 2**31, 2**40, 2**62, 2**70, -1, 0, 1e9, None, True)
NAMES = (
    "weight", "a\nb", "\r::error::x", "::error::oops", "\x1b[2J\x1b]0;x\x07", "\u202etxt", "a\u2028b",
    "\ud800", "", "x" * 100_000, "net." * 3000, "module.model.net.", "blocks." * 50, "_blocks.99999999999999999.x",
    "_blocks." + "9" * 5000 + ".x", "_fc.weight", "classifier.weight", "num_batches_tracked", "backbone.0.1.weight",
    "💥", "'\"`<b>|", 3, None, 1.5, True, b"weight", (1, 2), 10**30,
)  # fmt: skip
CONTAINERS = (
    "bare", "bare", "wrapped", "wrapped twice", "within itself", "deep", "deep raw", "huge", "list", "tensor", "empty",
    "list within itself", "beside code", "many", "number", "many lists",
)  # fmt: skip
FORMATS = ("zip", "zip", "zip without sums", "deflated", "legacy", "protocol 4", "big", "safetensors", "safetensors")
DAMAGES = ("none", "none", "none", "truncated", "flipped", "flipped", "trailing", "empty", "doubled", "zeros")
CODE = ("builtins.eval", "os.system", "posix.system", "builtins.exec", "nt\n::error::x.system", "torch.load")


class Storage:
    """Numbers beside the pickle, and how many the pickle says there are."""

    def __init__(self, kind: str, key: Any, count: Any, data: bytes) -> None:
        self.kind, self.key, self.count, self.data = kind, key, count, data


class Made:
    """What unpickling would make by calling `callee`."""

    def __init__(self, callee: Any, *arguments: Any) -> None:
        self.callee, self.arguments = callee, arguments


class Global:
    """A class or function of any name, also one that is not there."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        """Never: `pickle` wants that what is called can be."""


class Raw:
    """Bytes of a pickle as they are: what no pickler writes."""

    def __init__(self, data: bytes) -> None:
        self.data = data


_InPython: Any = pickle._Pickler  # of which a part can be replaced


class Pickler(_InPython):  # type: ignore[misc]
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            return ("storage", Global("torch", f"{obj.kind}Storage"), obj.key, "cpu", obj.count)
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            if self.proto >= 4:
                super().save(obj.module)
                super().save(obj.name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Raw):
            self.write(obj.data)
        elif isinstance(obj, Made):
            self.save_reduce(obj.callee, obj.arguments)
        else:
            super().save(obj, save_persistent_id)


def pickled(tree: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol).dump(tree)
    return file.getvalue()


def rebuilt(name: str, *arguments: Any) -> Made:
    return Made(Global("torch._utils", f"_rebuild_{name}"), *arguments)


class Rules:
    """One checkpoint; `file` writes it, and `text` says what it is."""

    def __init__(self, seed: int, state: dict[str, torch.Tensor]) -> None:
        self.random = random.Random(seed)
        draw = self.random.choice
        self.dtype, self.layout, self.claim, self.name = draw(DTYPES), draw(LAYOUTS), draw(CLAIMS), draw(NAMES)
        self.container, self.format, self.damage = draw(CONTAINERS), draw(FORMATS), draw(DAMAGES)
        # Each rule alone among whole parts, or all of them at once.
        if self.random.random() < 0.5:
            active_rule = self.random.randrange(5)
            self.dtype = self.dtype if active_rule == 0 else torch.float32
            self.layout = self.layout if active_rule == 1 else "dense"
            self.claim = self.claim if active_rule == 2 else 1
            self.container = self.container if active_rule == 3 else "wrapped"
            self.damage = self.damage if active_rule == 4 else "none"
        self.whole = self.layout == "dense" and self.random.random() < 0.3
        self.state = state
        self.storages: list[Storage] = []
        name = "none" if self.whole else repr(self.name)[:20]
        parts = (self.dtype, self.layout, self.claim, name, self.container, self.format, self.damage)
        self.text = f"{seed}: " + ", ".join(map(str, parts))

    def file(self, folder: Path) -> Path:
        safe = self.format == "safetensors"
        data = self.safetensors() if safe else self.saved()
        path = folder / ("weights.safetensors" if safe and self.random.random() < 0.7 else "weights.pth")
        path.write_bytes(self.damaged(data))
        return path

    @property
    def expected(self) -> dict[str, torch.Tensor] | None:
        """What must be read, if anything is: a flipped bit is noticed where there are sums."""
        summed = self.format in ("zip", "deflated", "protocol 4") or self.damage in ("none", "trailing", "doubled")
        return self.state if self.whole and summed and self.format != "big" else None

    # ------------------------------------------------------------------------------- tensors
    def storage(self, kind: str, numbers: bytes, itemsize: int, claim: Any = 1) -> Storage:
        count = len(numbers) // itemsize
        count = count * claim if isinstance(claim, int) and not isinstance(claim, bool) else claim
        self.storages.append(Storage(kind, str(len(self.storages)), count, numbers))
        return self.storages[-1]

    def plain(self, tensor: torch.Tensor) -> Made:
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        kind = {torch.float32: "Float", torch.int64: "Long"}[tensor.dtype]
        storage = self.storage(kind, data, tensor.element_size())
        return rebuilt("tensor_v2", storage, 0, tuple(tensor.shape), tensor.contiguous().stride(), False, Made(ORDERED))

    def odd(self) -> Any:
        """The tensor that the rules are about: 4 x 6 numbers, or what is said of them."""
        itemsize = self.dtype.itemsize
        storage = self.storage("torch", self.random.randbytes(24 * itemsize), 1, self.claim)
        storage.kind = "Untyped"
        scale = self.claim if isinstance(self.claim, int) and self.claim > 0 and self.random.random() < 0.7 else 1
        shape, stride, offset = SHAPES.get(self.layout, SHAPES["dense"])(scale)
        dtype = Global("torch", str(self.dtype).removeprefix("torch."))
        end = ({"neg": True},) if self.layout == "negated" else ()
        tensor = rebuilt("tensor_v3", storage, offset, shape, stride, False, Made(ORDERED), dtype, *end)
        return ODD.get(self.layout, lambda tensor, dtype, storage: tensor)(tensor, dtype, storage)

    # ------------------------------------------------------------------------------ containers
    def tree(self) -> Any:
        state: Any = {name: self.plain(tensor) for name, tensor in self.state.items()}
        name = self.random.choice([*self.state]) if self.random.random() < 0.3 else self.name
        if not self.whole:
            state[name] = self.odd()
        if self.layout == "tied" and not self.whole:
            state.update({f"{name!r}{i}": state[name] for i in range(50)})
        return TREES[self.container](state, self)

    # --------------------------------------------------------------------------------- formats
    def saved(self) -> bytes:
        tree = self.tree()
        protocol = 4 if self.format == "protocol 4" else 2
        if self.format == "legacy":
            first = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
            keys = pickle.dumps([storage.key for storage in self.storages], 2)
            counts = [len(s.data) // {"Long": 8, "Float": 4}.get(s.kind, 1) for s in self.storages]
            numbers = [struct.pack("<q", n) + s.data for n, s in zip(counts, self.storages, strict=True)]
            return b"".join([*first, pickled(tree), keys, *numbers])
        file = io.BytesIO()
        kind = zipfile.ZIP_DEFLATED if self.format == "deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(file, "w", kind) as archive:
            archive.writestr("weights/data.pkl", pickled(tree, protocol))
            archive.writestr("weights/version", "3\n")  # without which torch.load would refuse it
            archive.writestr("weights/byteorder", "big" if self.format == "big" else "little")
            for storage in self.storages:
                archive.writestr(f"weights/data/{storage.key}", storage.data)
            if self.format == "zip without sums":
                for member in archive.infolist():
                    member.CRC = 0
        return file.getvalue()

    def safetensors(self) -> bytes:
        """A header that may claim anything, with plain numbers behind."""
        data, header = bytearray(), dict[str, Any]()
        for name, tensor in self.state.items():
            numbers = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            kind = "F32" if tensor.is_floating_point() else "I64"
            offsets = [len(data), len(data) + len(numbers)]
            header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": offsets}
            data += numbers
        name = self.name if isinstance(self.name, str) and "\ud800" not in self.name else "odd"
        claimed = self.claim if self.claim != 1 else 24
        begin = {"view": -1, "tied": 0, "nested": [1], "meta": None}.get(self.layout, len(data))
        shape: Any = {"0-d": [], "zero-size": [0, 4], "no shape": 3, "expanded": [2**40, 2**40, 0]}.get(
            self.layout, [claimed]
        )
        length = 24 * 4 if self.random.random() < 0.5 else 24 * self.dtype.itemsize
        kinds = ["F32", "F16", "BF16", "F64", "I8", "U8", "BOOL", "F8_E4M3", "F4", "U16", "C64", "X", 3]
        if self.whole and self.damage == "none":
            length = 0
        else:
            header[name] = {
                "dtype": self.random.choice(kinds),
                "shape": shape,
                "data_offsets": [begin, len(data) + length],
            }
        text = json.dumps(header)
        for replacement in ("Infinity", "1e999", "NaN", "-1", "9" * 5000, "[" * 100_000, "{" * 5000):
            if self.random.random() < 0.05:
                text = text.replace(str(len(data)), replacement, 1)
        return struct.pack("<Q", len(text)) + text.encode() + data + bytes(length)

    def damaged(self, data: bytes) -> bytes:
        position = self.random.randrange(len(data))
        if self.damage == "flipped":
            return data[:position] + bytes([data[position] ^ 1 << self.random.randrange(8)]) + data[position + 1 :]
        if self.damage == "zeros":
            return data[:position] + bytes(len(data[position : position + 100])) + data[position + 100 :]
        changes: dict[str, bytes] = {
            "truncated": data[:position], "trailing": data + self.random.randbytes(99),
            "empty": b"", "doubled": data * 2,
        }  # fmt: skip
        return changes.get(self.damage, data)


ORDERED = Global("collections", "OrderedDict")
Shape = tuple[Any, Any, Any]
SHAPES: dict[str, Callable[[int], Shape]] = {
    "dense": lambda scale: ((4 * scale, 6), (6, 1), 0),
    "transposed": lambda scale: ((6, 4 * scale), (1, 6), 0),
    "view": lambda scale: ((2 * scale, 3), (6, 1), 7),
    "tied": lambda scale: ((4 * scale, 6), (6, 1), 0),
    "expanded": lambda scale: ((scale, 24), (0, 1), 0),
    "zero-size": lambda scale: ((scale, 0, 2**62), (1, 1, 1), 0),
    "0-d": lambda scale: ((), (), 3),
    "no shape": lambda scale: (None, "x", 1.5),
    "negative stride": lambda scale: ((4, 6), (-6, 1), 18),
    "many dimensions": lambda scale: ((1,) * 100, (1,) * 100, 0),
}
ODD: dict[str, Callable[[Any, Any, Any], Any]] = {
    "parameter": lambda tensor, dtype, storage: rebuilt("parameter", tensor, True, Made(ORDERED)),
    "wrapped": lambda tensor, dtype, storage: rebuilt(
        "parameter", rebuilt("parameter", rebuilt("parameter", tensor)), 1
    ),
    "typed": lambda tensor, dtype, storage: Made(
        Global("torch._tensor", "_rebuild_from_type_v2"), tensor.callee, Global("torch", "Tensor"), tensor.arguments, {}
    ),
    "sparse": lambda tensor, dtype, storage: rebuilt("sparse_tensor", "sparse_coo", (tensor, tensor, (2**40,))),
    "meta": lambda tensor, dtype, storage: rebuilt("meta_tensor_no_storage", dtype, (2**40,), (1,), False),
    "nested": lambda tensor, dtype, storage: rebuilt("nested_tensor", tensor, tensor, tensor, tensor),
    "quantized": lambda tensor, dtype, storage: rebuilt("qtensor", storage, 0, (4, 6), (6, 1), (), False, None),
}


def _within_itself(state: Any, rules: Rules) -> Any:
    outer: dict[str, Any] = {"epoch": 1}
    outer["model"] = outer
    return outer


def _deep(state: Any, rules: Rules) -> Any:
    for _ in range(rules.random.choice([3, 7, 8, 9, 100])):
        state = {"model": state}
    return state


def _deep_raw(state: Any, rules: Rules) -> Any:
    lists, tuples, keys = (
        b"]" * 10**5 + b"a" * (10**5 - 1),
        b")" + b"\x85" * 10**5,
        b"}" + b")" + b"\x85" * 10**5 + b"Ns",
    )
    key = rules.random.choice(["model", "other"])
    return {"model": state, key: Raw(rules.random.choice([lists, tuples, keys]))}


def _huge(state: Any, rules: Rules) -> Any:
    """A few bytes that claim or ask for much: a length, a place in the memo, copies of copies."""
    length = (2**62).to_bytes(8, "little")
    pairs = b"](" + b"(K\x01K\x02t" * 1000 + b"e" + b"r\x01\0\0\x7f0"
    copies = pairs + b"ccollections\nOrderedDict\nj\x01\0\0\x7f\x85R0" * 5000 + b"N"
    claims = [b"\x8d" + length, b"\x8e" + length, b"\x8b\xff\xff\xff\x7f", b"Nr\xff\xff\xff\xff", copies, b"N2" * 10**5]
    return {"model": state, "other": Raw(rules.random.choice([*claims, b"I" + b"9" * 10**5 + b"\n", b"\x96" + length]))}


def _list_within_itself(state: Any, rules: Rules) -> Any:
    endless: list[Any] = []
    endless.append(endless)
    return {"model": {"a": endless}, "other": endless}


def _beside_code(state: Any, rules: Rules) -> Any:
    module, _, name = rules.random.choice(CODE).rpartition(".")
    text = "open('marker', 'w')" if name in ("eval", "exec") else "touch marker"
    return {"model": state, "code": Made(Global(module, name), text)}


TREES: dict[str, Callable[[Any, Rules], Any]] = {
    "bare": lambda state, rules: state,
    "wrapped": lambda state, rules: {"model": state, "epoch": 3},
    "wrapped twice": lambda state, rules: {"net": {"state_dict": state}},
    "within itself": _within_itself,
    "deep": _deep,
    "deep raw": _deep_raw,
    "huge": _huge,
    "list": lambda state, rules: [state, state],
    "tensor": lambda state, rules: next(iter(state.values())),
    "empty": lambda state, rules: {},
    "list within itself": _list_within_itself,
    "beside code": _beside_code,
    "many": lambda state, rules: {"model": state | {f"m{i}": rules.odd() for i in range(300)}},
    "number": lambda state, rules: math.pi,
    "many lists": lambda state, rules: {"model": state, "history": [[i, str(i)] for i in range(2000)]},
}
