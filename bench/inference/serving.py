"""Variants that are to be served: which are meant, each loaded, with what the report says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench.errors import UserError, listed, nearest, quoted
from bench.experiment import ExperimentSettings
from bench.inference import variants
from bench.inference.reported import Reported, reported
from bench.inference.served import Member, Served
from bench.inference.subjects import FramesOfSet
from bench.inference.variants import Loaded
from bench.records import Event, Measurement, OnEvent, VariantResult
from bench.records.ensembles import Ensemble
from bench.reports.content.text import MIB
from bench.results import predict

WORK = "loading variants"


def serve(
    base: Path,
    name: str,
    settings: ExperimentSettings,
    titles: Sequence[str],
    on_event: OnEvent,
    ensemble: str | None = None,
    open_session: variants.OpenSession = variants.open_here,
) -> tuple[Served, ...]:
    """The variants of these names, loaded, the first by default; without names the one that the report says to ship.

    Of an `ensemble`, names may be those of its variants alone, and its own come first. `open_session` is where they
    compute: this process, or others.

    Raises `UserError` where one was not evaluated or its artifact is gone, or nothing is to be shipped.
    """
    pairs = _meant(settings, titles, ensemble)
    of_reports = {detector: reported(base, name, settings, detector) for detector in dict.fromkeys(d for d, _ in pairs)}
    shipped = [
        (detector, variant or _to_ship(name, settings, of_reports[detector], detector)) for detector, variant in pairs
    ]
    loader, served = _Loader(base, name, settings, open_session), []
    asked = list(dict.fromkeys(shipped))
    for detector, variant in asked:
        loader.refuse_missing(detector, variant, of_reports[detector])
    for index, (detector, variant) in enumerate(asked):
        title = f"{detector}/{variant}" if settings.is_side_by_side else variant
        on_event(Event(WORK, index, len(asked), "variants", title))
        served.append(loader.served(title, detector, variant, of_reports[detector]))
    on_event(Event(WORK, len(asked), len(asked), "variants"))
    return tuple(served)


def _meant(settings: ExperimentSettings, titles: Sequence[str], ensemble: str | None) -> list[tuple[str, str | None]]:
    """The detectors and variants that are asked for; None for the variant that the report says to ship."""
    if ensemble is not None:
        _refuse_unknown(settings, ensemble)
        names = settings.of(ensemble).variants
        pairs = [(ensemble, title) if title in names else variants.find_listed(settings, title) for title in titles]
        first: list[tuple[str, str | None]] = [pair for pair in pairs if pair[0] == ensemble]
        return [*(first or [(ensemble, None)]), *(pair for pair in pairs if pair[0] != ensemble)]
    if titles:
        return [variants.find_listed(settings, title) for title in titles]
    if len(settings.given_names) > 1:
        raise UserError(
            f"several detectors are compared ({listed(settings.detector_names)}): `--variant` says which variant is "
            f"served: {', '.join(settings.titles)}"
        )
    return [(settings.given_names[0], None)]


def _refuse_unknown(settings: ExperimentSettings, ensemble: str) -> None:
    if ensemble in settings.ensembles:
        return
    raise UserError(
        f"--ensemble: there is no ensemble {quoted(ensemble)}{nearest(ensemble, settings.ensembles)} in this "
        f"experiment; its ensembles are: {', '.join(settings.ensembles) or 'none'}; `--variant` serves a variant of a "
        f"detector: {', '.join(settings.titles)}"
    )


def _to_ship(name: str, settings: ExperimentSettings, of: Reported, detector: str) -> str:
    """The variant that the report says to ship."""
    if of.to_ship is None:
        titles = [title for title, (each, _) in settings.titles.items() if each == detector]
        raise UserError(
            f"the report of {name} names no variant to ship (none meets the limits, or none can be judged); "
            f"`--variant` names the one to serve: {', '.join(titles)}"
        )
    return of.to_ship


@dataclass
class _Loader:
    """Loads variants, each once: an ensemble's variants share those of members that stay as they are."""

    base: Path
    name: str
    settings: ExperimentSettings
    open_session: variants.OpenSession
    _loaded: dict[tuple[str, str], tuple[Member, Loaded]] = field(default_factory=dict)
    _of_set: FramesOfSet | None = None

    def refuse_missing(self, detector: str, variant: str, of: Reported) -> None:
        """Raise `UserError` where what is needed was not evaluated, or an artifact is gone."""
        for member, part in self._parts(detector, variant, of).items():
            variants.refuse_missing(self._chosen(member, part))

    def served(self, title: str, detector: str, variant: str, of: Reported) -> Served:
        """A variant with its members loaded, and what the report says of it."""
        parts, run = self._parts(detector, variant, of), of.run
        rule, failed = Ensemble({title: 1.0}), dict[str, str]()
        names = {detector: title}
        if run.ensemble is not None:
            whole = run.ensemble.parts[variant]
            failed = {member: "it failed in the run" for member in whole if member not in parts}
            rule = replace(
                run.ensemble.rule,
                weights={member: run.ensemble.rule.weights[member] for member in parts},
                minimum=min(run.ensemble.rule.minimum, len(parts)),
            )
            names = {member: member for member in parts}
        loaded = {member: self._member(member, part) for member, part in parts.items()}
        return Served(
            name=title,
            members=tuple(replace(each, name=names[member]) for member, (each, _) in loaded.items()),
            rule=rule,
            threshold=run.threshold,
            verdict=of.verdict(variant),
            auc=of.auc(variant),
            size_mib=sum(each.built.size_bytes for _, each in loaded.values()) / MIB,
            has_map=predict.has_cams(self._results(detector) / variant),
            video_scoring=run.video_scoring,
            failed=failed,
        )

    def _results(self, detector: str) -> Path:
        return self.base / "results" / self.name / self.settings.folder(detector, self.settings.frame_sets[0])

    def _parts(self, detector: str, variant: str, of: Reported) -> dict[str, str]:
        """The variant of each member that answers; of a network itself alone. `UserError` where there are none."""
        if of.run.ensemble is None:
            return {detector: variant}
        variants.evaluated({row.name: row for row in of.run.variants}, variant, self.name)
        runs = {member: variants.run_of(self._results(member)) for member in of.run.ensemble.parts[variant]}
        return {
            member: part
            for member, part in of.run.ensemble.parts[variant].items()
            if any(row.name == part and row.status == "ok" for row in runs[member].variants)
        }

    def _chosen(self, detector: str, variant: str) -> variants.Chosen:
        return variants.of_detector(self.base, self.name, self.settings, detector, [variant])

    def _member(self, detector: str, variant: str) -> tuple[Member, Loaded]:
        """A variant of a network, loaded once."""
        if (detector, variant) not in self._loaded:
            chosen = self._chosen(detector, variant)
            (result,) = chosen.variants
            loaded = variants.load(chosen.base / "variants", result, chosen.settings, self.open_session)
            # All detectors of an experiment are judged on the same frames.
            self._of_set = self._of_set or variants.frames_of_sets(chosen)
            member = Member(
                detector, loaded.judge, loaded.session, chosen.preprocessing, self._of_set, _latency_ms(result, loaded)
            )
            self._loaded[detector, variant] = member, loaded
        return self._loaded[detector, variant]


def _latency_ms(result: VariantResult, loaded: Loaded) -> Mapping[int, float]:
    ran = loaded.session.executed
    return latency_ms(result.measurements, ran.runtime, ran.device)


def latency_ms(measurements: Sequence[Measurement], runtime: str, device: str) -> dict[int, float]:
    """The median of a call by batch size, in milliseconds, of what was measured in this runtime on this device."""
    return {
        each.batch_size: median(sample for part in each.rounds_ms for sample in part)
        for each in sorted(measurements, key=lambda each: each.batch_size)
        if (each.runtime, each.device) == (runtime, device) and any(each.rounds_ms)
    }
