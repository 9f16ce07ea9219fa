"""Why weights do not fit a network: what lacks, in the names of the file, and what it looks like instead."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from bench.detectors.weights.fits import File, Fit, Network
from bench.detectors.weights.huggingface_names import other_network
from bench.detectors.weights.leftovers import problems_of
from bench.detectors.weights.schemes import Scheme
from bench.errors import UserError, counted, listed, shown
from bench.records import Conventions

# Of a network's tensors, the least that a file must hold before its names count as those of a scheme.
_ALIKE = 0.1
_MOST_LISTED = 6
_TOKENS = (1, 0, 2, 5)
"""How many tokens stand before those of patches: a class token, none, one of distillation too, registers."""
# What libraries make of a layer's weights, by the end of the names, and how the plain ones come back.
_REMADE = (
    (r"weight_mask", "weights and a mask of pruning", "torch.nn.utils.prune.remove(layer, 'weight')"),
    (r"weight_u|parametrizations\.weight\.0\._u", "weights under spectral norm",
     "torch.nn.utils.remove_spectral_norm(layer)"),
    (r"weight_[gv]|parametrizations\.weight\.original[01]", "weights as a norm and a direction (weight norm)",
     "torch.nn.utils.remove_weight_norm(layer) or parametrize.remove_parametrizations(layer, 'weight')"),
    (r"lora_[AB](\.\w+)*\.weight|base_layer\.weight", "adapters (LoRA) beside the weights", "model.merge_and_unload()"),
    (r"(weight_fake_quant|activation_post_process)\.\w+", "observers of quantisation",
     "torch.ao.quantization is taken out, or of the network before it"),
)  # fmt: skip


def misfit(
    file: File,
    network: Network,
    schemes: Sequence[Scheme],
    fits: Sequence[Fit],
    conventions: Conventions,
    architecture: str,
    looks_like: Callable[[], str | None],
) -> UserError:
    """Why no set of weights is whole: what the nearest scheme lacks, in the names of the file."""
    key = conventions.key
    asked = [fit for fit in fits if key is None or fit.prefix.startswith(f"{key}.")] or fits
    nearest_fit = max(asked, key=lambda fit: len(fit.names), default=None)
    if nearest_fit is None or len(nearest_fit.names) < _ALIKE * len(nearest_fit.network.shapes):
        return _of_no_scheme(file, network, schemes, architecture, looks_like())
    lacking = nearest_fit.network.shapes.keys() - nearest_fit.names.keys()
    missing = sorted(nearest_fit.prefix + nearest_fit.scheme.rename(name) for name in lacking)
    problems = {"missing": missing, **problems_of(file, nearest_fit, None)}
    return refused(file, nearest_fit, architecture, looks_like(), problems)


def refused(
    file: File, fit: Fit, architecture: str, looks_like: str | None, problems: Mapping[str, Sequence[str]]
) -> UserError:
    """That a set of weights does not fit, with all that is wrong, by title."""
    behind = f" behind `{shown(fit.key)}`" if fit.key else ""
    lines = [f"{title} ({len(names)}): {listed(names, _MOST_LISTED)}" for title, names in problems.items() if names]
    hints = (*_hint(looks_like), *_of_other_size(file, fit), *_of_transformers(file), *_plain_again(file))
    return _not_fitting(file, architecture, f"names are those of {fit.scheme.owner}{behind}", *hints, *lines)


def _of_no_scheme(
    file: File, network: Network, schemes: Sequence[Scheme], architecture: str, looks_like: str | None
) -> UserError:
    """That no names are those of any scheme, with some of the file and of each scheme."""
    examples = "; ".join(f"{scheme.owner}'s, such as {_example(scheme, network)}" for scheme in schemes)
    content = f"it holds {counted(len(file.tensors), 'tensor')}, such as {listed(sorted(file.tensors), 4)}"
    hints = (*_hint(looks_like), *_of_transformers(file))
    return _not_fitting(file, architecture, content, f"names that would fit, behind any prefix: {examples}", *hints)


def _example(scheme: Scheme, network: Network) -> str:
    return scheme.rename(next(iter(scheme.stored(network.shapes)), ""))


def _hint(looks_like: str | None) -> list[str]:
    return [f"they look like {looks_like}: set `architecture: {looks_like}`"] if looks_like else []


def _of_other_size(file: File, fit: Fit) -> list[str]:
    """The size of frames that a vision transformer's positions are for, where that alone is another one."""
    positions, patches = (fit.names.get(f"backbone.{name}") for name in ("pos_embed", "patch_embed.proj.weight"))
    if positions is None or patches is None:
        return []
    expected, stored, patch = fit.network.shapes["backbone.pos_embed"], file.shape(positions), file.shape(patches)[-1:]
    if len(stored) != 3 or stored[::2] != expected[::2] or stored == expected or not patch:
        return []
    for others in _TOKENS:
        sides = [math.isqrt(max(shape[1] - others, 0)) for shape in (expected, stored)]
        if all(side**2 + others == shape[1] for side, shape in zip(sides, (expected, stored), strict=True)):
            size = sides[1] * patch[0]
            return [f"its positions are for frames of {size} px: set `size: {size}`"]
    return []


def _of_transformers(file: File) -> list[str]:
    """What is to be done about a network of transformers that bench does not read."""
    if (title := other_network(file.tensors)) == "":
        return []
    return [
        f"names are those of transformers' {title}, of which bench reads ViT and SigLIP alone: export it to ONNX and "
        "set `architecture: onnx`, or let `bench score` judge the scores that it gives"
    ]


def _plain_again(file: File) -> list[str]:
    """What is to be done about weights that a library keeps in another form."""
    for pattern, form, remedy in _REMADE:
        if any(re.search(rf"\.({pattern})$", name) for name in file.tensors):
            return [f"it holds {form}: save the state dict after {remedy}"]
    return []


def _not_fitting(file: File, architecture: str, *lines: str) -> UserError:
    return UserError(f"{file.path}: these weights do not fit {architecture}", *(f"  {line}" for line in lines))
