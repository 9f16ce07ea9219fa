"""Names in `experiments.yaml` that stand for nothing, and gates on what nobody asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.ensemble_settings import MixSettings
from bench.errors import Keys, listed, nearest, quoted
from bench.folder_names import checked_list
from bench.results.limits import AGAINST_BASELINE, GateSettings

if TYPE_CHECKING:
    from bench.experiment import Experiments, ExperimentSettings


def of_ensembles(experiments: Experiments) -> Iterator[tuple[Keys, str]]:
    """Members of ensembles that are no networks, with their keys below `detectors:`."""
    networks, ensembles = tuple(experiments.networks), experiments.ensembles
    for name, ensemble in ensembles.items():
        for member in ensemble.members:
            keys = (name, "ensemble", member) if ensemble.weights is None else (name, "ensemble")
            if member in ensembles:
                yield (
                    keys,
                    f"{quoted(member)} is an ensemble itself; name its members: {listed(ensembles[member].members)}",
                )
            elif member not in networks:
                yield keys, f"there is no {quoted(member)} under `detectors:`{nearest(member, networks)}"


def of_trainings(experiments: Experiments) -> Iterator[tuple[Keys, str]]:
    """Frame sets of trainings that nobody described, with their keys below `trainings:`."""
    for name, training in experiments.trainings.items():
        for frame_set in training.frames:
            if frame_set not in experiments.datasets:
                hint = nearest(frame_set, experiments.datasets)
                yield (name, "frames"), f"there is no {quoted(frame_set)} under `datasets:`{hint}"


def dangling(experiments: Experiments) -> Iterator[tuple[Keys, str]]:
    """Names that stand for nothing, with their keys below `experiments:`."""
    for name, experiment in experiments.experiments.items():
        several = "detectors" if experiment.detectors else "detector"
        for key, names_given, section, names in (
            (several, experiment.given_names, "detectors", tuple(experiments.detectors)),
            ("frames", experiment.frame_sets, "datasets", tuple(experiments.datasets)),
            ("build_frames", filter(None, [experiment.build_frames]), "datasets", tuple(experiments.datasets)),
        ):
            for name_given in names_given:
                if name_given not in names:
                    yield (
                        (name, key),
                        f"there is no {quoted(name_given)} under `{section}:`{nearest(name_given, names)}",
                    )
    for name, experiment in experiments.experiments.items():
        if not set(experiment.given_names) <= set(experiments.detectors):
            continue
        if experiment.ensembles:
            yield from (((name, several), wrong) for wrong in _equal_folders(experiment))
        yield from (((name, "variants", *keys), wrong) for keys, wrong in _wrong_variants(experiment))
        yield from (((name, "variants", *keys), wrong) for keys, wrong in _wrong_mixes(experiment))
        yield from (((name, "gates", *keys), wrong) for keys, wrong in _wrong_gates(experiment))


def _wrong_variants(experiment: ExperimentSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys below `variants:` that name a detector, and what is wrong there."""
    names = experiment.detector_names
    for key in experiment.variants:
        detector, slash, variant = key.rpartition("/")
        alike = [other for other in experiment.variants if other.casefold() == variant.casefold() and other != variant]
        if slash and not experiment.is_side_by_side:
            yield (
                (key,),
                f"{quoted(key)} cannot be a name: with a slash it is a variant of one of several detectors, and the "
                f"experiment has one; write `{variant}:`",
            )
        elif slash and detector not in names:
            hint = nearest(detector, names)
            yield (key,), f"{quoted(detector)} is none of its detectors{hint}; these are: {', '.join(names)}"
        elif slash and alike:
            yield (key,), f"differs from {quoted(alike[0])} in case only, which not every file system tells"


def _equal_folders(experiment: ExperimentSettings) -> Iterator[str]:
    """Why ensembles and members cannot lie beside each other, where they cannot."""
    try:
        checked_list(experiment.detector_names, "detector", "")
    except ValueError as error:
        yield str(error)


def _wrong_mixes(experiment: ExperimentSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys below `variants:` of ensembles' variants, and what is wrong there."""
    for key, variant in experiment.variants.items():
        detector, slash, name = key.rpartition("/")
        if not isinstance(variant, MixSettings):
            if detector in experiment.ensembles:
                yield (
                    (key,),
                    f"{quoted(detector)} is an ensemble: write `{name}:` for every member that allows it, or "
                    f"`{{members: …}}` to say which variant of each",
                )
            elif not slash:
                yield from (((key,), wrong) for wrong in _allowed_by_none(experiment, key))
            continue
        ensembles = [detector] if slash else list(experiment.ensembles)
        if not set(ensembles) & set(experiment.ensembles):
            whose = f"{quoted(detector)} is none" if slash else "the experiment has none"
            yield (key,), f"`members` are those of an ensemble, and {whose}"
        for ensemble in ensembles:
            yield from (((key, *keys), wrong) for keys, wrong in _wrong_mix(experiment, ensemble, variant))


def _allowed_by_none(experiment: ExperimentSettings, variant: str) -> Iterator[str]:
    """That no member of an ensemble allows a chain of all."""
    for ensemble in experiment.ensembles:
        members = experiment.members_of(ensemble)
        if all(variant in experiment.refused_by(member) for member in members):
            yield f"no member of {ensemble} allows this chain: {listed(members)}"


def _wrong_mix(
    experiment: ExperimentSettings, ensemble: str, mix: MixSettings
) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with a mix of an ensemble's members, with its keys below the variant."""
    members = experiment.members_of(ensemble)
    for name in (*mix.members, *mix.without):
        keys = ("members", name) if name in mix.members else ("without",)
        if members and name not in members:
            hint = nearest(name, members)
            yield keys, f"{quoted(name)} is no member of {ensemble}{hint}; members are: {', '.join(members)}"
    for name, variant in mix.members.items():
        variants = tuple(experiment.of(name).variants) if name in members else (variant,)
        if variant not in variants:
            hint = nearest(variant, variants)
            yield ("members", name), f"{name} has no variant {quoted(variant)}{hint}; it has: {', '.join(variants)}"
    minimum = experiment.ensembles[ensemble].minimum if members else 0
    if members and len(members) - len(mix.without) < max(1, minimum):
        yield ("without",), f"leaves fewer members than {ensemble} needs (`minimum: {minimum}`)"


def _wrong_gates(experiment: ExperimentSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys below `gates:` and what is wrong there: who is not a variant, what the baseline cannot be asked."""
    titles = experiment.titles
    variants = tuple(dict.fromkeys([*(variant for _, variant in titles.values()), *titles]))
    names = (*variants, "all")
    for name, gates in experiment.gates.items():
        if "robustness_drop" in gates.limits and experiment.robustness is None:
            yield (
                (name, "robustness_drop"),
                "nothing is judged under re-compression; add `robustness:` to the experiment, such as {jpeg: [50]}",
            )
        if "group_gap" in gates.limits and not experiment.groups:
            yield (
                (name, "group_gap"),
                "no groups are compared; add `groups:` to the experiment, the name of a manifest's column",
            )
        if name not in names:
            yield (
                (name,),
                f"there is no variant {quoted(name)}{nearest(name, names)}; expected one of: {', '.join(names)}",
            )
        elif name == "all" and name in variants:
            yield (name,), "`all` means every variant, and a variant is called so too; rename that"
        elif not gates.limits and (name == "all" or "all" not in experiment.gates):
            yield (name,), f"`strict` alone is no gate; gates are: {', '.join(GateSettings.gate_names())}"
        elif name.rpartition("/")[2] == experiment.baseline:
            for gate in AGAINST_BASELINE:
                if gate in gates.limits:
                    yield (
                        (name, gate),
                        "would compare the baseline with itself; set it for `all` or for another variant, "
                        "or use auc, recall, fpr or size_mib here",
                    )
