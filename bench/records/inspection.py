"""One frame looked into: the face in it, what a network makes of it step by step, and where the evidence lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from bench.records.footage import Face
from bench.records.frames import Preprocessing
from bench.records.weights import ClassName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FacesOption: TypeAlias = Literal["auto", "always", "never"]
FACES_OPTIONS: tuple[FacesOption, ...] = ("auto", "always", "never")

PARTS: tuple[str, ...] = ("eyes", "brows", "nose", "mouth", "jaw and contour", "skin", "hair", "background")
"""The parts of a face, and what is around it, in the order in which they are shown."""


@dataclass(frozen=True)
class Numbers:
    """Mean, standard deviation and extremes of an array."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True)
class NetworkInput:
    """What the preprocessing makes of a fitted frame.

    `before` [3, H, W] is scaled only, `after` [3, H, W] is what the network reads, both in the order of `colours`.
    `approximation` [3, h, w] is the wavelet's low band, None without one.
    """

    colours: tuple[str, str, str]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    approximation: NDArray[np.float32] | None

    @property
    def whole(self) -> Numbers:
        """Of all that the network reads."""
        return numbers_of(self.after)

    @property
    def by_colour(self) -> dict[str, Numbers]:
        """Of each plane of the low band where there is one, else of what the network reads: red, green, blue."""
        planes = self.after if self.approximation is None else self.approximation
        named = dict(zip(self.colours, planes, strict=True))
        return {colour: numbers_of(named[colour]) for colour in ("red", "green", "blue")}


def numbers_of(values: NDArray[np.floating]) -> Numbers:
    """Computed in float64."""
    exact = values.astype("float64")
    return Numbers(float(exact.mean()), float(exact.std()), float(exact.min()), float(exact.max()))


@dataclass(frozen=True)
class Stage:
    """A part of a network that a frame passes through.

    `activation` [h, w] is the mean over channels of what it writes, signs taken away; of a vector its numbers, row by
    row. `heat` [h, w] is what of it speaks for the target class, nowhere negative. Either is None where it can't be
    had, and then `shape` may be None too.
    """

    name: str
    shape: tuple[int, ...] | None = None
    activation: NDArray[np.float32] | None = None
    heat: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Journey:
    """All stages of a frame's way through a network.

    `levels` are what speaks for the target class at the last resolution, at the one before, and so on: each [h, w],
    nowhere negative. `logits` (real, fake) are those of the pass that the heat is of. `activations_by` and `heat_by`
    say what computed them, empty where nothing did; `level_titles` are what each level is.
    """

    stages: tuple[Stage, ...] = ()
    levels: tuple[NDArray[np.float32], ...] = ()
    logits: tuple[float, float] | None = None
    activations_by: str = ""
    heat_by: str = ""
    level_titles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hottest:
    """A place where a map is strongest: its column and row as shares of the frame's side, and how strong it is there.

    `strength` is a share of the strongest place's. `landmark` is the nearest of the face's points, `distance` how far
    it is, in distances between the eyes; None without a face.
    """

    x: float
    y: float
    strength: float
    part: str | None = None
    landmark: str | None = None
    distance: float | None = None


@dataclass(frozen=True)
class FaceEvidence:
    """Where on the face the evidence lies, by part of `PARTS`.

    `shares` of the evidence for the target class add up to 1; there are none where nothing speaks for it. `signed` are
    shares of all that the map shows for either class, positive where a part speaks for fake on balance; none without a
    map of both. `falls` are by how much P(fake) falls where a part is blurred, `logit_falls` by how much the logit
    difference; none where an answer is not finite. A part that the frame does not show is left out of all.
    """

    shares: Mapping[str, float]
    signed: Mapping[str, float] = field(default_factory=dict)
    falls: Mapping[str, float] = field(default_factory=dict)
    logit_falls: Mapping[str, float] = field(default_factory=dict)

    @property
    def leading(self) -> str | None:
        """The part with the largest share; None where nothing speaks for the class."""
        return max(self.shares, key=lambda part: self.shares[part], default=None)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of which anything is known."""
        return tuple(part for part in PARTS if any(part in each for each in (self.shares, self.signed, self.falls)))


@dataclass(frozen=True)
class BesideMask:
    """A map beside the mask of what was forged in its frame, as localisation judges it.

    `hit` is whether its hottest place is forged, `inside` the share of what speaks for fake that lies in the mask, and
    `auc` how well the map ranks forged places above others. In a `blank` map nothing speaks for fake.
    """

    hit: bool
    inside: float
    auc: float
    blank: bool = False


CLOSE_UP = 0.5
"""From this share of a picture's height on a face fills it: in crops of the presets it takes .55 to .8."""


@dataclass(frozen=True)
class Subject:
    """A picture to be looked into, and the frame that networks judge of it.

    `name` is its path below what was given, without its ending. `pixels` [h, w, 3] is the picture, `frame` [h, w, 3]
    what is judged: a crop of it, or all of it. `fitted` [size, size, 3] is that as detectors take it. `face` is in
    pixels of the picture, `points` are its five points in pixels of `fitted`; None where no face was found. `matrix`
    leads from the picture into the frame, as that of a `Crop`. `others` counts further faces in the picture,
    `judged_faces` those that were judged, of which this has the highest P(fake); 0 of a whole picture. `label` is 1 for
    fake, None where unknown. `of_set` is whether it is a frame of the experiment's set, which tables of predictions
    have as `set_frame` of `set_split`, `how` says how the frame came about. `mask` [GRID, GRID] is how much of each
    place of `fitted` is forged, 0 to 255; None where no mask is known.
    """

    name: str
    file: str
    digest: str
    pixels: NDArray[np.uint8]
    frame: NDArray[np.uint8]
    fitted: NDArray[np.uint8]
    face: Face | None
    points: tuple[tuple[float, float], ...] | None
    matrix: tuple[float, float, float, float, float, float]
    how: str
    others: int = 0
    judged_faces: int = 0
    of_set: bool = False
    set_frame: str = ""
    set_split: str = ""
    label: int | None = None
    method: str = ""
    mask: NDArray[np.uint8] | None = None

    @property
    def is_close_up(self) -> bool:
        """Whether a face was cut out of a picture that shows little else: crops of faces look so."""
        return bool(self.judged_faces and self.face and self.face.height > CLOSE_UP * len(self.pixels))


@dataclass(frozen=True)
class Judge:
    """A variant that looks at pictures: what it is, and what executes it."""

    name: str
    id: str
    steps: tuple[str, ...]
    file: str
    digest: str
    stored: str
    runtime: str
    device: str
    computed: str


SATURATED = 0.00005
"""Nearer to 0 or 1, P(fake) is written as 0.0000 or 1.0000."""


@dataclass(frozen=True)
class Score:
    """P(fake) of a frame, and what of its two logits speaks for fake."""

    p_fake: float
    logit_diff: float

    @property
    def is_saturated(self) -> bool:
        """Whether P(fake) is so near to 0 or 1 that four digits do not tell it from that."""
        return not SATURATED <= self.p_fake <= 1 - SATURATED


@dataclass(frozen=True)
class Look:
    """What a variant says of a frame, and why.

    `target` is the class that heat and shares are for. `cam` [h, w] is the variant's own signed map, for fake where
    positive, None without one. `heat` [h, w] is what of it speaks for the target; of a variant without a map that of
    the last resolution, and of what has neither, `by_blurring`, what squares of the frame are needed for. `agreed` is
    what `levels` maps agree on, the first of them `heat`, the others those of the journey; None of one map alone.
    `on_face` and `agreed_on_face` are the parts of the face in these two, None without a face or heat. `beside_mask` is
    how `cam` lies on what was forged, None without either. `notes` are sentences for the reader.
    """

    judge: Judge
    logits: tuple[float, float]
    p_fake: float
    target: ClassName
    cam: NDArray[np.float32] | None
    heat: NDArray[np.float32] | None
    by_blurring: bool
    agreed: NDArray[np.float64] | None
    journey: Journey
    hottest: tuple[Hottest, ...]
    levels: int
    on_face: FaceEvidence | None
    agreed_on_face: FaceEvidence | None
    notes: tuple[str, ...] = ()
    beside_mask: BesideMask | None = None

    @property
    def probabilities(self) -> tuple[float, float]:
        return 1 - self.p_fake, self.p_fake

    @property
    def logit_diff(self) -> float:
        """What of the two logits speaks for fake."""
        return self.logits[1] - self.logits[0]

    @property
    def score(self) -> Score:
        return Score(self.p_fake, self.logit_diff)

    @property
    def is_saturated(self) -> bool:
        return self.score.is_saturated


@dataclass(frozen=True)
class Inspection:
    """A picture, what the preprocessing makes of it, and how each variant sees it, the baseline first.

    `time` is when it was made, in ISO 8601; `process` names that. `asked` is the target class that was asked for.
    """

    experiment: str
    process: str
    time: str
    subject: Subject
    preprocessing: Preprocessing
    network_input: NetworkInput
    threshold: float
    looks: tuple[Look, ...]
    map_kind: str
    asked: ClassName | None = None
