"""A tensor in a file that `torch.save` wrote: what is said of it, and what is made of its numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.detectors.weights.pickled import Call, Name

_MOST_DIMENSIONS = 64  # torch's own limit
_MOST_WRAPPED = 8
_STORAGE = re.compile(r"torch\.(?:cuda\.|storage\.)?_?(\w+)Storage")
_STORED = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128, "QInt8": torch.qint8,
    "QUInt8": torch.quint8, "QInt32": torch.qint32, "QUInt4x2": torch.quint4x2, "QUInt2x4": torch.quint2x4,
    "Untyped": torch.uint8,
}  # fmt: skip
_WRAPPED = (
    "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
)  # fmt: skip
_TYPED = "torch._tensor._rebuild_from_type_v2"
_PLAIN_TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_REBUILT = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3")
_KINDS = {
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has no numbers",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of another class",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of another kind of device",
}
_ARRAYS = (
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer",
)  # fmt: skip
_DATA = re.compile(
    r"collections\.(OrderedDict|Counter|defaultdict|deque)|datetime\.(datetime|date|time|timedelta|timezone)"
    r"|decimal\.Decimal|fractions\.Fraction|uuid\.(UUID|SafeUUID)"
    r"|pathlib\.(Pure)?(Posix|Windows)?Path|torch\.torch_version\.TorchVersion"
    r"|builtins\.(dict|list|set|frozenset|complex|bytearray|slice|object|int|float|str)"
    r"|_codecs\.encode|copy_reg\._reconstructor|copyreg\._reconstructor"
    r"|torch\.(Size|Tensor|device|per_\w+|serialization\._get_layout|nn\.parameter\.(Parameter|Buffer))"
    r"|torch\.(cuda\.|sparse\.|cuda\.sparse\.)?\w+Tensor"
    # What training scripts keep beside weights: settings, scores and the state of NumPy's random numbers.
    r"|argparse\.Namespace|optparse\.Values|numpy\.(ndarray|dtype|dtypes\.\w+DType)|numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)"
    r"|numpy\.(_core|core)\.numeric\._frombuffer"
    r"|numpy\.random\._pickle\.__(randomstate|(bit_)?generator)_ctor|numpy\.random\.mtrand\.RandomState"
    r"|numpy\.random\._(mt19937\.MT19937|pcg64\.PCG64(DXSM)?|philox\.Philox|sfc64\.SFC64)"
    r"|numpy\.random\.bit_generator\.(__pyx_unpickle_)?SeedSequence|random\.Random"
    # Dictionaries of settings whose keys are attributes too.
    r"|types\.SimpleNamespace|easydict\.EasyDict|(addict\.)?addict\.Dict|(munch\.)?munch\.Munch|box\.box\.Box"
    r"|(attrdict\.dictionary|attrdict)\.AttrDict|mmcv\.utils\.config\.(Config|ConfigDict)"
    r"|(yacs|fvcore\.common|detectron2\.config)\.config\.CfgNode|mmengine\.config\.config\.(Config|ConfigDict)"
    r"|ml_collections\.config_dict\.config_dict\.\w+|omegaconf\.(base|nodes|dictconfig|listconfig)\.\w+|typing\.Any"
    r"|(pytorch_lightning|lightning|lightning_fabric)\.([a-z]+\.)*AttributeDict"
    # What training itself goes on with: none of it is part of the network.
    r"|(pytorch_lightning|lightning)\.([a-z]+\.)*callbacks\.(\w+\.)*\w+|mmengine\.logging\.history_buffer\.HistoryBuffer"
    r"|torch\.nn\.modules\.loss\.\w+|torch\.optim\.(\w+\.)*\w+"
)


class Contents(Protocol):
    """An open weights file."""

    tree: Any
    swapped: bool  # stored with the most significant byte first

    def numbers(self, key: str) -> bytearray:
        """The bytes of a storage, checked against their sum where there is one."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor's numbers lie; offset and strides in elements."""

    dtype: torch.dtype
    key: str
    storage_bytes: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class OddTensor:
    """A tensor that is none of plain numbers, and what it is."""

    kind: str


def harmless(name: str) -> bool:
    """Whether a checkpoint may ask for a class or function: such as stand for data, none of which is called."""
    return (
        name in _REBUILT or name in _WRAPPED or name in _KINDS or name == _TYPED
        or _DATA.fullmatch(name) is not None or _STORAGE.fullmatch(name) is not None or _dtype(name) is not None
    )  # fmt: skip


def described(value: Any) -> StoredTensor | OddTensor | None:
    """What a pickle says of a tensor; None where `value` is none."""
    for _ in range(_MOST_WRAPPED):
        if not isinstance(value, Call) or not isinstance(value.callee, Name):
            return None
        name, arguments = value.callee.text, value.arguments
        if name in _REBUILT:
            return _plain(arguments, name)
        if name in _WRAPPED and arguments:
            value = arguments[0]
        elif name == _TYPED and len(arguments) >= 3 and isinstance(arguments[1], Name):
            if arguments[1].text not in _PLAIN_TYPES or not isinstance(arguments[2], tuple):
                return OddTensor("a tensor of another class")
            value = Call(arguments[0], arguments[2])
        else:
            return OddTensor(_KINDS[name]) if name in _KINDS else None
    return None


def is_array(call: Call) -> bool:
    """Whether unpickling would have made an array of NumPy's."""
    return isinstance(call.callee, Name) and call.callee.text in _ARRAYS


def _plain(arguments: tuple[Any, ...], name: str) -> StoredTensor | OddTensor:
    """From the arguments of `_rebuild_tensor` (4), `_v2` (6, then metadata) and `_v3` (7 with the dtype, metadata)."""
    named = name.endswith("_v3")
    try:
        storage, offset, shape, stride = arguments[:4]
        kind, class_, key, _, count = storage.id[:5]
        stored = _STORED[_storage_name(class_.text)]
        dtype = _dtype(arguments[6].text) if named else stored
    except (ValueError, TypeError, AttributeError, IndexError, KeyError):
        return OddTensor("described wrongly")
    if arguments[7 if named else 6 :] and arguments[7 if named else 6]:
        return OddTensor("conjugated or negated")
    whole = isinstance(shape, tuple) and isinstance(stride, tuple)
    numbers = [offset, count, *shape, *stride] if whole else [None]
    # Beyond 64 bits is no tensor, and arithmetic with a million digits takes minutes.
    plain = all(type(number) is int and number >= 0 and number.bit_length() < 63 for number in numbers)
    if not plain or not isinstance(key, str) or dtype is None:
        return OddTensor("described wrongly")
    offset += _view_offset(storage.id)
    if kind != "storage" or len(shape) != len(stride) or len(shape) > _MOST_DIMENSIONS:
        return OddTensor("described wrongly")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and (last + 1) * dtype.itemsize > count * stored.itemsize:
        return OddTensor("said to reach beyond its own numbers")
    return StoredTensor(dtype, key, count * stored.itemsize, offset, shape, stride)


def _view_offset(storage_id: Any) -> int:
    """Before PyTorch 1.0, a storage could be a part of another one: (key, offset, size)."""
    view = storage_id[5] if len(storage_id) > 5 else None
    return view[1] if isinstance(view, tuple) and len(view) == 3 and isinstance(view[1], int) and view[1] > 0 else 0


def _storage_name(class_: str) -> str:
    match = _STORAGE.fullmatch(class_)
    return match[1] if match else ""


def storage_dtype(storage_id: Any) -> torch.dtype | None:
    """The dtype of a storage by its id in a pickle; None where that is none."""
    is_storage = isinstance(storage_id, tuple) and len(storage_id) >= 5 and storage_id[0] == "storage"
    return _STORED.get(_storage_name(storage_id[1].text)) if is_storage and isinstance(storage_id[1], Name) else None


@cache
def _dtype(name: str) -> torch.dtype | None:
    # Asked for otherwise, some names of torch have a module imported.
    dtype = vars(torch).get(name.removeprefix("torch.")) if name.startswith("torch.") else None
    return dtype if isinstance(dtype, torch.dtype) else None


def tensors(state: Mapping[str, StoredTensor], contents: Contents) -> dict[str, Tensor]:
    """The tensors of a state dict, floating-point ones in float32; equal descriptions share one tensor.

    One storage is in memory at a time, beside what is made of it. Raises `ValueError` where a storage
    is absent or shorter than said.
    """
    by_key: dict[str, dict[StoredTensor, Tensor]] = {}
    for stored in state.values():
        by_key.setdefault(stored.key, {})[stored] = torch.empty(0)
    for key, made in by_key.items():
        data = contents.numbers(key) if any(stored.numel for stored in made) else bytearray()
        for stored in made:
            if stored.numel and len(data) < stored.storage_bytes:
                name = next(name for name, other in state.items() if other == stored)
                raise ValueError(f"{name} has {len(data):,} of its {stored.storage_bytes:,} bytes")
            made[stored] = _tensor(stored, data, contents.swapped)
    return {name: by_key[stored.key][stored] for name, stored in state.items()}


def _tensor(stored: StoredTensor, data: bytearray, swapped: bool) -> Tensor:
    """The tensor at its offset in its storage's bytes, floating-point numbers as float32."""
    if stored.numel == 0:
        return torch.empty(stored.shape, dtype=torch.float32 if stored.dtype.is_floating_point else stored.dtype)
    if swapped:
        size = stored.dtype.itemsize
        data = bytearray(np.frombuffer(data, f">u{size}", len(data) // size).astype(f"<u{size}").tobytes())
    flat = torch.frombuffer(data, dtype=stored.dtype, count=len(data) // stored.dtype.itemsize)
    tensor = flat.as_strided(stored.shape, stored.stride, stored.offset)
    if stored.dtype.is_floating_point and stored.dtype != torch.float32:
        return tensor.float()
    # A part of a storage does not keep all of it in memory.
    return tensor if tensor.numel() >= flat.numel() else tensor.clone()
