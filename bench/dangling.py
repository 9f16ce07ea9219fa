"""Names in `experiments.yaml` that stand for nothing, and gates on what nobody asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.errors import Keys, nearest, quoted
from bench.results.limits import AGAINST_BASELINE, GateSettings

if TYPE_CHECKING:
    from bench.experiment import Experiments, ExperimentSettings


def dangling(experiments: Experiments) -> Iterator[tuple[Keys, str]]:
    """Names that stand for nothing, with their keys below `experiments:`."""
    for name, experiment in experiments.experiments.items():
        several = "detectors" if experiment.detectors else "detector"
        for key, names_given, section, names in (
            (several, experiment.detector_names, "detectors", tuple(experiments.detectors)),
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
        yield from (((name, "variants", *keys), wrong) for keys, wrong in _wrong_variants(experiment))
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
