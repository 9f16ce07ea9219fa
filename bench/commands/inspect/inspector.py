"""What looks into pictures: the variants of one detector, loaded where the first picture is there to be judged."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from bench.commands.inspect.folder import Explained
from bench.commands.inspect.looking import answer, look
from bench.commands.inspect.panel import Panelist, load
from bench.commands.inspect.request import Options
from bench.commands.inspect.text import lines_of
from bench.inference.scores import score_of
from bench.inference.subjects import Reader
from bench.inference.variants import Chosen
from bench.records import OnEvent
from bench.records.inspection import Inspection, Subject


@dataclass(frozen=True)
class Inspector:
    """Reads pictures for one detector, and looks into them with variants of it."""

    reader: Reader
    chosen: Chosen
    options: Options
    on_event: OnEvent

    @cached_property
    def panel(self) -> tuple[Panelist, ...]:
        """The variants, loaded."""
        return load(self.chosen, self.on_event)

    @property
    def variants(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.chosen.variants)

    @property
    def threshold(self) -> float:
        return self.chosen.run.threshold

    @property
    def map_levels(self) -> int:
        return self.options.levels

    def load(self) -> None:
        """Load the variants now."""
        _ = self.panel

    def read(self, file: Path, name: str) -> Subject:
        """A picture, of several faces that with the highest P(fake) of the first variant."""
        return self.highest(self.reader.subjects(file, name))

    def subject(self, picture: Subject) -> Subject:
        return picture

    def answers(self, picture: Subject) -> dict[str, tuple[float, tuple[float, float]]]:
        """P(fake) and the logits, real and fake, of each variant."""
        return {name: (score_of(logits).p_fake, logits) for name, logits in self.logits(picture).items()}

    def explain(self, picture: Subject, folder: Path) -> Explained:
        """Look into a picture, and write its inspection into `folder`."""
        from bench.reports import inspection

        inspected = self.inspect(picture)
        pages = inspection.write(inspected, folder)
        card = inspection.card_of(inspected, f"{quote(picture.name)}/{inspection.PAGE}")
        return Explained(pages, inspection.explanations(inspected), card, tuple(lines_of(inspected)))

    def logits(self, subject: Subject) -> dict[str, tuple[float, float]]:
        """The logits of each variant."""
        return {each.judge.name: answer(each.session, subject.fitted)[0] for each in self.panel}

    def highest(self, subjects: Sequence[Subject]) -> Subject:
        """Of a picture's faces that with the highest P(fake), as the first variant sees it."""
        if len(subjects) == 1:
            return subjects[0]
        first = self.panel[0].session
        return max(subjects, key=lambda subject: score_of(answer(first, subject.fitted)[0]).logit_diff)

    def inspect(self, subject: Subject) -> Inspection:
        """What all variants see in a subject."""
        import numpy as np

        from bench.detectors.journey import network_input

        options = self.options
        now = datetime.datetime.now(datetime.UTC)
        fitted = np.ascontiguousarray(subject.fitted.transpose(2, 0, 1))
        looks = tuple(look(each, subject, self.threshold, options.target, options.levels) for each in self.panel)
        return Inspection(
            experiment=self.chosen.experiment,
            process=f"inspect_{Path(subject.name).name}_{now:%Y%m%d_%H%M%S}",
            time=now.isoformat(timespec="seconds"),
            subject=subject,
            preprocessing=self.chosen.preprocessing,
            network_input=network_input(self.chosen.preprocessing, fitted),
            threshold=self.threshold,
            looks=looks,
            map_kind=self.chosen.run.map_kind,
            asked=options.target,
        )
