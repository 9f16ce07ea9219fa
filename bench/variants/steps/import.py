"""Judge a variant made elsewhere: an ONNX file, whatever tool quantised, pruned or converted it.

It is the only entry of its chain. The host resizes frames as for the detector; what else its input needs is put
before the graph, and what turns its output into two logits behind it. Nothing of it is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bench.artifacts import imports
from bench.artifacts.imports import file as onnx_file
from bench.detectors.graph_settings import INPUT, OUTPUT, OUTPUT_NAME, InputSettings, both_classes
from bench.errors import refuse_address
from bench.records import ClassName, Conventions, OutputKind, Preprocessing, Reading, Split
from bench.variants.steps import Cost

if TYPE_CHECKING:
    import onnx

    from bench.detectors.offers import Offer
    from bench.variants.steps import Kind, StepContext

ACCEPTS: Kind | None = None
PRODUCES: Kind = "onnx"
NEEDS: frozenset[Offer] = frozenset()
FRAMES: Mapping[Split, str] = {}
VERSION = imports.VERSION
SEEDED = False
LIBRARIES: tuple[str, ...] = imports.LIBRARIES
MAIN = "file"
EXAMPLE = "quantised.onnx"
FILE = "file"
SYNONYMS = "onnx external elsewhere load"


class Settings(BaseModel):
    """Which file, and how its input and output are meant where the graph does not tell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(min_length=1, description="an ONNX file; weights that lie beside it are read too")
    output: OutputKind | None = OUTPUT
    output_name: str | None = OUTPUT_NAME
    positive: ClassName | None = Field(
        default=None, description="of an output with one column: the class that a high value speaks for"
    )
    classes: tuple[ClassName, ClassName] | None = Field(
        default=None, description="of an output with two columns: their classes in order, if not [real, fake]"
    )
    input: InputSettings | None = INPUT

    @field_validator("file")
    @classmethod
    def _a_path(cls, file: str) -> str:
        return refuse_address(file)

    @field_validator("classes", mode="before")
    @classmethod
    def _both(cls, classes: object) -> object:
        return both_classes(classes)

    @property
    def conventions(self) -> Conventions:
        """What its owner says of the file."""
        return Conventions(
            positive=self.positive,
            classes=self.classes,
            output=self.output,
            output_name=self.output_name,
            input=self.input.record if self.input else None,
        )


def cost(settings: Settings, counts: Mapping[Split, int], earlier: object) -> Cost:
    """The trial on a few frames, and the file written."""
    return Cost(5.0)


def check_file(path: Path) -> None:
    """Refuse what cannot be an ONNX file, by its first bytes."""
    onnx_file.check(path)


def content(path: Path) -> str:
    """A digest of the file and of the weights beside it."""
    return onnx_file.content(path)


def reading(settings: Settings, path: Path, preprocessing: Preprocessing) -> Reading:
    """How the file is read; a `UserError` where it can't be."""
    return imports.read(path, preprocessing, settings.conventions)[1]


def apply(model: None, settings: Settings, work: StepContext) -> onnx.ModelProto:
    """The file's graph with our input and output."""
    assert work.file is not None
    assert work.preprocessing is not None
    return imports.read(work.file, work.preprocessing, settings.conventions)[0]
