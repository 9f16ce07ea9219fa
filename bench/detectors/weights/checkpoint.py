"""What a checkpoint file holds, and its tensors, read safely: nothing in it is ever executed."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from bench.detectors.weights import file_type, labels, safetensors_header, stored_tensors, torch_file
from bench.detectors.weights.fits import File
from bench.detectors.weights.pickled import MOST_OPERATIONS, Call, UnknownNameError
from bench.detectors.weights.stored_tensors import OddTensor, StoredTensor, described, is_array
from bench.errors import UserError, listed, shown
from bench.stored import open_file

_MOST_NESTED = 16
_MOST_TENSORS = 50_000
_MOST_ENTRIES = MOST_OPERATIONS
# Every name repeats those of the dictionaries that it lies in.
_LONGEST_FOLDER = 1000
# A tensor may repeat stored numbers (strides of zero), which no training script saves.
_MOST_REPEATED, _SMALL_BYTES = 4, 2**20
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (
    torch.bool, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip

# What safetensors calls the types that it shares with PyTorch.
_SAFETENSORS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U64": torch.uint64, "U32": torch.uint32,
    "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """An opened weights file: what it holds, and `load`, which reads some of its tensors.

    Names begin with those of the dictionaries and the places in lists that a tensor lies in, with dots between.
    """

    file: File
    _read: Callable[[Mapping[str, StoredTensor]], dict[str, Tensor]]

    def refuse_odd(self) -> None:
        """Raise `UserError` where any tensor is none of plain numbers, or claims more than the file holds."""
        _plain(self.file.tensors, self.file.path)

    def load(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors by their names in the file, floating-point ones as float32.

        Raises `UserError` for what is not finite, or no plain numbers. Equal integers may be one tensor.
        """
        path = self.file.path
        state = _plain({name: self.file.tensors[name] for name in names}, path)
        try:
            tensors = self._read(state)
        except Exception as error:
            _refuse_unreadable(error, path)
        floats = {id(tensor): tensor for tensor in tensors.values() if tensor.is_floating_point()}  # tied ones once
        infinite = {key for key, tensor in floats.items() if not tensor.isfinite().all()}
        broken = [name for name, tensor in tensors.items() if id(tensor) in infinite]
        if broken:
            raise UserError(
                f"{path}: {_counted(len(broken))} NaN or infinite values in float32: {listed(map(shown, broken), 6)}"
            )
        return tensors


@contextmanager
def opened(path: Path) -> Iterator[Checkpoint]:
    """A `.tar`, `.pth`, `.pt` or `.safetensors` file. Raises `UserError` where it holds no tensors by name."""
    file_type.check(path)
    if file_type.is_safetensors(path):
        yield _safetensors(path)
        return
    with contextlib.ExitStack() as stack:
        try:
            contents = stack.enter_context(torch_file.opened(path))
            file = _listing(contents.tree, path)
        except UserError:
            raise
        except Exception as error:
            _refuse_unreadable(error, path)
        yield Checkpoint(file, lambda state: stored_tensors.tensors(state, contents))


def _safetensors(path: Path) -> Checkpoint:
    """What the header says; numbers are read by the library, which checks where they lie."""
    with open_file(path) as file:
        header = safetensors_header.read(file)
    entries = header.tensors
    _refuse_many(len(entries), path)
    tensors: dict[str, StoredTensor | OddTensor] = {}
    for name, entry in entries.items():
        dtype = _SAFETENSORS.get(entry.dtype)
        tensors[name] = (
            OddTensor(f"stored as {shown(entry.dtype)}")
            if dtype is None
            else StoredTensor(dtype, name, entry.end - entry.begin, 0, entry.shape, ())
        )

    def read(state: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as stored:
            given = {name: stored.get_tensor(name) for name in state}
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in given.items()}

    orders = (labels.stated(key, text, "its metadata") for key, text in header.metadata.items() if key in labels.KEYS)
    return Checkpoint(File(path, tensors, dict.fromkeys(tensors, ""), tuple(filter(None, orders))), read)


def _listing(tree: Any, path: Path) -> File:
    """Every tensor in a tree of dictionaries and lists, by the names on the way to it."""
    tensors: dict[str, StoredTensor | OddTensor] = {}
    folders: dict[str, str] = {}
    orders: list[labels.Stated] = []
    seen, is_cut = 0, False
    pending = deque([("", tree, 0)])
    while pending:
        folder, value, depth = pending.popleft()
        for key, inner in _entries(value):
            seen += 1
            if seen > _MOST_ENTRIES:
                raise UserError(f"{path}: holds more than {_MOST_ENTRIES:,} entries; save the state dict alone")
            name = f"{folder}.{key}" if folder else str(key)
            if isinstance(key, str) and key in labels.KEYS and (of_classes := labels.stated(key, inner, "it")):
                orders.append(of_classes)
            if (tensor := described(inner)) is not None:
                if tensors.setdefault(name, tensor) != tensor:
                    raise UserError(
                        f"{path}: two different tensors are called {shown(name)}, through the dictionaries that they "
                        "lie in; save one state dict alone"
                    )
                folders.setdefault(name, folder)
                _refuse_many(len(tensors), path)
            elif isinstance(inner, (dict, list, tuple)):
                if depth < _MOST_NESTED and len(name) <= _LONGEST_FOLDER:
                    pending.append((name, inner, depth + 1))
                is_cut |= depth >= _MOST_NESTED
    if not tensors:
        raise _no_tensors(tree, path, is_cut=is_cut)
    return File(path, tensors, folders, tuple(orders))


def _refuse_many(tensors: int, path: Path) -> None:
    if tensors > _MOST_TENSORS:
        raise UserError(f"{path}: holds more than {_MOST_TENSORS:,} tensors; save the state dict alone")


def _entries(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


def _no_tensors(tree: Any, path: Path, *, is_cut: bool) -> UserError:
    """What a file without tensors by name holds instead."""
    if is_cut:
        return UserError(
            f"{path}: holds no state dict within {_MOST_NESTED} dictionaries, one in the other (or one in itself); "
            "save the state dict alone: torch.save(model.state_dict(), ...)"
        )
    if isinstance(tree, dict) and any(isinstance(value, Call) and is_array(value) for value in tree.values()):
        return UserError(
            f"{path}: holds NumPy arrays in the place of tensors; save tensors: "
            "torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, ...)"
        )
    keys = listed([shown(str(key)) for key in list(tree)[:8]]) if isinstance(tree, dict) else _kind(tree)
    keys = keys or "an empty dictionary"
    return UserError(f"{path}: holds no state dict (found: {keys}); expected tensors by name")


def _refuse_unreadable(error: Exception, path: Path) -> NoReturn:
    """Damaged files make readers fail in many ways: EOFError, IndexError, SafetensorError, ..."""
    if isinstance(error, UnknownNameError):
        raise UserError(
            f"{path}: refused, because loading it would execute code: the file asks for {shown(str(error))}. "
            "Save the state dict alone: torch.save(model.state_dict(), ...)"
        ) from error
    if isinstance(error, torch_file.DamagedMemberError):
        raise UserError(
            f"{path}: is damaged: the sum (CRC-32) of its part {shown(str(error))} is not the one stored with it; "
            "copy or download it again"
        ) from error
    reason = shown(str(error).strip() or type(error).__name__)
    if isinstance(error, torch_file.NoCheckpointError):
        raise UserError(f"{path}: not a PyTorch checkpoint ({reason}); expected what torch.save wrote") from error
    raise UserError(f"{path}: cannot be read as a checkpoint, it may be truncated ({reason})") from error


def _counted(tensors: int) -> str:
    return "a tensor holds" if tensors == 1 else f"{tensors} tensors hold"


def _kind(tree: Any) -> str:
    return "a tensor" if described(tree) else f"no dictionary but {type(tree).__name__}"


def _plain(state: Mapping[str, StoredTensor | OddTensor], path: Path) -> dict[str, StoredTensor]:
    """Refuse tensors that are no plain numbers, and such as repeat a few stored ones until no memory holds them."""
    plain: dict[str, StoredTensor] = {}
    for name, tensor in state.items():
        if isinstance(tensor, OddTensor):
            raise UserError(f"{path}: {shown(name)} is {tensor.kind}; expected plain floating-point tensors")
        _refuse_dtype(name, tensor.dtype, path)
        plain[name] = tensor
    _refuse_claims(plain, path)
    return plain


def _refuse_dtype(name: str, dtype: torch.dtype, path: Path) -> None:
    if dtype not in (*_FLOATS, *_INTEGERS):
        raise UserError(
            f"{path}: {shown(name)} is stored as {str(dtype).removeprefix('torch.')}; "
            f"expected plain floating-point tensors: float32, float16, bfloat16 or float64"
        )


def _refuse_claims(state: Mapping[str, StoredTensor], path: Path) -> None:
    """Equal descriptions are tied weights, which take their memory once."""
    size = path.stat().st_size
    most = _MOST_REPEATED * size + _SMALL_BYTES
    for name, tensor in state.items():
        if _bytes([tensor]) > most:
            raise UserError(
                f"{path}: refused, because {shown(name)} is said to have {tensor.numel:,} elements, "
                f"more than a file of {size:,} bytes holds"
            )
    if _bytes(set(state.values())) > most:
        total = sum(tensor.numel for tensor in set(state.values()))
        raise UserError(
            f"{path}: refused, because its {len(state):,} tensors are said to have {total:,} elements together, "
            f"more than a file of {size:,} bytes holds"
        )


def _bytes(tensors: Collection[StoredTensor]) -> int:
    """Of memory: floating-point numbers become float32."""
    return sum(tensor.numel * (4 if tensor.dtype in _FLOATS else tensor.dtype.itemsize) for tensor in tensors)
