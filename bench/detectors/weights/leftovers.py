"""What a weights file holds beside a network's tensors: harmless things, and what makes it another network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from bench.detectors.weights.fits import File, Fit, LogitLayer, is_counter, unwrapped, weight_of
from bench.detectors.weights.stored_tensors import StoredTensor
from bench.errors import UserError, shown

# Parts of names of what trains a network, and is no part of it.
_OF_TRAINING = re.compile(
    r"(criterion|loss(es|_fn|_func)?|\w+_loss|metrics?)(_state|_state_dict)?|n_averaged|num_updates|pos_weight",
    re.IGNORECASE,
)
# Dictionaries of the state that optimizers, schedules and random numbers go on with; nobody takes them for a network.
_OF_OPTIMIZER = re.compile(
    r"opt(_\w+)?|\w*optim(izers?)?(_states?|_state_dict)?|\w*schedulers?\w*|\w*scaler\w*|\w*(random|rng)_states?\w*",
    re.IGNORECASE,
)
MANY_CLASSES = 100
"""Of a head that pretraining left behind; no deepfake detector has so many."""


def problems_of(file: File, fit: Fit, head: LogitLayer | None) -> dict[str, list[str]]:
    """What is wrong with tensors that have the right names, and what the file has more of the same network."""
    return {
        title: names
        for title, names in {
            "left over": _left_over(file, fit, head),
            "of another shape": [
                f"{name} is {list(file.shape(name))}, expected {list(fit.network.shapes[tensor])}"
                for tensor, name in fit.names.items()
                if isinstance(file.tensors[name], StoredTensor) and file.shape(name) != fit.network.shapes[tensor]
            ],
            "layers beside the one that writes the logits": _beside(file, fit, head) if head else [],
        }.items()
        if names
    }


def _left_over(file: File, fit: Fit, head: LogitLayer | None) -> list[str]:
    """What the file has more than the network where this has its layers: further blocks, as of a larger one."""
    used = {*fit.names.values(), *((head.weight, head.bias) if head else ())}
    renamed = [fit.scheme.rename(name) for name in fit.network.shapes]
    shared = takewhile(lambda words: len(set(words)) == 1, zip(*(name.split(".") for name in renamed), strict=False))
    root = "".join(f"{words[0]}." for words in shared)
    parts = {name[len(root) :].partition(".")[0] for name in renamed}
    numbered = any(part.isdigit() for part in parts)
    left_over = []
    for name in file.tensors:
        if name in used or is_counter(name) or is_unused(fit, name):
            continue
        inner = _behind(fit, name)
        if inner.startswith(root):
            part = inner.removeprefix(root).partition(".")[0]
            if (part in parts or (numbered and part.isdigit())) and not name.startswith(f"{fit.head}."):
                left_over.append(name)
    return left_over


def _beside(file: File, fit: Fit, head: LogitLayer) -> list[str]:
    """Tensors in the same part as the layer of the logits, apart from the network: what that computes is more."""
    network = {*fit.names.values(), head.weight, head.bias}
    parts = head.layer.split(".")
    # The outermost part that holds the head and not the network.
    ancestors = [".".join(parts[: count + 1]) for count in range(len(parts))]
    part = next(ancestor for ancestor in ancestors if not fit.prefix.startswith(f"{ancestor}."))
    parent, _, index = part.rpartition(".")
    start = f"{parent}." if parent else ""
    others = []
    for name in file.tensors:
        in_sequence = index.isdigit() and name.startswith(start) and name[len(start) :].partition(".")[0].isdigit()
        if name in network or is_counter(name) or is_unused(fit, name):
            continue
        if name.startswith(f"{part}.") or in_sequence:
            others.append(name)
    return others


def refuse_unknown(file: File, fit: Fit, rest: Sequence[str], architecture: str) -> None:
    for start, meaning in fit.scheme.unknown:
        if layers := [name for name in rest if name.startswith(fit.prefix + start)]:
            raise UserError(
                f"{file.path}: {shown(layers[0])} is {meaning}, which bench's {architecture} does not compute, so its "
                "scores would be others; `bench score` judges scores that your own code gave"
            )


def is_harmless(file: File, fit: Fit, name: str) -> bool:
    """Whether a tensor that is left over is known to take no part: of training, of an unused head, or by the scheme."""
    if is_of_training(fit, name) or is_unused(fit, name):
        return True
    usual = fit.head
    shape = file.shape(weight_of(usual)) if weight_of(usual) in file.tensors else ()
    return name in (f"{usual}.weight", f"{usual}.bias") and shape[:1] >= (MANY_CLASSES,)


def is_unused(fit: Fit, name: str) -> bool:
    """Whether the scheme's code has this in its files and never uses it, or it follows from the network's shape."""
    is_constant = name.startswith(fit.prefix) and name.rpartition(".")[2] in fit.scheme.constants
    return is_constant or any(_behind(fit, name).startswith(start) for start in fit.scheme.unused)


def _behind(fit: Fit, name: str) -> str:
    """What a name is behind the prefix of a network, without wrappers; empty where that does not stand before it."""
    return unwrapped(name.removeprefix(fit.prefix)) if name.startswith(fit.prefix) else ""


def is_of_training(fit: Fit, name: str) -> bool:
    """By a part of its name behind what it has in common with the network's: a wrapper may be called anything."""
    words, prefix = name.split("."), fit.prefix.split(".")
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, prefix, strict=False)))
    return any(_OF_TRAINING.fullmatch(word) for word in words[shared:])


def is_of_optimizer(file: File, name: str) -> bool:
    """By a dictionary that it lies in; layers of a network may be called so too."""
    return any(_OF_OPTIMIZER.fullmatch(word) for word in file.folders[name].split("."))
