"""Reading a checkpoint file into plain tensors, safely: nothing in it is ever executed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.detectors import weights_file
from bench.errors import UserError, listed

# What training scripts wrap a state dict in, and what they prefix its names with.
_WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "network")
_PREFIXES = ("module.", "_orig_mod.", "net.", "model.")
# A tensor may repeat stored numbers (strides of zero), which no training script saves.
_MOST_REPEATED, _SMALL_BYTES = 4, 2**20


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.tar`, `.pth`, `.pt` or `.safetensors` file, float tensors as float32.

    Wrappers such as `{"model": …, "optimizer": …}` and prefixes such as `module.` or `net.` are
    taken off. Raises `UserError` for whatever is not a finite state dict.
    """
    weights_file.check(path)
    state = _unprefixed(_unwrapped(_load(path), path))
    _refuse_odd(state, path)
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise UserError(f"{path}: {len(broken)} tensors hold NaN or infinite values: {listed(broken, 6)}")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(32)
    try:
        # A safetensors file starts with the length of its JSON header.
        if path.suffix == ".safetensors" or head[8:9] == b"{":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)|class (\S+)", str(error))
        if wanted is None:
            raise UserError(
                f"{path}: not a PyTorch checkpoint ({_first_line(error)}); expected what torch.save wrote"
            ) from error
        raise UserError(
            f"{path}: refused, because loading it would execute code: the file asks for "
            f"{(wanted[1] or wanted[2]).rstrip(',.')}. Save the state dict alone: torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:
        # Damaged files make the readers fail in many ways: EOFError, IndexError, SafetensorError, ...
        raise UserError(
            f"{path}: cannot be read as a checkpoint, it may be truncated ({_first_line(error)})"
        ) from error


def _refuse_odd(state: Mapping[str, Tensor], path: Path) -> None:
    """Tensors that are no plain numbers, and such as repeat a few stored ones until no memory holds them."""
    held = _MOST_REPEATED * path.stat().st_size
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            kind = "quantized" if tensor.is_quantized else f"{tensor.dtype}, {tensor.layout}"
            raise UserError(f"{path}: {name} is {kind}; expected plain floating-point tensors")
        if tensor.numel() * tensor.element_size() > held + _SMALL_BYTES:
            raise UserError(
                f"{path}: refused, because {name} is said to have {tensor.numel():,} elements, "
                f"more than a file of {path.stat().st_size:,} bytes holds"
            )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def _unwrapped(found: Any, path: Path) -> dict[str, Tensor]:
    """The state dict inside what training scripts put around it."""
    while isinstance(found, Mapping) and not _is_state(found):
        inner = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if isinstance(found, Mapping) and _is_state(found):
        return dict(found)
    keys = listed(list(found)[:8]) if isinstance(found, Mapping) else type(found).__name__
    raise UserError(f"{path}: holds no state dict (found: {keys}); expected tensors, or one of {', '.join(_WRAPPERS)}")


def _is_state(found: Mapping[Any, Any]) -> bool:
    return len(found) > 0 and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None)
    return state if prefix is None else _unprefixed({name[len(prefix) :]: tensor for name, tensor in state.items()})
