"""Pictures as an ensemble judges them: each member looks with its own frame, and their answers and maps are joined."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.commands.inspect.folder import Explained
from bench.commands.inspect.inspector import Inspector
from bench.commands.inspect.request import Options, Request
from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.inference import subjects, variants
from bench.inference.joint_maps import moved
from bench.pipeline.ensembles import same_size
from bench.records import Crop, RunRecord, class_of
from bench.records.ensembles import Ensemble
from bench.records.inspection import Inspection, Subject
from bench.records.joint_inspection import JointInspection, JointLook, MemberLook
from bench.results import predict


@dataclass(frozen=True)
class WholeEnsemble:
    """An ensemble's run, and the `variants` of it that look, the baseline first.

    `rules` has how each joins the members that answered in the run, `parts` which variant of each member that is;
    `has_map` those whose maps are joined.
    """

    run: RunRecord
    variants: tuple[str, ...]
    rules: dict[str, Ensemble]
    parts: dict[str, dict[str, str]]
    has_map: frozenset[str]
    members: dict[str, Inspector]
    options: Options

    @property
    def threshold(self) -> float:
        return self.run.threshold

    @property
    def map_levels(self) -> int:
        return 1

    def refuse_others(self, request: Request) -> None:
        """Raise `UserError` where an inspection of a member would replace what no inspection wrote."""
        from bench.reports import inspection

        for name in request.names.values():
            for member in self.members:
                inspection.refuse_others(request.to / name / inspection.MEMBERS / member)

    def load(self) -> None:
        """Load the variants of all members now."""
        for member in self.members.values():
            member.load()

    def read(self, file: Path, name: str) -> dict[str, Subject]:
        """What each member judges; of several faces that with the highest P(fake), as the baseline sees it.

        Raises `UserError` where there is no picture, or no face in it that a member wants.
        """
        read = subjects.read([member.reader for member in self.members.values()], file, name)
        faces = [dict(zip(self.members, of_face, strict=True)) for of_face in read]
        if len(faces) == 1:
            return faces[0]
        return max(faces, key=lambda face: self.answers(face)[self.variants[0]][0])

    def subject(self, picture: dict[str, Subject]) -> Subject:
        """The first member's."""
        return next(iter(picture.values()))

    def answers(self, picture: dict[str, Subject]) -> dict[str, tuple[float, tuple[float, float]]]:
        """P(fake) and the logits, real and fake, of each variant."""
        by_member = {name: member.logits(picture[name]) for name, member in self.members.items()}
        return {variant: self._answer(by_member, variant) for variant in self.variants}

    def explain(self, picture: dict[str, Subject], folder: Path) -> Explained:
        """Look into a picture with all members, and write into `folder` what they say together; below it, each."""
        from bench.reports import inspection

        inspected = {name: member.inspect(picture[name]) for name, member in self.members.items()}
        joint = self._joined(inspected, picture)
        pages = inspection.write_joint(joint, inspected, folder)
        card = inspection.joint_card(joint)
        return Explained(pages, inspection.joint_explanations(joint), card, tuple(inspection.joint_lines(joint)))

    def _answer(
        self, by_member: Mapping[str, Mapping[str, tuple[float, float]]], variant: str
    ) -> tuple[float, tuple[float, float]]:
        """P(fake) of a variant, and its logits, real and fake, of those of each member's variants."""
        logits = [by_member[name][part] for name, part in self.parts[variant].items()]
        p_fake, difference = self.rules[variant].join_differences([[fake - real] for real, fake in logits])
        half = float(difference[0]) / 2
        return float(p_fake[0]), (-half, half)

    def _joined(self, inspected: dict[str, Inspection], picture: dict[str, Subject]) -> JointInspection:
        """What all variants make of the members' looks."""
        return JointInspection(
            experiment=self.run.experiment,
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            subject=self.subject(picture),
            threshold=self.threshold,
            combine=next(iter(self.rules.values())).combine,
            map_kind=self.run.map_kind,
            looks=tuple(self._look(variant, inspected, picture) for variant in self.variants),
            asked=self.options.target,
        )

    def _look(self, variant: str, inspected: dict[str, Inspection], picture: dict[str, Subject]) -> JointLook:
        """What a variant says, with the members' maps over what the first one sees."""
        from bench.reports import inspection

        rule, threshold = self.rules[variant], self.threshold
        looks = {
            name: next(look for look in inspected[name].looks if look.judge.name == part)
            for name, part in self.parts[variant].items()
        }
        p_fake, difference = rule.join_differences([[look.logit_diff] for look in looks.values()])
        crops = {name: Crop(each.frame, each.face, each.matrix) for name, each in picture.items()}
        specs = {name: member.chosen.preprocessing.input_spec for name, member in self.members.items()}
        first = next(iter(self.members))
        maps = {
            name: None if look.cam is None else moved(look.cam, crops[name], specs[name], crops[first], specs[first])
            for name, look in looks.items()
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
            target=self.options.target or calls,
            cam=rule.join_maps(same_size(list(maps.values())), scores) if variant in self.has_map else None,
            agree=int(agree[0]),
            members=tuple(
                MemberLook(
                    name,
                    self.parts[variant][name],
                    None if rule.combine == "max" else rule.weights[name] / total,
                    look.p_fake,
                    class_of(look.p_fake, rule.votes_at(threshold)),
                    maps[name],
                    f"{inspection.MEMBERS}/{name}/{inspection.PAGE}",
                )
                for name, look in looks.items()
            ),
        )


def whole(
    run: RunRecord,
    results: Path,
    names: Sequence[str],
    options: Options,
    inspector: Callable[[str, Sequence[str]], Inspector],
) -> WholeEnsemble:
    """The ensemble of a run: `inspector` makes what looks for a member, of its name and its variants that take part.

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
    return WholeEnsemble(
        run=run,
        variants=asked,
        rules=rules,
        parts=parts,
        has_map=frozenset(name for name in asked if predict.has_cams(results / name)),
        members={member: inspector(member, list(dict.fromkeys(of))) for member, of in needed.items()},
        options=options,
    )


def refuse_videos(request: Request, ensemble: str, settings: ExperimentSettings) -> None:
    """Raise `UserError` where a video is to be looked into: its frames are those of one detector."""
    if request.kind == "video":
        raise UserError(
            f"{request.file}: a video is looked into with a member, such as `--variant "
            f"{settings.members_of(ensemble)[0]}/{settings.baseline}`; `bench serve --ensemble {ensemble}` judges it "
            "as a whole"
        )
