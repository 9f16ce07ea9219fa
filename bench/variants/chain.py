"""Chains of steps: reading them from YAML, and what is wrong with their order and their frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bench.detectors import families
from bench.detectors.offers import meanings
from bench.errors import UserError, in_yaml, nearest, plain_yaml, problem_text, quoted
from bench.records import FrameSet, Split
from bench.variants.steps import Kind, Use, find, names


class EntryError(UserError):
    """What is wrong with one entry of a chain: `problems`, each with its keys below the entry."""

    def __init__(self, *problems: tuple[tuple[str, ...], str]) -> None:
        super().__init__(*(": ".join(filter(None, (".".join(keys), what))) for keys, what in problems))
        self.problems = problems


def kind_of(chain: Sequence[Use], start: Kind = "torch") -> Kind:
    """What kind of artifact a chain ends in that starts from a detector of a kind."""
    kind = start
    for use in chain if start == "torch" else ():
        kind = use.makes(kind)
    return kind


def parse(entry: object) -> Use:
    """Read one entry of a chain: `recover`, `prune: 0.5` or `recover: {steps: 200}`; else `EntryError`."""
    name, value = _name_and_value(entry)
    try:
        step = find(name)
    except UserError as error:
        raise EntryError(((name,), str(error))) from error
    if value is None or isinstance(value, dict):
        fields = value or {}
    elif step.MAIN is None:
        raise EntryError(((name,), f"has no main value; found {in_yaml(value)}"))
    else:
        fields = {step.MAIN: value}
    problems: list[tuple[tuple[str, ...], str]]
    problems = [((name, str(key)), _unknown(name, key)) for key in fields if key not in step.Settings.model_fields]
    given = {key: value for key, value in fields.items() if key in step.Settings.model_fields}
    try:
        settings = step.Settings.model_validate(given)
    except ValidationError as error:
        # A mistyped key is why another is missing.
        refused = (fault for fault in error.errors() if not (problems and fault["type"] == "missing"))
        problems += [_problem(name, fault) for fault in refused]
    if problems:
        raise EntryError(*problems)
    return Use(name, settings, name if value is None else f"{name}: {_spelled(value)}")


def _name_and_value(entry: object) -> tuple[str, object]:
    """The step's name, and what stands behind its colon; None where nothing does. Else `EntryError`."""
    if isinstance(entry, str):
        name, colon, value = entry.partition(":")
        if colon and name in names():
            raise EntryError(((), f"{quoted(entry)} lacks a space after the colon: write `{name}: {value.strip()}`"))
        return entry, None
    if isinstance(entry, dict) and len(entry) == 1:
        name, value = next(iter(entry.items()))
        return str(name), value
    comma = " (decimals take a point, not a comma)" if type(entry) is int else ""
    message = f"a step is a name or one `name: value`, such as `prune: 0.5`; found {in_yaml(entry)}"
    raise EntryError(((), f"{message[:400]}{comma}"))


def _unknown(name: str, key: object) -> str:
    if type(key) is int:
        return f"{key} is no setting (decimals take a point, not a comma)"
    keys = tuple(find(name).Settings.model_fields)
    return f"step {quoted(name)} has no setting {quoted(key)}{nearest(str(key), keys)}; it has: {', '.join(keys)}"


def _problem(name: str, problem: Any) -> tuple[tuple[str, ...], str]:
    """What pydantic finds wrong with a setting, with the setting's keys."""
    keys = (name, *map(str, problem["loc"]))
    if problem["type"] != "missing":
        return keys, problem_text(problem)
    step = find(name)
    example = getattr(step, "EXAMPLE", "…")
    return keys, f"needs a value{f', as in `{name}: {example}`' if keys[1:] == (step.MAIN,) else ''}"


def _spelled(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_spelled(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return value if _is_plain(value) else plain_yaml(value)
    return in_yaml(value)


def _is_plain(text: str) -> bool:
    """Whether YAML reads a text as it stands, also within braces; a glob that begins with a star it does not."""
    try:
        return bool(yaml.safe_load(f"{{it: {text}}}") == {"it": text})
    except yaml.YAMLError:
        return False


def order_problems(chain: Sequence[Use], start: Kind = "torch") -> Iterator[tuple[int, str]]:
    """Steps that make no sense after those before them, whatever the frames: their index in the chain, and why.

    `start` is the kind of the detector that the chain starts from.
    """
    kind = start
    before = "the detector"
    for index, use in enumerate(chain):
        if use.step.ACCEPTS is None:
            if len(chain) > 1:
                yield index, f"{use.text} is a whole variant, and its chain's only entry: leave the others out"
            return
        if index == 0 and start == "onnx":
            if why := use.why_not_onnx:
                yield index, f"{use.text} {why}"
                return
            before = use.text
            continue
        if not use.accepts(kind):
            # Further problems would follow from this one.
            yield index, f"{use.text} works on {use.step.ACCEPTS} models, but after {before} the model is {kind}"
            return
        if start == "onnx" and (why := use.why_not_onnx):
            yield index, f"{use.text} {why}"
            return
        if why := _why_not_after(use, chain[:index]):
            yield index, f"{use.text}{why}"
        kind, before = use.makes(kind), use.text


def _why_not_after(use: Use, earlier: Sequence[Use]) -> str | None:
    """The reason against a step after the earlier ones, by its own declarations."""
    names = {other.name for other in earlier}
    if getattr(use.step, "ONCE", False) and use.name in names:
        return f": a second {use.name} in one chain; leave one of them out"
    after: tuple[str, ...] = getattr(use.step, "AFTER", ())
    if after and not names & set(after):
        return f" has nothing to do where no {' or '.join(after)} came before; leave it out"
    why_not_after: Callable[[BaseModel, Sequence[Use]], str | None] | None = getattr(use.step, "why_not_after", None)
    why = why_not_after(use.settings, earlier) if why_not_after else None
    return f": {why}" if why else None


def offer_problems(chain: Sequence[Use], architecture: str) -> Iterator[tuple[int, str]]:
    """Steps that need what detectors of this architecture do not offer: the index of a step, and what it lacks."""
    offers = families.offers(architecture)
    if families.kind(architecture) == "onnx":
        return  # it has no layers to offer: `order_problems` says which steps work on a graph
    for index, use in enumerate(chain):
        if missing := use.needs - offers:
            yield (
                index,
                f"{use.text} needs of a detector {meanings(missing)}, and {architecture} has none; it offers "
                f"{meanings(offers) or 'nothing that a step could change'}: leave {use.name} out of this variant",
            )


def is_refused(chain: Sequence[Use], architecture: str) -> bool:
    """Whether a detector of this architecture does not allow a chain; not where nothing is known of that."""
    try:
        kind = families.kind(architecture)
        faults = order_problems(chain, kind) if kind == "onnx" else offer_problems(chain, architecture)
        return any(faults)
    except UserError:
        return False


def frame_problems(
    chain: Sequence[Use], frames: Mapping[Split, FrameSet], start: Kind = "torch"
) -> Iterator[tuple[int, str]]:
    """Steps of a chain whose frames are missing or too few: their index in the chain, and what is missing.

    `start` is the kind of the detector that the chain starts from.
    """
    for index, use in enumerate(chain):
        needed = use.frames(start)
        missing = [(split, purpose) for split, purpose in needed.items() if split not in frames]
        for split, purpose in missing:
            yield (
                index,
                f"{use.text} needs {split} frames ({purpose}), and the frame set has none: "
                f"give it a `{split}:` folder (labels not needed), or use `split: auto` with more sources",
            )
        if needed and not missing and hasattr(use.step, "check"):
            try:
                use.step.check(use.settings, frames)
            except UserError as error:
                yield index, str(error)
