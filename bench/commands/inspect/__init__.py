"""`bench inspect`: why variants call a frame, the frames of a folder, or those of a video, real or fake."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.inspect import ensembles, folder, video
from bench.commands.inspect.looking import answer, look
from bench.commands.inspect.panel import Panel, load
from bench.commands.inspect.request import Options, Written, checked
from bench.experiment import ExperimentSettings
from bench.footage import in_front
from bench.inference.scores import score_of
from bench.inference.subjects import FramesOfSet, Reader
from bench.inference.variants import Chosen, choose, of_detector, of_ensemble
from bench.records import Event, OnEvent, silent
from bench.records.inspection import Inspection, Subject
from bench.results import store

if TYPE_CHECKING:
    from bench.records import Preprocessing

__all__ = ["Options", "Written", "inspect"]

WORK = "inspecting"


def inspect(
    given: Path, base: Path, name: str, settings: ExperimentSettings, options: Options, on_event: OnEvent = silent
) -> Written:
    """Write why the variants of an experiment judge a picture, a folder of them, or a video as they do.

    `base` is the folder of the experiment file. Raises `UserError` before any variant is loaded where the input can't
    be judged.
    """
    request = checked(given, options, base / "reports" / name / "inspect")
    if (asked := of_ensemble(settings, options.variants)) is not None:
        ensembles.refuse_videos(request, asked[0], settings)
        return ensembles.inspect(request, _whole(base, name, settings, asked, options, on_event), on_event)
    chosen = choose(base, name, settings, options.variants)
    reader = _reader(chosen, options)
    if request.kind == "picture":
        subjects = reader.subjects(request.file, request.names[request.file])
        return _a_picture(subjects, request.to, Inspector(name, load(chosen, on_event), options), on_event)
    if request.kind == "video":
        line = video.timeline(request.file)
        return video.inspect(request, line, reader, Inspector(name, load(chosen, on_event), options), on_event)
    return folder.inspect(request, reader, Inspector(name, load(chosen, on_event), options), on_event)


def _reader(chosen: Chosen, options: Options) -> Reader:
    return Reader(
        chosen.preprocessing, options.faces, in_front.finder(chosen.preprocessing.crop),
        FramesOfSet(chosen.base, chosen.run, chosen.results),
    )  # fmt: skip


def _whole(
    base: Path, name: str, settings: ExperimentSettings, asked: tuple[str, list[str]], options: Options,
    on_event: OnEvent,
) -> ensembles.Whole:  # fmt: skip
    """An ensemble with its members loaded."""
    ensemble, names = asked
    results = base / "results" / name / settings.folder(ensemble, settings.frame_sets[0])

    def make(member: str, parts: Sequence[str]) -> ensembles.Part:
        chosen = of_detector(base, name, settings, member, parts)
        return ensembles.Part(_reader(chosen, options), Inspector(name, load(chosen, on_event), options))

    return ensembles.whole(store.read_run(results), results, names, make)


def _a_picture(subjects: Sequence[Subject], to: Path, inspector: Inspector, on_event: OnEvent) -> Written:
    from bench.reports import inspection

    subject = inspector.highest(subjects)
    on_event(Event(WORK, 0, 1, "pictures", subject.name))
    inspected = inspector.inspect(subject)
    pages = inspection.write(inspected, to / subject.name)
    on_event(Event(WORK, 1, 1, "pictures"))
    return Written((inspected,), pages)


@dataclass(frozen=True)
class Inspector:
    """Looks into subjects with all variants of a panel."""

    experiment: str
    panel: Panel
    options: Options

    @property
    def preprocessing(self) -> Preprocessing:
        return self.panel.preprocessing

    def logits(self, subject: Subject) -> dict[str, tuple[float, float]]:
        """The logits of each variant."""
        return {each.judge.name: answer(each.session, subject.fitted)[0] for each in self.panel.panelists}

    def highest(self, subjects: Sequence[Subject]) -> Subject:
        """Of a picture's faces that with the highest P(fake), as the first variant sees it."""
        if len(subjects) == 1:
            return subjects[0]
        first = self.panel.panelists[0].session
        return max(subjects, key=lambda subject: score_of(answer(first, subject.fitted)[0]).logit_diff)

    def inspect(self, subject: Subject) -> Inspection:
        """What all variants see in a subject."""
        import numpy as np

        from bench.detectors.journey import network_input

        run, options = self.panel.run, self.options
        now = datetime.datetime.now(datetime.UTC)
        fitted = np.ascontiguousarray(subject.fitted.transpose(2, 0, 1))
        looks = tuple(
            look(each, subject, run.threshold, options.target, options.levels) for each in self.panel.panelists
        )
        return Inspection(
            experiment=self.experiment,
            process=f"inspect_{Path(subject.name).name}_{now:%Y%m%d_%H%M%S}",
            time=now.isoformat(timespec="seconds"),
            subject=subject,
            preprocessing=self.preprocessing,
            network_input=network_input(self.preprocessing, fitted),
            threshold=run.threshold,
            looks=looks,
            map_kind=run.map_kind,
            asked=options.target,
        )
