"""What stands in a weights file, and which of its names are those of a network by a project's scheme."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.detectors.weights.labels import Stated
from bench.detectors.weights.schemes import Scheme, Shapes
from bench.detectors.weights.stored_tensors import OddTensor, StoredTensor

# Prefixes of more parts are nobody's.
_MOST_PARTS = 30
# What PyTorch's wrappers of a part (torch.compile, DataParallel, checkpointing, FSDP) put before the names in it.
WRAPPERS = frozenset({"_orig_mod", "module", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"})


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
    """What a weights file holds: its tensors by name, wrappers included, and the dictionary that each lies in.

    `stated` is what other entries say of the two classes.
    """

    path: Path
    tensors: Mapping[str, StoredTensor | OddTensor]
    folders: Mapping[str, str]
    stated: tuple[Stated, ...] = ()

    def shape(self, name: str) -> tuple[int, ...]:
        """Empty for what is no plain tensor; reading it says so."""
        tensor = self.tensors[name]
        return tensor.shape if isinstance(tensor, StoredTensor) else ()


@dataclass(frozen=True)
class Fit:
    """Names of a file that are those of a scheme behind a prefix, by the detector's.

    `network` has the tensors that files of this scheme hold, in the shapes that they have there. `flat` are those of
    pointwise convolutions that the file holds as matrices, [out, in] for [out, in, 1, 1].
    """

    scheme: Scheme
    network: Network
    prefix: str
    names: dict[str, str]
    flat: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        return self.prefix.removesuffix(".")

    @property
    def is_whole(self) -> bool:
        """Whether the file has a tensor for each of the network's."""
        return len(self.names) == len(self.network.shapes)

    @property
    def head(self) -> str:
        """Where the scheme's own code has the layer of the logits."""
        return self.prefix + (self.scheme.head or self.scheme.rename(self.network.logits))

    @property
    def all_names(self) -> set[str]:
        """The network's tensors in the file, with those of that layer, where they are."""
        return {*self.names.values(), f"{self.head}.weight", f"{self.head}.bias"}


@dataclass(frozen=True)
class LogitLayer:
    """The layer that writes the logits, by its names in a file; there may be no bias."""

    layer: str
    weight: str
    bias: str | None
    rows: int


def is_counter(name: str) -> bool:
    """Batch norms count the batches they have seen, which nothing reads."""
    return name.endswith("num_batches_tracked")


def fits(file: File, network: Network, scheme: Scheme) -> list[Fit]:
    """For each prefix behind which a name of the scheme stands, all that do.

    What a scheme has in front of all its names is an attribute of that code, and no dictionary of whoever saved them.
    Only where not all names stand anywhere, those count that parts have which were taken out of a network.
    """
    every = _fits(file, network, scheme)
    rename, apart = scheme.rename, scheme.apart
    if apart is None or any(fit.is_whole for fit in every):
        return every
    return [*every, *_fits(file, network, replace(scheme, rename=lambda name: apart(rename(name)), apart=None))]


def _fits(file: File, network: Network, scheme: Scheme) -> list[Fit]:
    """For each prefix behind which a name of the scheme stands, all that do."""
    network = replace(network, shapes=scheme.stored(network.shapes))
    # A network may itself call a part what wrappers are called (iFormer's `module`).
    by_renamed = {unwrapped(scheme.rename(name)): name for name in network.shapes}
    leaves = {name.rpartition(".")[2] for name in by_renamed}
    longest = max(map(len, by_renamed), default=0)
    by_prefix: dict[str, dict[str, str]] = defaultdict(dict)
    for name in file.tensors:
        if name[name.rfind(".") + 1 :] not in leaves:
            continue
        for start, end_of_name in _ends(name, longest):
            tensor = by_renamed.get(end_of_name)
            if tensor is not None and start >= len(file.folders[name]) and name.count(".", 0, start) <= _MOST_PARTS:
                by_prefix[name[:start]][tensor] = name
    return [_fit(file, network, scheme, prefix, names) for prefix, names in by_prefix.items()]


def _fit(file: File, network: Network, scheme: Scheme, prefix: str, names: dict[str, str]) -> Fit:
    """With matrices in the place of pointwise convolutions, where a file has these, as Cadene's Xception does."""
    shapes = network.shapes
    flat = {
        tensor: shapes[tensor][:2]
        for tensor, name in names.items()
        if shapes[tensor][2:] == (1, 1) and file.shape(name) == shapes[tensor][:2]
    }
    if flat:
        network = replace(network, shapes={**shapes, **flat})
    return Fit(scheme, network, prefix, names, frozenset(flat))


def unwrapped(name: str) -> str:
    """A name without what PyTorch's wrappers of parts of a network have put into it."""
    parts = name.split(".")
    return name if WRAPPERS.isdisjoint(parts) else ".".join(part for part in parts if part not in WRAPPERS)


def _ends(name: str, longest: int) -> Iterator[tuple[int, str]]:
    """Where a name of at most so many characters can begin in a longer one, and what it is there, unwrapped."""
    end, end_of_name = len(name), ""
    while end >= 0:
        start = name.rfind(".", 0, end) + 1
        part, end = name[start:end], start - 1
        if part in WRAPPERS:
            continue
        end_of_name = f"{part}.{end_of_name}" if end_of_name else part
        if len(end_of_name) > longest:
            return
        yield start, end_of_name


def weight_of(layer: str) -> str:
    """The name of a layer's weights."""
    return f"{layer}.weight" if layer else "weight"


def is_tied(tensor: StoredTensor | OddTensor) -> bool:
    """Whether an equal description means the same numbers: nothing is told by none."""
    return isinstance(tensor, StoredTensor) and tensor.numel > 0
