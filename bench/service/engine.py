"""Pictures judged: decoded and cropped by some threads, computed in batches, joined, and called fake or real."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, TypeVar

from bench import datasets
from bench.errors import quoted
from bench.footage import in_front
from bench.inference.served import Joined, Member, Served
from bench.inference.subjects import whole_because
from bench.inference.workers import WorkerLostError
from bench.records import Crop, Face, Finder
from bench.records.inspection import FACES_OPTIONS, FacesOption
from bench.results.score import p_fake
from bench.service import heatmaps, uploads
from bench.service.batching import Answer, Batcher, window
from bench.service.metrics import Metrics
from bench.service.refusals import OWN_FAULT, NoFaceError, RefusedError
from bench.service.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

_log = logging.getLogger("bench")


@dataclass(frozen=True)
class Asked:
    """How a picture is to be judged; `shown` is whether it is sent back, for a heatmap to lie over it."""

    served: Served
    faces: FacesOption = "auto"
    shown: bool = False


@dataclass(frozen=True)
class Candidate:
    """What of a picture may be judged, for each member its crop, and that as its network takes it [3, size, size].

    Crops are without their pixels: many requests may wait, each with a large picture. `shown` are those of the first
    one, uint8 RGB [h, w, 3], as small as they are sent back; None where they are not.
    """

    crops: tuple[Crop, ...]
    fitted: tuple[NDArray[np.uint8], ...]
    shown: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Cut:
    """A decoded picture's faces, or all of it. `looked` is whether faces were looked for."""

    candidates: tuple[Candidate, ...]
    looked: bool


@dataclass(frozen=True)
class Judged:
    """What a picture comes to: its P(fake), that of each member that answered, by name, and the crop that decided.

    Of several faces, that with the highest P(fake) decides. `faces` is how many there are, None where none was looked
    for. `maps` are the signed maps [h, w] of the members that answered, each over its crop. `failed` says why the
    others did not, `agree` is how many call the picture as all do together. `shown` and `crops` are as in `Candidate`.
    """

    p_fake: float
    by_member: Mapping[str, float]
    crops: Mapping[str, Crop]
    maps: Mapping[str, NDArray[np.float32] | None]
    faces: int | None
    failed: Mapping[str, str]
    agree: int
    shown: NDArray[np.uint8] | None

    @property
    def face(self) -> Face | None:
        return next(iter(self.crops.values())).face

    @property
    def what(self) -> Literal["face", "whole picture"]:
        return "whole picture" if self.faces is None else "face"


class Engine:
    """All that answers: the variants that are served, their batches, and the threads that prepare frames for them."""

    def __init__(self, served: Sequence[Served], settings: ServiceSettings, metrics: Metrics) -> None:
        """Start the threads."""
        self.served = {each.name: each for each in served}
        self.default = served[0]
        self._settings = settings
        self._batchers: dict[int, Batcher] = {}
        for member in (member for each in served for member in each.members):
            if id(member.session) not in self._batchers:
                computed = partial(metrics.computed, member.name)
                self._batchers[id(member.session)] = Batcher(member.session, window(member.latency_ms), computed)
        self._finders = threading.local()
        self._ending = False
        self._threads = ThreadPoolExecutor(settings.decoders, "pictures")

    @property
    def works(self) -> bool:
        """Whether all that is served can answer."""
        return all(self.can_answer(served) for served in self.served.values())

    def can_answer(self, served: Served) -> bool:
        """Whether as many members work as must answer."""
        return sum(self.batcher(member).works for member in served.members) >= served.rule.minimum

    @property
    def waiting(self) -> int:
        """Frames that are prepared and not computed."""
        return sum(batcher.waiting for batcher in self._batchers.values())

    @property
    def restarts(self) -> int:
        """How often a process that computes ended and was started again."""
        return sum(batcher.restarts for batcher in self._batchers.values())

    def batcher(self, member: Member) -> Batcher:
        return self._batchers[id(member.session)]

    def close(self) -> None:
        """End the threads, after what they were given is done."""
        self._ending = True
        self._threads.shutdown()
        for batcher in self._batchers.values():
            batcher.close()

    def asked(self, variant: str | None, faces: str | None, *, shown: bool = False) -> Asked:
        """What a request asks for; `RefusedError` where there is no such variant or option."""
        name = variant or self.default.name
        if name not in self.served:
            raise RefusedError(422, f"variant {quoted(name)} is not served here; these are: {', '.join(self.served)}")
        for option in FACES_OPTIONS:
            if (faces or "auto") == option:
                return Asked(self.served[name], option, shown)
        raise RefusedError(422, f"faces: expected {', '.join(FACES_OPTIONS)}, found {quoted(faces)}")

    async def prepared(self, work: Callable[[], T]) -> T:
        """What a function returns that is called in one of the threads for pictures."""
        if self._ending:
            raise RefusedError(503, "the service is ending; ask again when it is back", 30)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def judge_upload(self, data: bytes, asked: Asked) -> Judged:
        """A picture as it was uploaded. `RefusedError` where it can't be judged."""

        def cut() -> Cut:
            return self.cut(uploads.picture(data, self._settings.megapixels), asked, data)

        return await self._judged(cut, asked)

    async def judge_pixels(self, pixels: NDArray[np.uint8], asked: Asked) -> Judged:
        """A frame of a video, uint8 RGB [h, w, 3]. `RefusedError` where it can't be judged."""
        return await self._judged(lambda: self.cut(pixels, asked), asked)

    async def _judged(self, cut: Callable[[], Cut], asked: Asked) -> Judged:
        """What a function cuts out of a picture, computed by every member."""
        batchers = [self.batcher(member) for member in asked.served.members]
        with ExitStack() as stack:
            for batcher in batchers:
                stack.enter_context(batcher.coming())
            parts = await self.prepared(cut)
            futures = [
                [batcher.submit(frame) for batcher, frame in zip(batchers, candidate.fitted, strict=True)]
                for candidate in parts.candidates
            ]
        answers = [await gathered(of_one) for of_one in futures]
        return _joined(asked.served, parts, answers)

    def cut(self, pixels: NDArray[np.uint8], asked: Asked, data: bytes | None = None) -> Cut:
        """What of a picture is judged, for each member; `data` is the file that it was, None of a video's frame.

        Raises `RefusedError` where no face is found and a detector wants one.
        """
        presets: list[str | None] = []
        for member in asked.served.members:
            preset = member.preprocessing.crop
            of_set = data is not None and member.of_set.find(len(data), sha256(data).hexdigest()) is not None
            presets.append(None if whole_because(preset, asked.faces, of_set) else preset)
        finders = [self._finder(preset) for preset in presets if preset is not None]
        faces_in_it = finders[0].find(pixels) if finders else []
        candidates = in_front.cut_for_each(pixels, presets, faces_in_it)
        if not candidates:
            raise NoFaceError(next(preset for preset in presets if preset is not None))
        return Cut(tuple(_candidate(asked, crops) for crops in candidates), bool(finders))

    def _finder(self, preset: str) -> Finder:
        """This thread's face finder: OpenCV's serves one at a time."""
        if not hasattr(self._finders, "by_preset"):
            self._finders.by_preset = {}
        finders: dict[str, Finder] = self._finders.by_preset
        if preset not in finders:
            finders[preset] = in_front.finder(preset)
        return finders[preset]


def _candidate(asked: Asked, crops: tuple[Crop, ...]) -> Candidate:
    """What each member judges of one face."""
    import numpy as np

    fitted = tuple(
        np.ascontiguousarray(datasets.fit(crop.pixels, member.preprocessing.input_spec).transpose(2, 0, 1))
        for crop, member in zip(crops, asked.served.members, strict=True)
    )
    shown = heatmaps.small(crops[0].pixels) if asked.shown else None
    return Candidate(tuple(_without_pixels(crop) for crop in crops), fitted, shown)


def _without_pixels(crop: Crop) -> Crop:
    """A crop as large as before whose pixels are all one zero in memory."""
    import numpy as np

    return replace(crop, pixels=np.broadcast_to(np.uint8(0), crop.pixels.shape))


async def gathered(futures: Sequence[Future[Answer]]) -> list[Answer | Exception]:
    """The answer of each member to a frame, or what it raised."""
    answers = await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
    given: list[Answer | Exception] = []
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Exception):
            raise answer
        given.append(answer)
    return given


def joined(served: Served, answers: Sequence[Sequence[Answer | Exception]]) -> tuple[Joined, NDArray[np.float64]]:
    """What comes of the members' answers to several frames, frame by frame; and their logit differences [members, n].

    Where too few members of an ensemble answered, `RefusedError`; a single network's error is raised as it is.
    """
    import numpy as np

    differences = np.array([[_difference(answer) for answer in of_one] for of_one in answers]).T
    together = served.join(differences)
    if np.isfinite(together.p_fake).all():
        return together, differences
    errors = [answer for of_one in answers for answer in of_one if isinstance(answer, Exception)]
    for error in errors:
        if isinstance(error, WorkerLostError) and not served.is_ensemble:
            raise RefusedError(503, f"{error}; ask again", 5) from error
        if not served.is_ensemble or isinstance(error, MemoryError):
            raise error
    if not served.is_ensemble:
        raise RefusedError(500, "the network's answer to this picture is no number")
    worst = int(np.argmin(together.answered))
    missing = [name for name, each in zip(served.names, differences[:, worst], strict=True) if np.isnan(each)]
    raise RefusedError(
        503,
        f"{together.answered[worst]} of the {len(served.names) + len(served.failed)} members of {served.name} "
        f"answered, and {served.rule.minimum} must; without answer: {', '.join([*missing, *served.failed])}",
        10,
    )


def _difference(answer: Answer | Exception) -> float:
    """The logit difference; NaN where there is none, or none that is a number."""
    if isinstance(answer, Exception):
        return math.nan
    real, fake = (float(logit) for logit in answer.logits)
    return fake - real if math.isfinite(fake - real) else math.nan


def _joined(served: Served, parts: Cut, answers: Sequence[Sequence[Answer | Exception]]) -> Judged:
    """The candidate with the highest P(fake)."""
    import numpy as np

    together, differences = joined(served, answers)
    best = int(np.argmax(together.p_fake))
    scores: list[float] = p_fake(np.zeros(len(differences)), differences[:, best]).tolist()
    answered = [index for index, score in enumerate(scores) if math.isfinite(score)]
    names, of_best = served.names, answers[best]
    maps = {names[index]: answer.cam for index in answered if isinstance(answer := of_best[index], Answer)}
    return Judged(
        float(together.p_fake[best]),
        {names[index]: scores[index] for index in answered},
        dict(zip(names, parts.candidates[best].crops, strict=True)),
        maps,
        len(parts.candidates) if parts.looked else None,
        {**served.failed, **_failed(names, of_best)},
        int(together.agree[best]),
        parts.candidates[best].shown,
    )


def _failed(names: Sequence[str], answers: Sequence[Answer | Exception]) -> dict[str, str]:
    """Why members gave no answer to a picture; what they raised is for the log alone."""
    failed = {}
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, WorkerLostError):
            failed[name] = str(answer)
        elif isinstance(answer, Exception):
            _log.error("%s gave no answer", name, exc_info=answer)
            failed[name] = OWN_FAULT
        elif math.isnan(_difference(answer)):
            failed[name] = "its answer to this picture is no number"
    return failed
