"""Which layer of a weights file writes the logits: its scheme's own one, or the only one that could."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.detectors.weights.fits import File, Fit, LogitLayer, is_counter, is_tied, unwrapped, weight_of
from bench.detectors.weights.leftovers import MANY_CLASSES, is_of_training
from bench.detectors.weights.misfits import refused
from bench.errors import UserError, listed


def with_logit_layer(
    file: File, fits: Sequence[Fit], architecture: str, looks_like: Callable[[], str | None]
) -> tuple[Fit, LogitLayer, bool]:
    """The fit whose scheme has its head where the file has one; else the simplest one with the only head there is."""
    by_prefix = sorted(fits, key=lambda fit: len(fit.prefix))
    for fit in by_prefix:
        for layer in _layers_at(file, fit.head):
            if (head := logit_layer(file, fit, layer)) is not None and not (
                head.rows == 2 and _is_of_others(fit, fits)
            ):
                return fit, head, True
    simplest = by_prefix[-1]
    usual = simplest.head
    used = {*simplest.names.values(), weight_of(usual)}
    # A head of the task that a network was trained for before may stay beside another one, of another name.
    shape = file.shape(weight_of(usual)) if weight_of(usual) in file.tensors else (MANY_CLASSES,)
    for root in _roots(simplest.prefix) if shape[:1] >= (MANY_CLASSES,) else ():
        near = [name for name in file.tensors if name.startswith(root) and name not in used]
        if heads := logit_layers(file, simplest, near):
            refuse_several(file, heads)
            return simplest, heads[0], False
    raise refused(file, simplest, architecture, looks_like(), _no_layer(file, simplest))


def _is_of_others(fit: Fit, fits: Sequence[Fit]) -> bool:
    """Whether two logits make this another project's network: this one's code has one, and plainer names fit too."""
    return fit.scheme.positive is not None and any(other.scheme.positive is None for other in fits)


def logit_layers(file: File, fit: Fit, names: Iterable[str]) -> list[LogitLayer]:
    """The layers among these names that could write the logits; what only training computes with could not."""
    weights = [name for name in names if _ends_in(name, "weight") and not is_of_training(fit, name)]
    # Of tied ones the first will do.
    first = {file.tensors[name] if is_tied(file.tensors[name]) else name: name for name in reversed(weights)}
    layers = [name.removesuffix("weight").removesuffix(".") for name in weights if name in first.values()]
    return [head for layer in layers if (head := logit_layer(file, fit, layer)) is not None]


def refuse_several(file: File, heads: Sequence[LogitLayer]) -> None:
    if len(heads) > 1:
        raise UserError(
            f"{file.path}: {len(heads)} layers could write the logits: {listed(head.layer for head in heads)}; "
            "save the state dict without those that do not"
        )


def _layers_at(file: File, name: str) -> Iterator[str]:
    """The layer itself, or the one with weights in a sequence or wrapper that took its place, as in `_fc.1`."""
    yield name
    below = f"{name}."
    inner = {layer.rpartition(".")[0] for layer in file.tensors if layer.startswith(below)}
    if len(inner) == 1 and re.fullmatch(r"\d*", unwrapped((only := inner.pop()).removeprefix(below))):
        yield only


def _ends_in(name: str, leaf: str) -> bool:
    return name == leaf or name.endswith(f".{leaf}")


def logit_layer(file: File, fit: Fit, layer: str) -> LogitLayer | None:
    """A linear layer of one or two logits over the network's features; None where the layer is none."""
    features, weight = fit.network.features, weight_of(layer)
    bias = f"{weight.removesuffix('weight')}bias"
    shape = file.shape(weight) if weight in file.tensors else ()
    # A convolution of one position is a linear layer too.
    if len(shape) not in (2, 4) or shape[0] not in (1, 2) or shape[1:] not in ((features,), (features, 1, 1)):
        return None
    if bias in file.tensors and file.shape(bias) != (shape[0],):
        return None
    return LogitLayer(layer, weight, bias if bias in file.tensors else None, shape[0])


def _roots(prefix: str) -> Iterator[str]:
    """The prefix, then with one part less at its end each time."""
    yield prefix
    while prefix:
        prefix = prefix[: prefix[:-1].rfind(".") + 1]
        yield prefix


def _no_layer(file: File, fit: Fit) -> dict[str, list[str]]:
    """What stands where the logits should come from."""
    usual, features = fit.head, fit.network.features
    expected = f"expected [2, {features}], or [1, {features}] with `positive:`"
    below = sorted(name for name in file.tensors if name.startswith(f"{usual}.") and not is_counter(name))
    if weight_of(usual) in below:
        shape, bias = file.shape(weight_of(usual)), f"{usual}.bias"
        if shape in ((1, features), (2, features)) and bias in file.tensors:
            return {"of another shape": [f"{bias} is {list(file.shape(bias))}, expected [{shape[0]}]"]}
        several = ""
        if shape[1:] == (features,) and shape[0] > 2:
            several = f"; `bench score` judges P(fake) that your own code makes of {shape[0]} classes"
        return {"of another shape": [f"{weight_of(usual)} is {list(shape)}, {expected}{several}"]}
    if below not in ([], [f"{usual}.bias"]):
        return {"several layers where one is expected": [f"{name} {list(file.shape(name))}" for name in below]}
    wider = sorted(name for name in file.tensors if _is_wider(file, name, features))
    beside = f"; {listed(wider, 3)} reads more than this network's {features} features" if wider else ""
    return {"missing": [f"{weight_of(usual)}, {expected}{beside}"]}


def _is_wider(file: File, name: str, features: int) -> bool:
    """Whether this could be the layer of the logits of a network that has others' features beside this one's."""
    shape = file.shape(name)
    return name.endswith("weight") and len(shape) == 2 and shape[0] in (1, 2) and shape[1] > features
