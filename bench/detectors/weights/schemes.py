"""How a project's code names the tensors of a network in its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.records import ClassName

if TYPE_CHECKING:
    from torch import Tensor

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


def _as_they_are(shapes: Shapes) -> Shapes:
    return shapes


def _unchanged(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return tensors


@dataclass(frozen=True)
class Scheme:
    """The names of one project's checkpoints.

    `rename` turns the name of a tensor or layer of the detector, such as `backbone.conv_stem.weight`, into that in
    such files. `head` is the layer of such files that writes the logits, where `rename` does not tell. `flavour` is the
    arithmetic of that project's code, told by `flavour_by`; None where nothing tells it. `positive` is what the single
    logit speaks for that all networks of that code have, which counts for the architectures that were `published`:
    others may have such names by chance. With `asks_classes` each owner decides which of two logits is which. `unused`
    are beginnings of names that such files hold and their code never uses, and `constants` last parts of names of what
    follows from a network's shape; `unknown` are beginnings of those of layers that some of these networks have and
    `bench` does not compute, with what they are.
    Frames whose side is no multiple of `side_step` pixels are computed otherwise by that code than by `bench`.

    `apart` turns a name in such files into that which it has where people took the parts of a network out of it, as
    `efficientnet.features` or the children of a ResNet.

    Where such files hold parts of which a network's tensors are made, `stored` turns the shapes of these into those of
    the parts, by names that `rename` takes, and `made` the parts into the network's tensors.
    """

    owner: str
    rename: Callable[[str], str]
    head: str = ""
    flavour: str | None = None
    flavour_by: str = "the names"
    positive: ClassName | None = None
    published: bool = True
    asks_classes: bool = False
    unused: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()
    side_step: int = 1
    apart: Callable[[str], str] | None = None
    stored: Callable[[Shapes], Shapes] = _as_they_are
    made: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = _unchanged
