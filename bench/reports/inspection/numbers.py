"""inspection.json: all numbers of an inspection, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bench.records import CLASSES, POINTS, as_inputs, class_of
from bench.records.inspection import FaceEvidence, Inspection, Look, Subject

SCHEMA = 1


def numbers(inspected: Inspection) -> dict[str, Any]:
    """As JSON values. What could not be had is null."""
    prepared = inspected.network_input
    return {
        "schema": SCHEMA,
        "process": inspected.process,
        "time": inspected.time,
        "experiment": inspected.experiment,
        "input": _input(inspected.subject),
        "preprocessing": {**as_inputs(inspected.preprocessing), "crop": inspected.preprocessing.crop},
        "statistics": {
            "network_input": asdict(prepared.whole),
            ("wavelet_low_band" if prepared.approximation is not None else "network_input_by_colour"): {
                colour: asdict(each) for colour, each in prepared.by_colour.items()
            },
            "planes": list(prepared.colours),
        },
        "threshold": inspected.threshold,
        "variants": {look.judge.name: variant_numbers(look, inspected.threshold) for look in inspected.looks},
    }


def _input(subject: Subject) -> dict[str, Any]:
    """The picture, the face in it, and the frame that is judged."""
    face = subject.face
    height, width = subject.pixels.shape[:2]
    return {
        "file": subject.file,
        "sha256": subject.digest,
        "height": height,
        "width": width,
        "of_set": subject.of_set,
        "label": None if subject.label is None else CLASSES[subject.label],
        "method": subject.method or None,
        "frame": {"height": len(subject.frame), "width": subject.frame.shape[1], "matrix": list(subject.matrix)},
        "how": subject.how,
        "further_faces": subject.others,
        "judged_faces": subject.judged_faces,
        "face": None if face is None else {
            "box": list(face.box),
            "points": dict(zip(POINTS, map(list, face.points), strict=False)),
            "score": face.score,
            "finder": face.network,
        },
        "points_in_network_input": None if subject.points is None else [list(point) for point in subject.points],
    }  # fmt: skip


def variant_numbers(look: Look, threshold: float) -> dict[str, Any]:
    """The numbers of one variant."""
    real, fake = look.probabilities
    called = class_of(look.p_fake, threshold)
    return {
        "judge": asdict(look.judge),
        "logits": list(look.logits),
        "p_fake": look.p_fake,
        "probabilities": [real, fake],
        "label": called,
        "confidence": fake if called == "fake" else real,
        "target": look.target,
        "cam": None if look.cam is None else look.cam.tolist(),
        "stages": [{"name": each.name, "shape": None if each.shape is None else list(each.shape)}
                   for each in look.journey.stages],
        "activations_by": look.journey.activations_by or None,
        "heat_by": look.journey.heat_by or None,
        "logits_of_heat": None if look.journey.logits is None else list(look.journey.logits),
        "levels": [list(level.shape) for level in look.journey.levels[: look.levels]],
        "parts": _parts(look.on_face),
        "agreed_parts": _parts(look.agreed_on_face),
        "hottest": [asdict(each) for each in look.hottest],
        "beside_mask": None if look.beside_mask is None else asdict(look.beside_mask),
        "notes": list(look.notes),
    }  # fmt: skip


def _parts(evidence: FaceEvidence | None) -> dict[str, dict[str, float | None]] | None:
    """The numbers of each part of the face; None where there is no face."""
    if evidence is None:
        return None
    return {
        part: {
            "share": evidence.shares.get(part),
            "signed": evidence.signed.get(part),
            "p_fake_falls_when_blurred": evidence.falls.get(part),
            "logit_difference_falls_when_blurred": evidence.logit_falls.get(part),
        }
        for part in evidence.parts
    }
