"""Which tensors of a weights file are those of a network: by names and shapes, before any number is read.

Names may stand behind any wrappers and prefixes. A file may hold other things beside the network, and several sets of
its weights: then its owner says which.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.detectors.weights.fits import File, Fit, Network, fits, is_counter, is_tied
from bench.detectors.weights.leftovers import is_harmless, is_of_optimizer, problems_of, refuse_unknown
from bench.detectors.weights.logit_layer import logit_layers, refuse_several, with_logit_layer
from bench.detectors.weights.misfits import misfit, refused
from bench.detectors.weights.schemes import Scheme
from bench.detectors.weights.sets import chosen, copies_by_shape, incomplete, is_same, without_other_sets
from bench.records import Conventions


@dataclass(frozen=True)
class Match:
    """A network's tensors in a file: the file's name by the detector's. `prefix` stands before the scheme's names.

    `weight` and `bias` belong to the layer `head`, which writes `rows` logits; there may be no bias. `is_usual` tells
    whether the scheme's own code has its head there. `left_out` and `suspicious` are of no part of the network; the
    latter could be something that it computes with. `other_sets` are prefixes of further weights of the same network,
    whole or not. `flat` are the detector's names of pointwise convolutions that the file holds as matrices.
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
    flat: frozenset[str] = frozenset()


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
    every = [fit for scheme in schemes for fit in fits(file, network, scheme)]
    whole = [fit for fit in every if fit.is_whole]
    if not whole:
        raise misfit(file, network, schemes, every, conventions, architecture, looks_like)
    asked = chosen(file, whole, incomplete(every, whole), conventions)
    others = [fit for fit in whole if fit not in asked]
    others += incomplete(every, [*asked, *others])
    whole_file, file = file, without_other_sets(file, others, asked)
    fit, head, is_usual = with_logit_layer(file, asked, architecture, looks_like)
    problems = problems_of(file, fit, head)
    if problems:
        raise refused(file, fit, architecture, looks_like(), problems)
    rest = _not_used(file, {*fit.names.values(), head.weight, *([head.bias] if head.bias else [])})
    copies = copies_by_shape(file, fit, rest)
    rest = [name for name in rest if not any(name in names for names in copies.values())]
    refuse_unknown(file, fit, rest, architecture)
    refuse_several(file, [head, *logit_layers(file, fit, rest)])
    return Match(
        fit.scheme, fit.prefix, fit.names, head.layer, head.weight, head.bias, head.rows, is_usual,
        left_out=tuple(rest),
        suspicious=tuple(name for name in rest if not is_harmless(file, fit, name)),
        other_sets=tuple(sorted({*_keys(other for other in others if not is_same(whole_file, other, fit)), *copies})),
        flat=fit.flat,
    )  # fmt: skip


def _not_used(file: File, used: Collection[str]) -> list[str]:
    """What a file has beside the tensors of a network, but for what optimizers go on with."""
    # Under another name too, the same numbers are the same layer.
    tied = {file.tensors[name] for name in used if is_tied(file.tensors[name])}
    return [
        name
        for name, tensor in file.tensors.items()
        if name not in used and tensor not in tied and not is_counter(name) and not is_of_optimizer(file, name)
    ]


def _keys(fits: Iterable[Fit]) -> Iterable[str]:
    """What stands before each set of tensors: the shortest, where the names are those of several schemes."""
    keys: dict[frozenset[str], str] = {}
    for fit in fits:
        names = frozenset(fit.names.values())
        keys[names] = min(keys.get(names, fit.key), fit.key, key=len)
    return keys.values()


def holds_all(file: File, network: Network, schemes: Sequence[Scheme]) -> bool:
    """Whether a file holds a network and no larger one, in its shapes, under the names of any scheme."""
    every = (fit for scheme in schemes for fit in fits(file, network, scheme))
    return any(fit.is_whole and not problems_of(file, fit, None) for fit in every)
