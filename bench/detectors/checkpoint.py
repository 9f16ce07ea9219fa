"""Reading a checkpoint file into plain tensors, safely: nothing in it is ever executed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import UserError, listed

# What training scripts wrap a state dict in, and what they prefix its names with.
_WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "network")
_PREFIXES = ("module.", "_orig_mod.", "net.", "model.")


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.tar`, `.pth`, `.pt` or `.safetensors` file, float tensors as float32.

    Wrappers such as `{"model": …, "optimizer": …}` and prefixes such as `module.` or `net.` are
    taken off. Raises `UserError` for whatever is not a finite state dict.
    """
    if not path.exists():
        raise UserError(f"{path}: no such weights file; set `weights:` to a .tar, .pth or .safetensors file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; `weights:` must be a checkpoint file")
    state = _unprefixed(_unwrapped(_load(path), path))
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
            raise UserError(f"{path}: not a PyTorch checkpoint{_hint(head)}") from error
        raise UserError(
            f"{path}: refused, because loading it would execute code: the file asks for "
            f"{(wanted[1] or wanted[2]).rstrip(',.')}. Save the state dict alone: torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:
        # Damaged files make the readers fail in many ways: EOFError, IndexError, SafetensorError, ...
        raise UserError(
            f"{path}: cannot be read as a checkpoint, it may be truncated ({_first_line(error)})"
        ) from error


def _hint(head: bytes) -> str:
    """What the first bytes of a file that is no checkpoint give away."""
    if head.startswith(b"version https://"):
        return ": it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return ": it is a web page, probably saved instead of the download"
    return "; expected what torch.save or safetensors wrote"


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
