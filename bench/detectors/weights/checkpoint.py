"""Reading a checkpoint file into plain tensors, safely: nothing in it is ever executed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from bench.detectors.weights import file_type, stored_tensors, torch_file
from bench.detectors.weights.pickled import UnknownNameError
from bench.detectors.weights.stored_tensors import OddTensor, StoredTensor, described
from bench.errors import UserError, listed, shown

# What training scripts wrap a state dict in, and what they prefix its names with.
_WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "network")
_PREFIXES = ("module.", "_orig_mod.", "net.", "model.")
_MOST_NESTED = 8
# A tensor may repeat stored numbers (strides of zero), which no training script saves.
_MOST_REPEATED, _SMALL_BYTES = 4, 2**20
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (
    torch.bool, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip

State = dict[str, StoredTensor | OddTensor]


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.tar`, `.pth`, `.pt` or `.safetensors` file, float tensors as float32.

    Wrappers such as `{"model": …, "optimizer": …}` and prefixes such as `module.` or `net.` are
    taken off. Raises `UserError` for whatever is not a finite state dict. Equal integers may be one tensor.
    """
    file_type.check(path)
    state = _unprefixed(_safetensors(path) if file_type.is_safetensors(path) else _saved_by_torch(path))
    floats = {id(tensor): tensor for tensor in state.values() if tensor.is_floating_point()}  # tied ones once
    infinite = {key for key, tensor in floats.items() if not tensor.isfinite().all()}
    broken = [name for name, tensor in state.items() if id(tensor) in infinite]
    if broken:
        raise UserError(
            f"{path}: {len(broken)} tensors hold NaN or infinite values in float32: {listed(map(shown, broken), 6)}"
        )
    return state


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except Exception as error:
        _refuse_unreadable(error, path)
    for name, tensor in state.items():
        _refuse_dtype(name, tensor.dtype, path)
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _saved_by_torch(path: Path) -> dict[str, Tensor]:
    try:
        with torch_file.opened(path) as contents:
            state = _plain(_unwrapped(contents.tree, path), path)
            return stored_tensors.tensors(state, contents)
    except UserError:
        raise
    except Exception as error:
        _refuse_unreadable(error, path)


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


def _unwrapped(tree: Any, path: Path) -> State:
    """The state dict inside what training scripts put around it."""
    for _ in range(_MOST_NESTED):
        state = _state(tree)
        if state is not None:
            return state
        tree_inside = _inside(tree)
        if tree_inside is None:
            keys = listed([shown(str(key)) for key in list(tree)[:8]]) if isinstance(tree, dict) else _kind(tree)
            raise UserError(
                f"{path}: holds no state dict (found: {keys}); expected tensors, or one of {', '.join(_WRAPPERS)}"
            )
        tree = tree_inside
    raise UserError(
        f"{path}: holds no state dict within {_MOST_NESTED} dictionaries, one in the other (or one in itself); "
        "save the state dict alone: torch.save(model.state_dict(), ...)"
    )


def _inside(tree: Any) -> dict[Any, Any] | None:
    inner = (tree[key] for key in _WRAPPERS if isinstance(tree.get(key), dict)) if isinstance(tree, dict) else iter(())
    return next(inner, None)


def _kind(tree: Any) -> str:
    return "a tensor" if described(tree) else f"no dictionary but {type(tree).__name__}"


def _state(tree: Any) -> State | None:
    """A dictionary of tensors by name, as they are described; None where it is something else."""
    if not isinstance(tree, dict) or not tree:
        return None
    state: State = {}
    for name, value in tree.items():
        tensor = described(value) if isinstance(name, str) else None
        if tensor is None:
            return None
        state[name] = tensor
    return state


def _plain(state: State, path: Path) -> dict[str, StoredTensor]:
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


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for _ in range(_MOST_NESTED):
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None or not state:
            break
        state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
    return state
