"""One entry under `datasets:` of an experiment file, validated before anything is read."""

from __future__ import annotations

import re
import warnings
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bench import addresses
from bench.datasets import exclude
from bench.datasets.extract_settings import EXTRACT, ExtractSettings
from bench.datasets.layouts import SUFFIXES, Options
from bench.datasets.layouts.manifest.tables import COLUMNS
from bench.errors import quoted
from bench.records import SPLITS, Split, label_word, label_words

_SOURCE_PATTERN = (
    "a regular expression, searched in each frame's path below its split's folder; its group names the frame's source, "
    "its video or person, and a second group the other source of a fake made of two"
)


_LONGEST_PATTERN = 500


def checked_pattern(pattern: str | None, *, what: str = "source") -> str | None:
    """A regular expression with a group, which names `what`, not so long that compiling it takes for ever.

    `ValueError` for any other.
    """
    if pattern is None:
        return None
    if len(pattern) > _LONGEST_PATTERN:  # compiling some of a few thousand letters takes ten seconds
        raise ValueError(
            f"has {len(pattern):,} characters; expected a regular expression of at most {_LONGEST_PATTERN}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what another version of Python may read otherwise
            groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{quoted(pattern)} is not a regular expression: {error}") from None
    if not groups:
        example = {"source": "(id\\d+)_", "label": "_(real|fake)"}[what]
        raise ValueError(
            f"{quoted(pattern)} has no group; put the part that names the {what} in brackets, as in '{example}'"
        )
    return pattern


def _word(value: Any) -> Any:
    """A name of a class as text: YAML reads 0, 1.0, true and null as something else."""
    is_word = isinstance(value, str | int | float) and label_word(value) != ""
    if not is_word:
        raise ValueError(f"{quoted(value)} is no name of a class; expected a word, such as nature")
    return str(value)


LabelName = Annotated[str, BeforeValidator(_word, json_schema_input_type=str | float | bool)]
Pattern = Annotated[str, AfterValidator(exclude.checked)]


def _path_or_address(path: str) -> str:
    is_manifest = path.lower().endswith((".csv", ".parquet"))
    return addresses.checked_file(path) if is_manifest else addresses.checked(path)


PathOrAddress = Annotated[str, Field(min_length=1), AfterValidator(_path_or_address)]
"""A path as a person writes it, or an address."""
_LABEL_NAMES = "names of folders, and words in the column `label`, that stand"


class ColumnSettings(BaseModel):
    """What a manifest calls its columns, where that is not as usual."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = Field(default=None, min_length=1, description="the column of frames' paths, if not `path`")
    label: str | None = Field(default=None, min_length=1, description="the column real or 0, fake or 1, if not `label`")
    source: str | None = Field(
        default=None,
        min_length=1,
        description="the column of videos or persons, two with ; in between for a fake of both, if not `source`",
    )
    split: str | None = Field(
        default=None, min_length=1, description="the column test, validation, calibration or train, if not `split`"
    )

    mask: str | None = Field(
        default=None, min_length=1, description="the column of paths of masks of what was forged, if not `mask`"
    )

    @model_validator(mode="after")
    def _distinct(self) -> ColumnSettings:
        names = list(self.named.values())
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{quoted(min(twice))} is named as two columns at once")
        return self

    @property
    def named(self) -> dict[str, str]:
        """What each known column is called, in lower case without blanks around it."""
        return {role: (getattr(self, role) or role).strip().lower() for role in COLUMNS}


class LabelSettings(BaseModel):
    """What a frame set calls its two classes, where that is not `real` and `fake`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    real: tuple[LabelName, ...] = Field(default=(), description=f"{_LABEL_NAMES} for real frames, such as [nature]")
    fake: tuple[LabelName, ...] = Field(
        default=(), description=f"{_LABEL_NAMES} for fakes, such as [DeepFakes, Face2Face]"
    )

    @model_validator(mode="after")
    def _distinct(self) -> LabelSettings:
        real, fake = (label_words(self.real, ()), label_words((), self.fake))
        if both := real.keys() & fake.keys():
            raise ValueError(f"{quoted(min(both))} stands under `real` and under `fake`")
        if not real and not fake:
            raise ValueError("names no word; expected such as {real: [nature], fake: [ai]}")
        return self

    @property
    def words(self) -> dict[str, int]:
        """The label of each word, as `label_word` spells it."""
        return label_words(self.real, self.fake)


_LABELS = "what folders, or cells of the column `label`, are called, such as {real: [nature], fake: [ai]}"
_EXCLUDE = (
    "patterns of files that are left out, as in .gitignore: `masks` and `*_mask.png` match at any depth, "
    "`fake/*/masks` starts at the frame set's place"
)
_MASKS = (
    "a folder of masks, pictures of what was forged, called like the frames and in the same folders, relative to this "
    "file, or at an address, as `path` may be: forged is what is brighter than 127 in any channel. With `extract`, "
    "videos of masks, or folders of pictures"
)
_COLUMNS = "with a manifest: what it calls its columns, such as {path: filename, label: target}"


class Location(BaseModel):
    """Where the frames of one split lie; `validation: folder` is short for `validation: {path: folder}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: PathOrAddress = Field(
        description="a folder, or a CSV or Parquet manifest, relative to this file, or at an address such as "
        "s3://bucket/faces",
    )
    source_pattern: str | None = Field(default=None, description=_SOURCE_PATTERN)
    columns: ColumnSettings | None = Field(default=None, description=_COLUMNS)
    labels: LabelSettings | None = Field(default=None, description=_LABELS)
    exclude: tuple[Pattern, ...] = Field(default=(), description=_EXCLUDE)
    extract: ExtractSettings | None = Field(default=None, description=EXTRACT)
    masks: PathOrAddress | None = Field(default=None, description=_MASKS)

    _pattern = field_validator("source_pattern")(checked_pattern)


def _location(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


LocationOrPath = Annotated[Location, BeforeValidator(_location, json_schema_input_type=str | Location)]


class FrameSetSettings(BaseModel):
    """Either `path` (with `split: auto` where the folder is not split yet), or one location per split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: PathOrAddress | None = Field(
        default=None,
        description="a folder, split into test/, validation/, calibration/ and train/ or not at all, or a manifest, "
        "relative to this file, or at an address such as s3://bucket/faces; instead of one location per split",
    )
    split: Literal["auto"] | None = Field(
        default=None,
        description="splits `path` by source, reproducibly: test 70 %, validation 10 %, train 20 %, at most 128 frames "
        "of which are calibration too",
    )
    source_pattern: str | None = Field(default=None, description=f"with `path`: {_SOURCE_PATTERN}")
    columns: ColumnSettings | None = Field(default=None, description=_COLUMNS)
    labels: LabelSettings | None = Field(default=None, description=_LABELS)
    exclude: tuple[Pattern, ...] = Field(default=(), description=_EXCLUDE)
    extract: ExtractSettings | None = Field(default=None, description=EXTRACT)
    masks: PathOrAddress | None = Field(default=None, description=_MASKS)
    test: LocationOrPath | None = Field(default=None, description="labelled frames: those that are reported")
    validation: LocationOrPath | None = Field(
        default=None, description="labelled frames, which set thresholds and nothing else"
    )
    calibration: LocationOrPath | None = Field(
        default=None, description="frames that `prune` and `quantize` look at; labels not needed"
    )
    train: LocationOrPath | None = Field(
        default=None, description="frames that `recover` learns from; labels not needed"
    )

    _pattern = field_validator("source_pattern")(checked_pattern)

    @model_validator(mode="after")
    def _one_form(self) -> FrameSetSettings:
        """Refuse a mixture of one path for all splits and a location for each."""
        locations = self.locations
        if self.path is not None and locations:
            raise ValueError(
                f"`path` and `{next(iter(locations))}` exclude each other: give one path, or one per split"
            )
        if self.path is None and not locations:
            raise ValueError("no frames named: expected `path`, or `test` with `validation`, `calibration`, `train`")
        if locations and "test" not in locations:
            raise ValueError("`test` is missing: the frames that are reported")
        for key in ("split", "source_pattern", "columns", "labels", "exclude", "extract", "masks"):
            if locations and getattr(self, key):
                where = "" if key == "split" else f"; write it inside each split, as {{path: …, {key}: …}}"
                raise ValueError(f"`{key}` belongs to `path`, not to one path per split{where}")
        return self

    @property
    def locations(self) -> dict[Split, Location]:
        """The splits that have a location of their own; empty where `path` is given."""
        return {split: location for split in SPLITS if (location := getattr(self, split)) is not None}

    @property
    def all_locations(self) -> tuple[FrameSetSettings | Location, ...]:
        """All that has a `path` and `masks`: this, and the splits that have a location of their own."""
        return self, *self.locations.values()


def options_of(settings: FrameSetSettings | Location) -> Options:
    """What is looked for at a frame set's path, or at one of its locations."""
    return Options(
        settings.columns.named if settings.columns else None,
        suffixes=settings.extract.suffixes if settings.extract else SUFFIXES,
        labels=settings.labels.words if settings.labels else {},
        exclude=settings.exclude,
    )
