"""`experiments.yaml` as frozen, validated models: everything that can be wrong with it is said at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from bench import yaml_file
from bench.dangling import dangling, of_ensembles, of_trainings
from bench.datasets.robustness_settings import RobustnessSettings
from bench.datasets.settings import FrameSetSettings
from bench.detector_settings import DetectorSettings
from bench.ensemble_settings import EnsembleSettings, MixSettings
from bench.errors import (
    DEVICES,
    Keys,
    UserError,
    as_value_error,
    in_yaml,
    nearest,
    no_device,
    quoted,
    refuse_together,
    shown,
)
from bench.folder_names import NAME, FrameSets, checked_list, checked_name, refuse_equal_folders
from bench.records import DEFAULT_THRESHOLD, ThresholdRule
from bench.results.groups import GroupColumns
from bench.results.limits import ChooseSettings, GateSettings, Margin, Number
from bench.results.threshold_settings import Threshold, ThresholdSettings
from bench.results.video_settings import VideoSettings
from bench.runtimes import find as find_runtime
from bench.tracking import Trackers
from bench.training_settings import TrainingSettings
from bench.variants.chain import EntryError, is_refused, order_problems, parse
from bench.variants.search_settings import SearchSettings
from bench.variants.steps import Use


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


Name = Annotated[str, BeforeValidator(checked_name)]


def _checked_variant(name: object) -> str:
    """A name, or "b5/q8" for a variant of one detector alone; otherwise `ValueError`."""
    if isinstance(name, str) and name.count("/") == 1 and all(map(NAME.fullmatch, name.split("/"))):
        return "/".join(map(checked_name, name.split("/")))
    return checked_name(name)


VariantName = Annotated[str, BeforeValidator(_checked_variant)]

_WITH_ORDER = "with order"


def _step(entry: object) -> Use:
    try:
        return parse(entry)
    except EntryError as error:
        raise _chain_error(error.problems) from error


def _in_order(chain: tuple[Use, ...], info: ValidationInfo) -> tuple[Use, ...]:
    problems = list(order_problems(chain)) if info.context == _WITH_ORDER else []
    if problems:
        raise _chain_error([((index,), problem) for index, problem in problems])
    return chain


def _chain_error(problems: Iterable[tuple[Keys, str]]) -> ValidationError:
    """What pydantic adds to the other problems of the file, each at its own keys."""
    return ValidationError.from_exception_data(
        "chain",
        [
            {"type": PydanticCustomError("said", "{said}", {"said": problem}), "loc": keys, "input": None}
            for keys, problem in problems
        ],
    )


Chain = Annotated[tuple[Annotated[Any, BeforeValidator(_step)], ...], AfterValidator(_in_order)]
"""The steps of a variant. Its order is looked at where the context is `_WITH_ORDER`."""

_CHAIN: TypeAdapter[tuple[Use, ...]] = TypeAdapter(Chain)


def _chain_or_search(variant: object, info: ValidationInfo) -> tuple[Use, ...] | SearchSettings | MixSettings:
    """The steps of a variant, the search that finds them, or the variants of an ensemble's members."""
    if isinstance(variant, dict) and variant.keys() & MixSettings.model_fields.keys():
        return MixSettings.model_validate(variant)
    if isinstance(variant, dict):
        return SearchSettings.model_validate(variant)
    return _CHAIN.validate_python(variant, context=info.context)


Variant = Annotated[
    tuple[Use, ...] | MixSettings | SearchSettings, BeforeValidator(_chain_or_search, json_schema_input_type=Any)
]


def _detector(given: object) -> object:
    """A network, or an ensemble of several."""
    is_ensemble = isinstance(given, dict) and "ensemble" in given
    return (EnsembleSettings if is_ensemble else DetectorSettings).model_validate(given)


Detector = Annotated[
    EnsembleSettings | DetectorSettings,
    BeforeValidator(_detector, json_schema_input_type=EnsembleSettings | DetectorSettings),
]


class TimingSettings(_Model):
    """How long variants are timed."""

    seconds: Number = Field(default=3.0, gt=0, le=600, description="seconds of calls per variant and batch size")


class GallerySettings(_Model):
    """What the galleries show."""

    top: int = Field(default=5, strict=True, ge=1, le=100, description="frames per outcome and variant")
    heatmaps: Literal["gallery", "all"] = Field(
        default="gallery", description="draw heatmaps for the frames that a gallery shows, or for all test frames"
    )
    occlusion: bool = Field(
        default=True,
        strict=True,
        description="blur regions of the frames that a gallery shows: whether heatmaps point at what matters, and maps "
        "for detectors without any",
    )


class ExperimentSettings(_Model):
    """What is compressed into what, on which frames, and how it is judged."""

    detectors: tuple[str, ...] = Field(
        default=(), description="instead of `detector:`: several names under `detectors:`, compared side by side"
    )
    # After the one above, since it looks at what that holds.
    detector: str | None = Field(
        default=None, validate_default=True, description="a name under `detectors:`; or `detectors:` for several"
    )
    frames: FrameSets = Field(
        description="a name under `datasets:`; or several in a list, such as [celeb, mine]: variants are built once "
        "and judged on each"
    )
    build_frames: str | None = Field(
        default=None,
        description="a name under `datasets:`: the set whose calibration, train and validation frames variants are "
        "built with; the first of `frames` unless given. It need not be among these",
    )
    pool: bool = Field(
        default=False,
        strict=True,
        description="of several frame sets: the verdict for all is of their scores put together, not of each set's own "
        "AUC",
    )
    variants: dict[VariantName, Variant] = Field(
        description="name: list of steps; the one without steps is the baseline. Or `{find: smallest}`: the run finds "
        "the steps. Of several detectors, `b5/q8` is a variant of b5 alone, and comes before a `q8` of all. Of an "
        "ensemble, `{members: {b5: q8, xception: baseline}}` mixes variants of its members"
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="where variants are built, evaluated and timed; auto is cuda where there is one"
    )
    tf32: bool = Field(
        default=True,
        strict=True,
        description="on CUDA, float32 networks may round what they multiply to TF32 (10 bits of mantissa), as PyTorch "
        "does of itself in convolutions; no effect on a CPU or on other types",
    )
    runtime: str = Field(default="auto", description="what executes variants: auto, or a name of docs/runtimes.md")
    threshold: Threshold = Field(
        default=DEFAULT_THRESHOLD,
        description="a frame counts as fake from this P(fake) on; or how it is found, such as {fpr: 0.01} or "
        "{best: f1}: on the baseline's validation frames, of several frame sets on those of the first",
    )
    judge: Literal["video", "frame"] | None = Field(
        default=None,
        description="what verdicts, `choose` and `gates` go by; without it, video where a column `video`, a data set's "
        "layout or an extraction names that of every test frame, and frame elsewhere",
    )
    videos: VideoSettings = Field(default=VideoSettings(), description="how videos are scored")
    timing: TimingSettings = Field(default=TimingSettings(), description="how long variants are timed")
    gallery: GallerySettings = Field(default=GallerySettings(), description="what the report's galleries show")
    on_bad_frame: Literal["error", "skip"] = Field(
        default="error", description="files that can't be decoded: refuse the frame set, or leave them out and say so"
    )
    seed: int = Field(default=0, strict=True, ge=0, le=2**32 - 1, description="of the steps that draw random numbers")
    threads: int | Literal["auto"] = Field(
        default="auto",
        description="CPU threads of the model, from 1 to the cores there are; auto takes all; building takes fewer "
        "while others use the cores",
    )
    margin: Margin = Field(default=0.01, description="non-inferiority margin on AUC: a smaller loss does not matter")
    choose: ChooseSettings | None = Field(
        default=None, description="what the variant to ship must meet; nothing but `margin` otherwise"
    )
    robustness: RobustnessSettings | None = Field(
        default=None,
        description="re-compression under which every variant is judged again, such as {jpeg: [90, 50], blur: [1.5]}: "
        "what it costs a variant beyond what it costs the baseline",
    )
    groups: GroupColumns = Field(
        default=(),
        description="a column of the frames' manifest, such as skin_tone, or several in a list: false-positive and "
        "false-negative rates of its groups at `threshold`, and how the gap between groups changes",
    )
    regions: bool = Field(
        default=False,
        strict=True,
        description="which parts of the face each variant looks at, by outcome, beside the baseline: faces are found "
        "once in every test frame (by YuNet), where no manifest tells their points",
    )
    tracking: Trackers = Field(
        default={},
        description="where runs are logged beside their report: a tracker with its address, such as {mlflow: "
        "sqlite:///mlruns.db}, {mlflow: environment} for the address in MLFLOW_TRACKING_URI, or {wandb: offline}",
    )
    gates: dict[str, GateSettings] = Field(
        default={},
        description="variant, or `all`: limits for `bench check`; its own come before those of all. Of several "
        "detectors, `q8` is that of each and `b5/q8` that of one",
    )

    _ensembles: Mapping[str, EnsembleSettings] = PrivateAttr(default_factory=dict)
    _members: Mapping[str, DetectorSettings] = PrivateAttr(default_factory=dict)

    @field_validator("detectors", mode="before")
    @classmethod
    def _list_of_names(cls, names: object) -> object:
        return checked_list(names, "detector", "[b5, xception]")

    @field_validator("detector")
    @classmethod
    def _or_several(cls, detector: str | None, info: ValidationInfo) -> str | None:
        # Where `detectors` is wrong itself, nothing is missing.
        if detector is None and info.data.get("detectors") == ():
            raise PydanticKnownError("missing")
        if detector is not None and info.data.get("detectors"):
            raise ValueError("is there beside `detectors:`; give one of the two")
        return detector

    @field_validator("pool")
    @classmethod
    def _of_several(cls, pool: bool, info: ValidationInfo) -> bool:
        if pool and len(info.data.get("frames", ())) == 1:
            raise ValueError("is about several frame sets, and `frames` names one; leave it out")
        return pool

    @field_validator("device", mode="before")
    @classmethod
    def _known_device(cls, device: object) -> object:
        if device not in DEVICES:
            raise ValueError(no_device(device))
        return device

    @field_validator("threads", mode="before")
    @classmethod
    def _known_cores(cls, threads: object) -> object:
        cores = os.cpu_count() or 1
        if threads != "auto" and (type(threads) is not int or not 1 <= threads <= cores):
            raise ValueError(f"threads must be auto or a number from 1 to {cores}, found {in_yaml(threads)}")
        return threads

    @field_validator("runtime")
    @classmethod
    def _known_runtime(cls, runtime: str) -> str:
        if runtime != "auto":
            as_value_error(partial(find_runtime, runtime))
        return runtime

    @field_validator("variants")
    @classmethod
    def _one_baseline_first(cls, chains: dict[str, Any]) -> dict[str, Any]:
        """The variants with the baseline before all others; `ValueError` where it is not exactly one of all."""
        refuse_equal_folders(chains, "variant")
        baselines = [name for name, chain in chains.items() if chain == ()]
        if len(baselines) != 1:
            raise ValueError(
                "exactly one variant must have no steps (`baseline: []`), all others are compared with it; "
                f"found {', '.join(baselines) or 'none'}"
            )
        if "/" in baselines[0]:
            alone = baselines[0].rpartition("/")[2]
            raise ValueError(
                f"the one without steps is that of every detector: write `{alone}: []`, not `{baselines[0]}: []`"
            )
        return {baselines[0]: (), **chains}

    @property
    def baseline(self) -> str:
        return next(iter(self.variants))

    @property
    def chains(self) -> dict[str, tuple[Use, ...]]:
        """The variants whose steps the file names."""
        return {name: variant for name, variant in self.variants.items() if isinstance(variant, tuple)}

    @property
    def searches(self) -> dict[str, SearchSettings]:
        """The variants whose steps a run finds."""
        return {name: variant for name, variant in self.variants.items() if isinstance(variant, SearchSettings)}

    @property
    def threshold_rule(self) -> ThresholdRule | None:
        """How the threshold is found; None where it is a number."""
        return self.threshold.rule if isinstance(self.threshold, ThresholdSettings) else None

    @property
    def mixes(self) -> dict[str, MixSettings]:
        """The variants of ensembles that say which variant of each member takes part."""
        return {name: variant for name, variant in self.variants.items() if isinstance(variant, MixSettings)}

    @property
    def given_names(self) -> tuple[str, ...]:
        """The names of detectors and ensembles as the file has them."""
        return self.detectors or (str(self.detector),)

    @property
    def detector_names(self) -> tuple[str, ...]:
        """The names of all that is compressed: those that the file gives, and members of ensembles among them."""
        members = (member for name in self.given_names for member in self.members_of(name))
        return tuple(dict.fromkeys((*self.given_names, *members)))

    @property
    def network_names(self) -> tuple[str, ...]:
        """The names of those that are no ensembles."""
        return tuple(name for name in self.detector_names if name not in self._ensembles)

    @property
    def ensembles(self) -> Mapping[str, EnsembleSettings]:
        """Those of the detectors that are ensembles, by name."""
        return self._ensembles

    def members_of(self, detector: str) -> tuple[str, ...]:
        """The members of an ensemble; none of a network."""
        return self._ensembles[detector].members if detector in self._ensembles else ()

    def resolved(self, detectors: Mapping[str, EnsembleSettings | DetectorSettings]) -> None:
        """Note which of its detectors are ensembles, and the networks of these: `detectors` are those of the file."""
        asked = {name: detectors[name] for name in self.given_names if name in detectors}
        self._ensembles = {name: each for name, each in asked.items() if isinstance(each, EnsembleSettings)}
        members = (member for each in self._ensembles.values() for member in each.members)
        only_members = {name: detectors[name] for name in members if name in detectors and name not in asked}
        self._members = {name: each for name, each in only_members.items() if isinstance(each, DetectorSettings)}

    def refused_by(self, detector: str) -> tuple[str, ...]:
        """The variants of all that a network does not allow that is here as a member alone: it stays as it is there."""
        if detector not in self._members:
            return ()
        architecture = self._members[detector].architecture
        return tuple(
            name
            for name, chain in self.chains.items()
            if "/" not in name and self.key_of(detector, name) == name and is_refused(chain, architecture)
        )

    def taking_part(self, ensemble: str, variant: str) -> dict[str, str]:
        """Which variant of each member is part of an ensemble's, by the members' names.

        That of the same name, and the baseline of a member that has none; of a mix, those that it names.
        """
        given = self.of(ensemble).variants[variant]
        if isinstance(given, MixSettings):
            names = [name for name in self.members_of(ensemble) if name not in given.without]
            return {name: given.members.get(name, self.baseline) for name in names}
        members = self.members_of(ensemble)
        return {name: variant if variant in self.of(name).variants else self.baseline for name in members}

    @property
    def is_side_by_side(self) -> bool:
        """Whether several detectors are compared."""
        return len(self.detector_names) > 1

    def of(self, detector: str) -> ExperimentSettings:
        """The settings of one of the detectors, as an experiment of its own says them."""
        if not self.is_side_by_side:
            return self
        variants = {
            name.rpartition("/")[2]: self.variants[self.key_of(detector, name.rpartition("/")[2])]
            for name in self.variants
            if name.partition("/")[0] == detector or "/" not in name
        }
        if detector not in self._ensembles:
            refused = self.refused_by(detector)
            variants = {
                name: variant
                for name, variant in variants.items()
                if name not in refused and not isinstance(variant, MixSettings)
            }
        gates = {name: gate for name in ("all", *variants) if (gate := self._gate(detector, name))}
        return self.model_copy(update={"detector": detector, "detectors": (), "variants": variants, "gates": gates})

    def key_of(self, detector: str, variant: str) -> str:
        """The key below `variants:` that says the steps of a detector's variant."""
        return f"{detector}/{variant}" if f"{detector}/{variant}" in self.variants else variant

    def _gate(self, detector: str, variant: str) -> GateSettings | None:
        """The limits for a variant of a detector: of its own and of all that are called so, key by key."""
        given = [self.gates[key] for key in (variant, f"{detector}/{variant}") if key in self.gates]
        limits = {key: limit for gate in given for key, limit in gate.model_dump(exclude_unset=True).items()}
        return GateSettings.model_validate(limits) if given else None

    @property
    def titles(self) -> dict[str, tuple[str, str]]:
        """Detector and variant of each variant, by what reports call it: "q8"; of several detectors, "b5/q8"."""
        several = self.is_side_by_side
        return {
            f"{detector}/{variant}" if several else variant: (detector, variant)
            for detector in self.detector_names
            for variant in self.of(detector).variants
        }

    @property
    def frame_sets(self) -> tuple[str, ...]:
        """The names of all that variants are evaluated on; with frames of the first they are timed."""
        return self.frames

    @property
    def has_several_sets(self) -> bool:
        """Whether variants are judged on several frame sets."""
        return len(self.frame_sets) > 1

    @property
    def build_set(self) -> str:
        """The frame set that variants are built with, which need not be one that they are evaluated on."""
        return self.build_frames or self.frame_sets[0]

    def folder(self, detector: str, frame_set: str) -> Path:
        """The folder of a detector's results on a frame set, below the experiment's; a level with one entry is none."""
        levels = ((detector, self.detector_names), (frame_set, self.frame_sets))
        return Path(*(name for name, names in levels if len(names) > 1))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those of all results, below the experiment's: that of the first detector on the first set first."""
        return tuple(self.folder(detector, name) for detector in self.detector_names for name in self.frame_sets)


class Experiments(_Model):
    """The whole file."""

    detectors: dict[Name, Detector] = Field(
        min_length=1, description="what is compressed, by name: networks, and ensembles of these"
    )
    datasets: dict[Name, FrameSetSettings] = Field(min_length=1, description="labelled frames, by name")
    experiments: dict[Name, ExperimentSettings] = Field(
        min_length=1, description="what to compress into what and how to judge it, by name"
    )
    trainings: dict[Name, TrainingSettings] = Field(
        default={}, description="detectors that `bench train` makes from frames, by name"
    )

    @field_validator("experiments")
    @classmethod
    def _distinct(cls, experiments: dict[str, ExperimentSettings]) -> dict[str, ExperimentSettings]:
        refuse_equal_folders(experiments, "experiment")
        return experiments

    @field_validator("trainings")
    @classmethod
    def _distinct_trainings(cls, trainings: dict[str, TrainingSettings]) -> dict[str, TrainingSettings]:
        refuse_equal_folders(trainings, "training")
        return trainings

    @model_validator(mode="after")
    def _with_ensembles(self) -> Experiments:
        for experiment in self.experiments.values():
            experiment.resolved(self.detectors)
        return self

    @property
    def networks(self) -> dict[str, DetectorSettings]:
        """The detectors that are no ensembles."""
        return {name: each for name, each in self.detectors.items() if isinstance(each, DetectorSettings)}

    @property
    def ensembles(self) -> dict[str, EnsembleSettings]:
        """The detectors that are ensembles of others."""
        return {name: each for name, each in self.detectors.items() if isinstance(each, EnsembleSettings)}


class _Trainings(Experiments):
    """A file with trainings, which needs neither detectors nor experiments yet."""

    detectors: dict[Name, Detector] = {}
    experiments: dict[Name, ExperimentSettings] = {}


def read(path: Path) -> Experiments:
    """Read and validate the file; `UserError` tells line, key, what was found and what was expected."""
    content, tree = yaml_file.read(path)
    model = _Trainings if content.get("trainings") else Experiments
    try:
        experiments = model.model_validate(content)
    except ValidationError:
        raise UserError(*(f"{path}{problem}" for problem in _problems(content, tree, model))) from None
    refuse_together(partial(yaml_file.location_of, path, "detectors"), of_ensembles(experiments))
    refuse_together(partial(yaml_file.location_of, path, "experiments"), dangling(experiments))
    refuse_together(partial(yaml_file.location_of, path, "trainings"), of_trainings(experiments))
    return experiments


def _problems(content: dict[str, Any], tree: Any, model: type[Experiments]) -> Iterator[str]:
    """All that is wrong with the file. Chains in a wrong order alone would not stop it here: see `pipeline.prepare`."""
    try:
        model.model_validate(content, context=_WITH_ORDER)
    except ValidationError as error:
        problems = error.errors()
        # What is there under another name is not also missing.
        meant = {yaml_file.meant(problem, model) for problem in problems}
        for problem in problems:
            if problem["type"] != "missing" or problem["loc"] not in meant:
                yield yaml_file.explain(problem, tree, model)


def select(experiments: Experiments, name: str | None, path: Path) -> tuple[str, ExperimentSettings]:
    """The experiment of this name; without a name, the only one there is."""
    choices = experiments.experiments
    if not choices:
        raise UserError(f"{path} holds trainings alone, and no `experiments:`; `bench train` trains them")
    if name is None:
        if len(choices) > 1:
            raise UserError(f"{path} holds several experiments, name one of: {', '.join(choices)}")
        name = next(iter(choices))
    if name not in choices:
        hint = nearest(name, choices)
        if any(name in experiment.variants or name in experiment.titles for experiment in choices.values()):
            hint = f" (it is a variant: several are written without spaces, as in --only q8,{shown(name)})"
        raise UserError(f"{path}: no experiment {quoted(name)}{hint}; experiments are: {', '.join(choices)}")
    return name, choices[name]


def select_training(experiments: Experiments, name: str | None, path: Path) -> tuple[str, TrainingSettings]:
    """The training of this name; without a name, the only one there is."""
    choices = experiments.trainings
    if not choices:
        raise UserError(
            f"{path} has no `trainings:`; add one, such as {{mine: {{architecture: efficientnet_b4, preprocessing: "
            "sbi, frames: faces}}, or see docs/training.md"
        )
    if name is None:
        if len(choices) > 1:
            raise UserError(f"{path} holds several trainings, name one of: {', '.join(choices)}")
        name = next(iter(choices))
    if name not in choices:
        hint = nearest(name, choices)
        raise UserError(f"{path}: no training {quoted(name)}{hint}; trainings are: {', '.join(choices)}")
    return name, choices[name]
