"""Pictures as an ensemble judges them: each member looks with its own frame, and their answers and maps are joined."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands.inspect.folder import GALLERY, TABLE
from bench.commands.inspect.request import Options, Request, Written
from bench.errors import UserError, counted, listed
from bench.experiment import ExperimentSettings
from bench.inference import variants
from bench.inference.joint_maps import moved
from bench.inference.subjects import Reader
from bench.pipeline.ensembles import same_size
from bench.records import Crop, Event, OnEvent, RunRecord, class_of
from bench.records.ensembles import Ensemble
from bench.records.inspection import Inspection, Subject
from bench.records.joint_inspection import JointInspection, JointLook, MemberLook
from bench.results import predict

if TYPE_CHECKING:
    from bench.commands.inspect import Inspector

WORK = "inspecting"


@dataclass(frozen=True)
class Part:
    """A member: what makes frames of pictures for it, and what looks at them with the variants that are needed."""

    reader: Reader
    inspector: Inspector


@dataclass(frozen=True)
class Whole:
    """An ensemble's run, and the `variants` of it that are looked with, the baseline first.

    `rules` has how each joins the members that answered in the run; `has_map` those whose maps are joined.
    """

    name: str
    run: RunRecord
    variants: tuple[str, ...]
    rules: dict[str, Ensemble]
    parts: dict[str, dict[str, str]]
    has_map: frozenset[str]
    members: dict[str, Part]


def whole(run: RunRecord, results: Path, names: Sequence[str], make: Callable[[str, Sequence[str]], Part]) -> Whole:
    """The ensemble with its members loaded: `make` makes one of its name and the variants of it that take part.

    Raises `UserError` where a variant was not evaluated.
    """
    assert run.ensemble is not None
    rule = run.ensemble.rule
    asked = tuple(dict.fromkeys((run.baseline.name, *names)))
    for name in asked:
        variants.evaluated({row.name: row for row in run.variants}, name, run.experiment)
    answered: dict[str, set[str]] = {}
    for member, way in run.ensemble.folders.items():
        rows = variants.run_of((results / way).resolve()).variants
        answered[member] = {row.name for row in rows if row.status == "ok"}
    parts = {
        name: {member: part for member, part in run.ensemble.parts[name].items() if part in answered[member]}
        for name in asked
    }
    rules = {
        name: replace(rule, weights={member: rule.weights[member] for member in of}, minimum=1)
        for name, of in parts.items()
    }
    needed = {
        member: [of[member] for of in parts.values() if member in of]
        for member in rule.weights
        if any(member in of for of in parts.values())
    }
    return Whole(
        run.detector,
        run,
        asked,
        rules,
        parts,
        frozenset(name for name in asked if predict.has_cams(results / name)),
        {member: make(member, list(dict.fromkeys(of))) for member, of in needed.items()},
    )


def refuse_videos(request: Request, ensemble: str, settings: ExperimentSettings) -> None:
    """Raise `UserError` where a video is to be looked into: its frames are those of one detector."""
    if request.kind == "video":
        raise UserError(
            f"{request.file}: a video is looked into with a member, such as `--variant "
            f"{settings.members_of(ensemble)[0]}/{settings.baseline}`; `bench serve --ensemble {ensemble}` judges it "
            "as a whole"
        )


def inspect(request: Request, of: Whole, on_event: OnEvent) -> Written:
    """Write why an ensemble judges a picture, or each picture of a folder, as it does."""
    from bench.reports import inspection

    if request.kind == "picture":
        on_event(Event(WORK, 0, 1, "pictures", request.file.stem))
        name = request.file.stem
        joint, pages = _inspected(_subjects(request.file, name, of), name, request, of)
        on_event(Event(WORK, 1, 1, "pictures"))
        return Written((), pages, (), tuple(inspection.joint_lines(joint)))
    return _of_folder(request, of, on_event)


def _of_folder(request: Request, of: Whole, on_event: OnEvent) -> Written:
    """Each picture below a folder, a gallery and a table of all."""
    from bench.reports import inspection

    skipped: list[str] = []
    rows: list[dict[str, Any]] = []
    cards = []
    count = len(request.names)
    for index, (file, name) in enumerate(request.names.items()):
        on_event(Event(WORK, index, count, "pictures", name))
        try:
            subjects = _subjects(file, name, of)
        except UserError as error:
            skipped.append(error.lines[0])
            continue
        answers = {variant: _answer(subjects, variant, of) for variant in of.variants}
        if max(p_fake for p_fake, _ in answers.values()) < (request.options.above or 0):
            first = next(iter(subjects.values()))
            rows += [inspection.unexplained(first, look, logits, p) for look, (p, logits) in answers.items()]
            continue
        joint, _ = _inspected(subjects, name, request, of)
        rows += [inspection.unexplained(joint.subject, look.name, look.logits, look.p_fake) for look in joint.looks]
        cards.append(inspection.joint_card(joint, name))
    on_event(Event(WORK, count, count, "pictures"))
    if not rows:
        raise UserError(f"{request.file}: none of {counted(count, 'picture')} can be judged", *skipped[:10])
    judged = count - len(skipped)
    explained = f"{len(cards)} of {counted(judged, 'picture')} explained"
    inspection.write_explanations(request.to / TABLE, rows)
    gallery = inspection.Gallery(
        title=request.file.resolve().name,
        opening=inspection.opening(f"{explained}.", f"Not judged: {listed(skipped, 5)}." if skipped else ""),
        variants=of.variants,
        threshold=of.run.threshold,
        cards=inspection.ordered(cards),
        files=(("A row for each picture and variant", TABLE),),
    )
    pages = inspection.write_gallery(gallery, request.to, GALLERY)
    return Written((), {**pages, "table": request.to / TABLE}, tuple(skipped), (explained,))


def _inspected(
    subjects: dict[str, Subject], name: str, request: Request, of: Whole
) -> tuple[JointInspection, dict[str, Path]]:
    """A picture as the ensemble judges it: written, with the inspection of each member in a folder below."""
    from bench.reports import inspection

    inspected = {member: part.inspector.inspect(subjects[member]) for member, part in of.members.items()}
    for member, each in inspected.items():
        inspection.write(each, request.to / name / member)
    joint = _joined(inspected, subjects, of, request.options)
    return joint, dict(inspection.write_joint(joint, request.to / name))


def _subjects(file: Path, name: str, of: Whole) -> dict[str, Subject]:
    """Of a picture's faces that with the highest P(fake), as the baseline sees it; a crop of it for each member.

    Raises `UserError` where there is no picture, or a member finds no face in it.
    """
    seen = {member: part.reader.subjects(file, name) for member, part in of.members.items()}
    count = max(map(len, seen.values()))
    faces = [{member: each[min(index, len(each) - 1)] for member, each in seen.items()} for index in range(count)]
    if count == 1:
        return faces[0]
    return max(faces, key=lambda face: _answer(face, of.variants[0], of)[0])


def _answer(subjects: dict[str, Subject], variant: str, of: Whole) -> tuple[float, tuple[float, float]]:
    """P(fake) of a variant of the ensemble, and its logits, real and fake."""
    logits = {
        member: of.members[member].inspector.logits(subjects[member])[part]
        for member, part in of.parts[variant].items()
    }
    p_fake, difference = of.rules[variant].join_differences([[fake - real] for real, fake in logits.values()])
    half = float(difference[0]) / 2
    return float(p_fake[0]), (-half, half)


def _joined(
    inspected: dict[str, Inspection], subjects: dict[str, Subject], of: Whole, options: Options
) -> JointInspection:
    """What all variants of the ensemble make of the members' looks."""
    first = next(iter(subjects.values()))
    return JointInspection(
        experiment=of.run.experiment,
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        subject=first,
        threshold=of.run.threshold,
        combine=next(iter(of.rules.values())).combine,
        map_kind=of.run.map_kind,
        looks=tuple(_look(variant, inspected, subjects, of, options) for variant in of.variants),
    )


def _look(
    variant: str, inspected: dict[str, Inspection], subjects: dict[str, Subject], of: Whole, options: Options
) -> JointLook:
    """What a variant of the ensemble says, with the members' maps over the first one's part of the picture."""
    rule, threshold = of.rules[variant], of.run.threshold
    looks = {
        member: next(look for look in inspected[member].looks if look.judge.name == part)
        for member, part in of.parts[variant].items()
    }
    p_fake, difference = rule.join_differences([[look.logit_diff] for look in looks.values()])
    onto = _crop(next(iter(subjects.values())))
    maps = {
        member: None if look.cam is None else moved(look.cam, _crop(subjects[member]), onto)
        for member, look in looks.items()
    }
    scores = [look.p_fake for look in looks.values()]
    agree, _ = rule.consensus([[score] for score in scores], threshold)
    total = math.fsum(rule.weights.values())
    calls = class_of(float(p_fake[0]), threshold)
    return JointLook(
        name=variant,
        p_fake=float(p_fake[0]),
        logits=(-float(difference[0]) / 2, float(difference[0]) / 2),
        calls=calls,
        target=options.target or calls,
        cam=rule.join_maps(same_size(list(maps.values())), scores) if variant in of.has_map else None,
        agree=int(agree[0]),
        members=tuple(
            MemberLook(
                member,
                of.parts[variant][member],
                None if rule.combine == "max" else rule.weights[member] / total,
                look.p_fake,
                class_of(look.p_fake, rule.votes_at(threshold)),
                maps[member],
                f"{member}/inspection.html",
            )
            for member, look in looks.items()
        ),
    )


def _crop(subject: Subject) -> Crop:
    return Crop(subject.frame, subject.face, subject.matrix)
