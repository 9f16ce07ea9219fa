"""Which tensors of a weights file are those of a network: found by names and shapes, before any number is read.

Names may stand behind any wrappers and prefixes. A file may hold other things beside the network, and several sets of
its weights: then its owner says which.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from bench.detectors.weights.schemes import Scheme
from bench.detectors.weights.stored_tensors import OddTensor, StoredTensor
from bench.errors import UserError, listed, nearest, shown
from bench.records import Conventions

Shapes = Mapping[str, tuple[int, ...]]

# Of a network's tensors, the least that a file must hold before its names count as those of a scheme.
_ALIKE = 0.1
_MOST_LISTED = 6
# Parts of names of what trains a network, and is no part of it.
_OF_TRAINING = re.compile(
    r"criterion|loss(es|_fn|_func)?|\w+_loss|metrics?|n_averaged|num_updates|pos_weight", re.IGNORECASE
)
# Dictionaries of the state that optimizers, schedules and random numbers go on with; nobody takes them for a network.
_OF_OPTIMIZER = re.compile(
    r"\w*optim(izers?)?(_states?|_state_dict)?|\w*schedulers?\w*|\w*scaler\w*|\w*(random|rng)_states?\w*",
    re.IGNORECASE,
)
_MANY_CLASSES = 100
"""Of a head that pretraining left behind; no deepfake detector has so many."""
_MOSTLY = 0.5
# Prefixes of more parts are nobody's.
_MOST_PARTS = 30


@dataclass(frozen=True)
class Network:
    """What a network holds: its tensors' shapes by name but for those of the layer that writes its logits.

    `logits` is that layer's name, `features` how many numbers it reads.
    """

    shapes: Shapes
    logits: str
    features: int


@dataclass(frozen=True)
class File:
    """What a weights file holds: its tensors by name, wrappers included, and the dictionary that each lies in."""

    path: Path
    tensors: Mapping[str, StoredTensor | OddTensor]
    folders: Mapping[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        """Empty for what is no plain tensor; reading it says so."""
        tensor = self.tensors[name]
        return tensor.shape if isinstance(tensor, StoredTensor) else ()


@dataclass(frozen=True)
class Match:
    """A network's tensors in a file: the file's name by the detector's. `prefix` stands before the scheme's names.

    `weight` and `bias` belong to the layer `head`, which writes `rows` logits; there may be no bias. `is_usual` tells
    whether the scheme's own code has its head there. `left_out` and `suspicious` are of no part of the network; the
    latter could be something that it computes with. `other_sets` are prefixes of further weights of the same network,
    whole or not.
    """

    scheme: Scheme
    prefix: str
    names: Mapping[str, str]
    head: str
    weight: str
    bias: str | None
    rows: int
    is_usual: bool
    left_out: tuple[str, ...]
    suspicious: tuple[str, ...]
    other_sets: tuple[str, ...]


@dataclass(frozen=True)
class _Fit:
    """Names of a file that are those of a scheme behind a prefix, by the detector's."""

    scheme: Scheme
    prefix: str
    names: dict[str, str]

    @property
    def key(self) -> str:
        return self.prefix.removesuffix(".")

    def head(self, network: Network) -> str:
        """Where the scheme's own code has the layer of the logits."""
        return self.prefix + (self.scheme.head or self.scheme.rename(network.logits))

    def all_names(self, network: Network) -> set[str]:
        """The network's tensors in the file, with those of that layer, where they are."""
        head = self.head(network)
        return {*self.names.values(), f"{head}.weight", f"{head}.bias"}


@dataclass(frozen=True)
class _Head:
    layer: str
    weight: str
    bias: str | None
    rows: int


def match(
    file: File,
    network: Network,
    schemes: Sequence[Scheme],
    conventions: Conventions,
    architecture: str,
    looks_like: Callable[[], str | None],
) -> Match:
    """The tensors of a network in a file. Raises `UserError` where they are not all there, or more than once.

    `looks_like` is asked only then: another architecture whose tensors are all there.
    """
    fits = [fit for scheme in schemes for fit in _fits(file, network, scheme)]
    whole = [fit for fit in fits if len(fit.names) == len(network.shapes)]
    if not whole:
        raise _misfit(file, network, schemes, fits, conventions, architecture, looks_like)
    chosen = _chosen(file, network, whole, conventions)
    others = [fit for fit in whole if fit not in chosen]
    others += _incomplete(network, fits, [*chosen, *others])
    whole_file, file = file, _without_other_sets(file, network, others, chosen)
    fit, head, is_usual = _with_head(file, network, chosen, architecture, looks_like)
    problems = _problems(file, network, fit, head)
    if problems:
        raise _refused(file, fit, architecture, looks_like(), problems)
    used = {*fit.names.values(), head.weight, *([head.bias] if head.bias else [])}
    # Under another name too, the same numbers are the same layer.
    tied = {file.tensors[name] for name in used if _is_tied(file.tensors[name])}
    rest = [
        name
        for name, tensor in file.tensors.items()
        if name not in used and tensor not in tied and not is_counter(name) and not _of_optimizer(file, name)
    ]
    _refuse_unknown(file, fit, rest, architecture)
    _refuse_several(file, [head, *_heads(file, network, fit, rest)])
    return Match(
        fit.scheme, fit.prefix, fit.names, head.layer, head.weight, head.bias, head.rows, is_usual,
        left_out=tuple(rest),
        suspicious=tuple(name for name in rest if not _is_harmless(file, network, fit, name)),
        other_sets=tuple(sorted({other.key for other in others if not _is_same(whole_file, network, other, fit)})),
    )  # fmt: skip


def holds_all(file: File, network: Network, schemes: Sequence[Scheme]) -> bool:
    """Whether a file holds a network and no larger one, in its shapes, under the names of any scheme."""
    fits = [fit for scheme in schemes for fit in _fits(file, network, scheme)]
    nothing = _Head("", "", None, 0)
    return any(len(fit.names) == len(network.shapes) and not _problems(file, network, fit, nothing) for fit in fits)


def is_counter(name: str) -> bool:
    """Batch norms count the batches they have seen, which nothing reads."""
    return name.endswith("num_batches_tracked")


# ------------------------------------------------------------------------------------ which set of weights
def _fits(file: File, network: Network, scheme: Scheme) -> list[_Fit]:
    """For each prefix behind which a name of the scheme stands, all that do.

    What a scheme has in front of all its names is an attribute of that code, and no dictionary of whoever saved them.
    """
    by_renamed = {scheme.rename(name): name for name in network.shapes}
    leaves = {name.rpartition(".")[2] for name in by_renamed}
    longest = max(map(len, by_renamed), default=0)
    by_prefix: dict[str, dict[str, str]] = defaultdict(dict)
    for name in file.tensors:
        if name[name.rfind(".") + 1 :] not in leaves:
            continue
        for start in _starts(name, longest):
            tensor = by_renamed.get(name[start:])
            if tensor is not None and start >= len(file.folders[name]) and name.count(".", 0, start) <= _MOST_PARTS:
                by_prefix[name[:start]][tensor] = name
    return [_Fit(scheme, prefix, names) for prefix, names in by_prefix.items()]


def _starts(name: str, longest: int) -> Iterator[int]:
    """Where a name of at most so many characters can begin in a longer one: at its beginning and behind dots."""
    at = max(0, len(name) - longest - 1)
    if len(name) <= longest:
        yield 0
    while (at := name.find(".", at) + 1) > 0:
        if len(name) - at <= longest:
            yield at


def _chosen(file: File, network: Network, whole: Sequence[_Fit], conventions: Conventions) -> list[_Fit]:
    """The fits of one set of weights: several where its names are those of several schemes."""
    asked = whole if conventions.key is None else _below(file, whole, conventions.key)
    sets: dict[tuple[StoredTensor | OddTensor, ...], list[_Fit]] = {}
    for fit in asked:
        # Equal descriptions are the same numbers, under two names or by two schemes.
        sets.setdefault(tuple(file.tensors[fit.names[name]] for name in network.shapes), []).append(fit)
    keys = [min((fit.key for fit in fits), key=len) for fits in sets.values()]
    if len(keys) > 1:
        raise UserError(
            f"{file.path}: holds {len(keys)} sets of weights: {_listed_keys(keys)}; say which, as in "
            f"`weights: {{file: {shown(file.path.name)}, key: {shown(keys[-1])}}}`",
            *_averaged(keys),
        )
    (fits,) = sets.values()
    _refuse_several_heads(file, network, fits)
    return fits


def _below(file: File, whole: Sequence[_Fit], key: str) -> list[_Fit]:
    """The sets of weights of this key, or whose keys begin with it."""
    exact = [fit for fit in whole if fit.key == key]
    if fits := exact or [fit for fit in whole if fit.prefix.startswith(f"{key}.")]:
        return fits
    keys = list(dict.fromkeys(fit.key for fit in whole))
    raise UserError(
        f"{file.path}: `key: {shown(key)}` names no set of weights; the file holds these: "
        f"{_listed_keys(keys)}{nearest(key, keys)}"
    )


def _refuse_several_heads(file: File, network: Network, fits: Sequence[_Fit]) -> None:
    """The same layers may be saved under two names with a head of each."""
    heads: dict[str, dict[StoredTensor | OddTensor, str]] = defaultdict(dict)
    for fit in fits:
        weight = _weight(fit.head(network))
        if weight in file.tensors:
            heads[fit.scheme.owner].setdefault(file.tensors[weight], weight)
    for by_tensor in heads.values():
        if len(by_tensor) > 1:
            raise UserError(
                f"{file.path}: holds the same layers under several names, with different heads: "
                f"{listed(by_tensor.values())}; say which by `key:`, or save the state dict of one"
            )


def _incomplete(network: Network, fits: Sequence[_Fit], whole: Sequence[_Fit]) -> list[_Fit]:
    """Behind which prefixes most of the network lies once more, as an average of its parameters alone."""
    names_of_whole = {name for fit in whole for name in fit.names.values()}
    return [
        fit
        for fit in fits
        if len(fit.names) > _MOSTLY * len(network.shapes) and names_of_whole.isdisjoint(fit.names.values())
    ]


def _is_same(file: File, network: Network, fit: _Fit, other: _Fit) -> bool:
    """Whether two sets are the same numbers under two names, the layer of the logits included."""
    tensors, others = (
        {name: file.tensors.get(given) for name, given in each.names.items()}
        | {network.logits: file.tensors.get(_weight(each.head(network)))}
        for each in (fit, other)
    )
    return tensors == others


def _without_other_sets(file: File, network: Network, others: Sequence[_Fit], chosen: Sequence[_Fit]) -> File:
    """The file as if it held one set of weights: the others are no parts of this one."""
    apart = tuple(
        fit.prefix for fit in others if not any(of_chosen.prefix.startswith(fit.prefix) for of_chosen in chosen)
    )
    names = {name for fit in others for name in fit.all_names(network)}
    names -= {name for fit in chosen for name in fit.all_names(network)}
    tensors = {
        name: tensor for name, tensor in file.tensors.items() if name not in names and not name.startswith(apart)
    }
    return replace(file, tensors=tensors)


def _listed_keys(keys: Iterable[str]) -> str:
    return listed((key or '"" (without a prefix)' for key in keys), _MOST_LISTED)


def _averaged(keys: Iterable[str]) -> Iterator[str]:
    if any(re.search(r"ema|averag|swa|shadow|teacher", key, re.IGNORECASE) for key in keys):
        yield (
            "  one of them looks like a moving average of the weights (EMA), which code that saves both usually "
            "evaluates"
        )


# ------------------------------------------------------------------------------------ the layer of the logits
def _with_head(
    file: File, network: Network, fits: Sequence[_Fit], architecture: str, looks_like: Callable[[], str | None]
) -> tuple[_Fit, _Head, bool]:
    """The fit whose scheme has its head where the file has one; else the simplest one with the only head there is."""
    by_prefix = sorted(fits, key=lambda fit: len(fit.prefix))
    for fit in by_prefix:
        for layer in _layers_at(file, fit.head(network)):
            if (head := _head(file, network, layer)) is not None:
                return fit, head, True
    simplest = by_prefix[-1]
    usual = simplest.head(network)
    used = {*simplest.names.values(), _weight(usual)}
    # A head of the task that a network was trained for before may stay beside another one, of another name.
    shape = file.shape(_weight(usual)) if _weight(usual) in file.tensors else (_MANY_CLASSES,)
    for root in _roots(simplest.prefix) if shape[:1] >= (_MANY_CLASSES,) else ():
        near = [name for name in file.tensors if name.startswith(root) and name not in used]
        if heads := _heads(file, network, simplest, near):
            _refuse_several(file, heads)
            return simplest, heads[0], False
    raise _refused(file, simplest, architecture, looks_like(), _no_head(file, network, usual))


def _heads(file: File, network: Network, fit: _Fit, names: Iterable[str]) -> list[_Head]:
    """The layers among these names that could write the logits; what only training computes with could not."""
    weights = [name for name in names if _ends_in(name, "weight") and not _is_of_training(fit, name)]
    # Of tied ones the first will do.
    first = {file.tensors[name] if _is_tied(file.tensors[name]) else name: name for name in reversed(weights)}
    layers = [name.removesuffix("weight").removesuffix(".") for name in weights if name in first.values()]
    return [head for layer in layers if (head := _head(file, network, layer)) is not None]


def _refuse_several(file: File, heads: Sequence[_Head]) -> None:
    if len(heads) > 1:
        raise UserError(
            f"{file.path}: {len(heads)} layers could write the logits: {listed(head.layer for head in heads)}; "
            "save the state dict without those that do not"
        )


def _layers_at(file: File, name: str) -> Iterator[str]:
    """The layer itself, or the one with weights in a sequence that took its place, as in `_fc.1`."""
    yield name
    below = f"{name}."
    inner = {layer.rpartition(".")[0] for layer in file.tensors if layer.startswith(below)}
    if len(inner) == 1 and re.fullmatch(r"\d+", (only := inner.pop()).removeprefix(below)):
        yield only


def _weight(layer: str) -> str:
    return f"{layer}.weight" if layer else "weight"


def _ends_in(name: str, leaf: str) -> bool:
    return name == leaf or name.endswith(f".{leaf}")


def _head(file: File, network: Network, layer: str) -> _Head | None:
    """A linear layer of one or two logits over the network's features; None where the layer is none."""
    weight, bias = _weight(layer), f"{_weight(layer).removesuffix('weight')}bias"
    shape = file.shape(weight) if weight in file.tensors else ()
    # A convolution of one position is a linear layer too.
    if len(shape) not in (2, 4) or shape[0] not in (1, 2) or shape[1:] not in ((network.features,), _flat(network)):
        return None
    if bias in file.tensors and file.shape(bias) != (shape[0],):
        return None
    return _Head(layer, weight, bias if bias in file.tensors else None, shape[0])


def _flat(network: Network) -> tuple[int, ...]:
    return network.features, 1, 1


def _roots(prefix: str) -> Iterator[str]:
    """The prefix, then with one part less at its end each time."""
    yield prefix
    while prefix:
        prefix = prefix[: prefix[:-1].rfind(".") + 1]
        yield prefix


def _no_head(file: File, network: Network, usual: str) -> dict[str, list[str]]:
    """What stands where the logits should come from."""
    expected = f"expected [2, {network.features}], or [1, {network.features}] with `positive:`"
    below = sorted(name for name in file.tensors if name.startswith(f"{usual}.") and not is_counter(name))
    if _weight(usual) in below:
        shape = list(file.shape(_weight(usual)))
        return {"of another shape": [f"{_weight(usual)} is {shape}, {expected}"]}
    if below:
        return {"several layers where one is expected": [f"{name} {list(file.shape(name))}" for name in below]}
    return {"missing": [f"{_weight(usual)}, {expected}"]}


# ------------------------------------------------------------------------------------ what else there is
def _problems(file: File, network: Network, fit: _Fit, head: _Head) -> dict[str, list[str]]:
    """What is wrong with tensors that have the right names, and what the file has more of the same network."""
    return {
        title: names
        for title, names in {
            "left over": _left_over(file, network, fit, {*fit.names.values(), head.weight, head.bias}),
            "of another shape": [
                f"{name} is {list(file.shape(name))}, expected {list(network.shapes[tensor])}"
                for tensor, name in fit.names.items()
                if isinstance(file.tensors[name], StoredTensor) and file.shape(name) != network.shapes[tensor]
            ],
            "layers beside the one that writes the logits": _beside(file, fit, head),
        }.items()
        if names
    }


def _left_over(file: File, network: Network, fit: _Fit, used: set[str | None]) -> list[str]:
    """What the file has more than the network where this has its layers: further blocks, as of a larger one."""
    renamed = [fit.scheme.rename(name) for name in network.shapes]
    shared = takewhile(lambda words: len(set(words)) == 1, zip(*(name.split(".") for name in renamed), strict=False))
    root = "".join(f"{words[0]}." for words in shared)
    parts = {name[len(root) :].partition(".")[0] for name in renamed}
    numbered = any(part.isdigit() for part in parts)
    head = fit.head(network)
    left_over = []
    for name in file.tensors:
        if name in used or is_counter(name) or _is_unused(fit, name):
            continue
        if name.startswith(fit.prefix + root):
            part = name[len(fit.prefix + root) :].partition(".")[0]
            if (part in parts or (numbered and part.isdigit())) and not name.startswith(f"{head}."):
                left_over.append(name)
    return left_over


def _beside(file: File, fit: _Fit, head: _Head) -> list[str]:
    """Tensors in the same part as the layer of the logits, apart from the network: what that computes is more."""
    if not head.weight:
        return []
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
        if name in network or is_counter(name) or _is_unused(fit, name):
            continue
        if name.startswith(f"{part}.") or in_sequence:
            others.append(name)
    return others


def _refuse_unknown(file: File, fit: _Fit, rest: Sequence[str], architecture: str) -> None:
    for start, meaning in fit.scheme.unknown:
        if layers := [name for name in rest if name.startswith(fit.prefix + start)]:
            raise UserError(
                f"{file.path}: {shown(layers[0])} is {meaning}, which bench's {architecture} does not compute, so its "
                "scores would be others; `bench score` judges scores that your own code gave"
            )


def _is_harmless(file: File, network: Network, fit: _Fit, name: str) -> bool:
    """Whether a tensor that is left over is known to take no part: of training, of an unused head, or by the scheme."""
    if _is_of_training(fit, name) or _is_unused(fit, name):
        return True
    usual = fit.head(network)
    shape = file.shape(_weight(usual)) if _weight(usual) in file.tensors else ()
    return name in (f"{usual}.weight", f"{usual}.bias") and shape[:1] >= (_MANY_CLASSES,)


def _is_unused(fit: _Fit, name: str) -> bool:
    """Whether the scheme's code has this in its files and never uses it."""
    return any(name.startswith(fit.prefix + start) for start in fit.scheme.unused)


def _is_of_training(fit: _Fit, name: str) -> bool:
    """By a part of its name behind what it has in common with the network's: a wrapper may be called anything."""
    words, prefix = name.split("."), fit.prefix.split(".")
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, prefix, strict=False)))
    return any(_OF_TRAINING.fullmatch(word) for word in words[shared:])


def _is_tied(tensor: StoredTensor | OddTensor) -> bool:
    """Whether an equal description means the same numbers: nothing is told by none."""
    return isinstance(tensor, StoredTensor) and tensor.numel > 0


def _of_optimizer(file: File, name: str) -> bool:
    """By a dictionary that it lies in; layers of a network may be called so too."""
    return any(_OF_OPTIMIZER.fullmatch(word) for word in file.folders[name].split("."))


# ------------------------------------------------------------------------------------ messages
def _misfit(
    file: File,
    network: Network,
    schemes: Sequence[Scheme],
    fits: Sequence[_Fit],
    conventions: Conventions,
    architecture: str,
    looks_like: Callable[[], str | None],
) -> UserError:
    """Why no set of weights is whole: what the nearest scheme lacks, in the names of the file."""
    key = conventions.key
    asked = [fit for fit in fits if key is None or fit.prefix.startswith(f"{key}.")] or fits
    nearest_fit = max(asked, key=lambda fit: len(fit.names), default=None)
    if nearest_fit is None or len(nearest_fit.names) < _ALIKE * len(network.shapes):
        return _of_no_scheme(file, network, schemes, architecture, looks_like())
    lacking = network.shapes.keys() - nearest_fit.names.keys()
    missing = sorted(nearest_fit.prefix + nearest_fit.scheme.rename(name) for name in lacking)
    head = _Head("", "", None, 0)
    problems = {"missing": missing, **_problems(file, network, nearest_fit, head)}
    return _refused(file, nearest_fit, architecture, looks_like(), problems)


def _refused(
    file: File, fit: _Fit, architecture: str, looks_like: str | None, problems: Mapping[str, Sequence[str]]
) -> UserError:
    """That a set of weights does not fit, with all that is wrong, by title."""
    behind = f" behind `{shown(fit.key)}`" if fit.key else ""
    lines = [f"{title} ({len(names)}): {listed(names, _MOST_LISTED)}" for title, names in problems.items() if names]
    return _not_fitting(
        file, architecture, f"names are those of {fit.scheme.owner}{behind}", *_hint(looks_like), *lines
    )


def _of_no_scheme(
    file: File, network: Network, schemes: Sequence[Scheme], architecture: str, looks_like: str | None
) -> UserError:
    """That no names are those of any scheme, with some of the file and of each scheme."""
    first = next(iter(network.shapes), "")
    examples = "; ".join(f"{scheme.owner}'s, such as {scheme.rename(first)}" for scheme in schemes)
    content = f"it holds {len(file.tensors)} tensors, such as {listed(sorted(file.tensors), 4)}"
    return _not_fitting(
        file, architecture, content, f"names that would fit, behind any prefix: {examples}", *_hint(looks_like)
    )


def _hint(looks_like: str | None) -> list[str]:
    return [f"they look like {looks_like}: set `architecture: {looks_like}`"] if looks_like else []


def _not_fitting(file: File, architecture: str, *lines: str) -> UserError:
    return UserError(f"{file.path}: these weights do not fit {architecture}", *(f"  {line}" for line in lines))
