"""How a project's code names the tensors of a network in its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.records import ClassName


@dataclass(frozen=True)
class Scheme:
    """The names of one project's checkpoints.

    `rename` turns the name of a tensor or layer of the detector, such as `backbone.conv_stem.weight`, into that in
    such files. `head` is the layer of such files that writes the logits, where `rename` does not tell. `flavour` is the
    arithmetic of that project's code, None where its names do not tell; `positive` is what a single logit of it speaks
    for. `unused` are beginnings of names that such files hold and their code never uses; `unknown` are those of layers
    that some of these networks have and `bench` does not compute, with what they are.
    """

    owner: str
    rename: Callable[[str], str]
    head: str = ""
    flavour: str | None = None
    positive: ClassName | None = None
    unused: tuple[str, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()
