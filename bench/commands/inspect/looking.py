"""One frame, seen by one variant: its answer, its map, the way through its network, and the parts of the face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.commands.inspect.panel import Panelist
from bench.detectors import families
from bench.inference.scores import score_of
from bench.records import ClassName, class_of
from bench.records.inspection import BesideMask, FaceEvidence, Journey, Look, Stage, Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records import Session

NO_JOURNEY = (
    "What lies between its input and its map is not shown: it is an ONNX file of which no network of layers is at hand."
)
BLURRED = (
    "It gives no map: its map shows by how much the logit difference falls where squares of the frame are blurred."
)
OF_GRAPH = (
    "further outputs of the artifact's own graph (of a PyTorch copy, where its names do not tell them, and behind the "
    "last feature map)"
)
APART = 0.05
"""Between P(fake) of an artifact and of its copy in floats: from here on a reader is warned."""


def answer(session: Session, fitted: NDArray[np.uint8]) -> tuple[tuple[float, float], NDArray[np.float32] | None]:
    """The logits (real, fake) and the signed map [h, w] of a fitted frame, uint8 RGB [size, size, 3]."""
    import numpy as np

    prediction = session.predict(np.ascontiguousarray(fitted.transpose(2, 0, 1))[None])
    real, fake = prediction.logits[0].tolist()
    return (real, fake), None if prediction.cam is None else np.asarray(prediction.cam[0], np.float32)


def look(panelist: Panelist, subject: Subject, threshold: float, asked: ClassName | None, levels: int) -> Look:
    """What a variant says of a frame and why, for the class that was asked for, else the one it calls it."""
    import numpy as np

    from bench.results.explanation.evidence import agreed, hottest

    logits, cam = answer(panelist.session, subject.fitted)
    p_fake = score_of(logits).p_fake
    target: ClassName = asked or class_of(p_fake, threshold)
    fake, side = target == "fake", len(subject.fitted)
    way = _journey(panelist, np.ascontiguousarray(subject.fitted.transpose(2, 0, 1)), target)
    signed = cam if cam is not None or way.levels else _by_blurring(panelist.session, subject, logits)
    own_map = None if signed is None else np.maximum(signed if fake else -signed, 0)
    maps = ([own_map] if own_map is not None else list(way.levels[:1])) + list(way.levels[1:levels])
    heat = maps[0] if maps else None
    combined = agreed(maps) if len(maps) > 1 else None
    by_blurring = cam is None and signed is not None
    sharpest = combined if combined is not None and combined.any() else None
    agreed_on_face = _of_one_class(sharpest, subject)
    on_face = _of_one_class(heat, subject) if signed is None else _on_face(signed, fake, subject)
    if on_face is not None:
        on_face = _with_falls(on_face, panelist.session, subject, logits)
    notes = _notes(panelist, way, p_fake, target, maps, combined, on_face)
    return Look(
        judge=panelist.judge,
        logits=logits,
        p_fake=p_fake,
        target=target,
        cam=cam,
        heat=heat,
        by_blurring=by_blurring,
        agreed=combined,
        journey=way,
        hottest=() if heat is None else hottest(heat if sharpest is None else sharpest, subject.points, side),
        levels=len(maps),
        on_face=on_face,
        agreed_on_face=agreed_on_face,
        beside_mask=_beside_mask(cam, subject.mask),
        notes=(*((BLURRED,) if by_blurring else ()), *notes),
    )


def _by_blurring(session: Session, subject: Subject, logits: tuple[float, float]) -> NDArray[np.float32]:
    """By how much the logit difference falls where each square of a frame is blurred: of what has no other map."""
    from bench.results.occlusion import occlusion_map

    return occlusion_map(session, subject.fitted, logits[1] - logits[0], 1)


def _beside_mask(cam: NDArray[np.float32] | None, mask: NDArray[np.uint8] | None) -> BesideMask | None:
    """A variant's map beside what was forged, as a run judges it."""
    if cam is None or mask is None:
        return None
    from bench.results.localisation.measuring import measured, speaks_for, up_sampled

    hit, inside, auc, blank = measured(up_sampled(cam), mask, blank=not speaks_for(cam, fake=True))
    return BesideMask(bool(hit), inside, auc, blank)


def _on_face(cam: NDArray[np.floating], fake: bool, subject: Subject) -> FaceEvidence | None:
    """Where on the face a signed map speaks for fake, or for real; None without a face."""
    from bench.results.explanation.evidence import face_evidence

    return None if subject.points is None else face_evidence(cam, fake, subject.points, len(subject.fitted))


def _of_one_class(heat: NDArray[np.floating] | None, subject: Subject) -> FaceEvidence | None:
    """Where on the face a map lies that shows what speaks for one class alone; None without either."""
    evidence = None if heat is None else _on_face(heat, True, subject)
    return evidence and replace(evidence, signed={})


def _with_falls(
    evidence: FaceEvidence, session: Session, subject: Subject, logits: tuple[float, float]
) -> FaceEvidence:
    """The same with what blurring each part does, where every answer is a finite number."""
    from bench.results.explanation.blurred import falls

    assert subject.points is not None
    try:
        lost = falls(session, subject.fitted, subject.points, logits)
    except ValueError:
        return evidence
    return replace(evidence, falls=lost.p_fake, logit_falls=lost.logit_diff)


def _journey(panelist: Panelist, frame: NDArray[np.uint8], target: ClassName) -> Journey:
    """The way of a frame, uint8 RGB [3, size, size], through the variant's network."""
    from bench.detectors.journey import journey

    detector = panelist.detector
    if detector is None:
        return Journey()
    way = journey(detector, frame, target)
    if panelist.activations is None:
        if panelist.judge.file.endswith(".onnx"):
            return replace(
                way,
                activations_by="a PyTorch copy with the dequantised weights",
                heat_by=f"{way.heat_by}, of that copy",
            )
        return way
    of_graph = panelist.activations.of(frame)
    named = {families.stage_name(detector.architecture, name): written for name, written in of_graph.items()}
    stages = tuple(_with(stage, named.get(stage.name)) for stage in way.stages)
    heat_by = f"{way.heat_by}, of a PyTorch copy with the dequantised weights"
    return replace(way, stages=stages, activations_by=OF_GRAPH, heat_by=heat_by)


def _with(stage: Stage, written: NDArray[np.float32] | None) -> Stage:
    """A stage with the activation of the artifact's own graph; its head's vectors are the copy's."""
    import numpy as np

    if written is None or written.ndim != 4:
        return stage
    return replace(stage, shape=tuple(written.shape), activation=np.abs(written[0]).mean(0))


def _notes(
    panelist: Panelist,
    way: Journey,
    p_fake: float,
    target: ClassName,
    maps: Sequence[NDArray[np.floating]],
    combined: NDArray[np.floating] | None,
    on_face: FaceEvidence | None,
) -> Iterator[str]:
    """What a reader must know before the pictures."""
    if panelist.remark:
        yield panelist.remark
    if panelist.detector is None:
        yield NO_JOURNEY
    if maps and not maps[0].any():
        yield f"Nothing in its map speaks for {target}."
    elif combined is not None and not combined.any():
        yield "Its maps do not agree: where the coarse one is strong, the finer one shows nothing."
    if on_face is not None and not on_face.falls:
        yield "What blurring parts of the face does is not known: its logits are then no finite numbers."
    if way.logits and panelist.judge.file.endswith(".onnx"):
        of_copy = score_of(way.logits).p_fake
        far = " That is far: read the overlays with care." if abs(of_copy - p_fake) > APART else ""
        yield (
            f"Overlays between input and map are of a PyTorch copy with the dequantised weights, whose P(fake) is "
            f"{of_copy:.4f} against the artifact's {p_fake:.4f}.{far}"
        )
