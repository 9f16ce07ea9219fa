"""What is written beside a model file: `predict.py`, README.md for people and model.json for programs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.commands.export import models
from bench.commands.export.calibrated import Calibrated, of_files
from bench.commands.export.card import NO_CLAIMS, Claims, front_matter
from bench.datasets.decoding import LONGEST
from bench.datasets.splits import WRITE_PATTERN
from bench.detectors import families
from bench.errors import on_one_line
from bench.footage import crops
from bench.pipeline.device import CPU_USED
from bench.pipeline.notes import TOOK
from bench.pipeline.summary import NOT_SHOWN, NOT_TIMED, SEE_LOG
from bench.provenance import version, write_json
from bench.records import (
    HANDED_OVER,
    LOWERED,
    NO_CROP,
    Built,
    Evaluation,
    Executed,
    Filter,
    HandedOver,
    InputSpec,
    MeasuredBy,
    ModelFile,
    Moved,
    OverallVerdict,
    Preprocessing,
    RunRecord,
    VariantResult,
)
from bench.reports.content.judged import judged
from bench.reports.content.remarks import remarks
from bench.reports.content.spans import sentence
from bench.reports.content.text import MIB, NONE, area, difference, number, plain, rough, times
from bench.reports.content.variants import verdict
from bench.reports.content.warnings import warnings_for_receivers
from bench.reports.markdown.write import escape, words
from bench.reports.scores_json import as_json, scores
from bench.reports.templates import environment

TEMPLATES = Path(__file__).parent
# Warnings of the run about its other variants, and about the machine, which the README describes.
_FOR_SENDERS = (NOT_SHOWN, NOT_TIMED, CPU_USED)
_RESIZED: dict[Filter, str] = {
    "bilinear": "cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)",
    "bicubic": "cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)",
    "area": "cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)",
    "pil-bilinear": "np.asarray(Image.fromarray(picture).resize((width, height), Image.BILINEAR))",
    "pil-bicubic": "np.asarray(Image.fromarray(picture).resize((width, height), Image.BICUBIC))",
}
"""What `predict.py` resizes with."""
_NAMES: dict[Filter, str] = {
    "bilinear": "OpenCV's INTER_LINEAR",
    "bicubic": "OpenCV's INTER_CUBIC",
    "area": "OpenCV's INTER_AREA",
    "pil-bilinear": "Pillow's BILINEAR",
    "pil-bicubic": "Pillow's BICUBIC",
}


@dataclass(frozen=True)
class Facts:
    """What the texts are written from; `predict.py` runs the first of `files`.

    `on_sets` is the verdict over several frame sets, `of_sets` what is said of these; None, and empty, where there is
    one. `calibration` is what the files' logits were scaled by; None where they are as they were evaluated. `claims`
    are what the owner says of the detector.
    """

    run: RunRecord
    variant: VariantResult
    built: Built
    evaluation: Evaluation
    files: dict[str, ModelFile]
    on_sets: OverallVerdict | None = None
    of_sets: tuple[str, ...] = ()
    calibration: Calibrated | None = None
    claims: Claims = NO_CLAIMS

    @property
    def threshold(self) -> float:
        """The experiment's threshold, on P(fake) of the files."""
        return self.moved(self.run.threshold)

    def moved(self, threshold: float) -> float:
        """A threshold on P(fake) as it was evaluated, on P(fake) of the files."""
        return self.calibration.moved(threshold) if self.calibration else threshold

    @property
    def model(self) -> str:
        return next(iter(self.files))

    @property
    def from_elsewhere(self) -> bool:
        """Whether its graph was made elsewhere, or from one that was: which older libraries know it, nobody tried."""
        return self.built.imported or families.kind(self.run.architecture) == "onnx"

    @property
    def baseline(self) -> VariantResult:
        return self.run.baseline

    @property
    def preprocessing(self) -> Preprocessing:
        assert self.run.preprocessing is not None
        return self.run.preprocessing

    @property
    def executed(self) -> Executed:
        assert self.variant.executed is not None
        return self.variant.executed


def write_snippet(facts: Facts, folder: Path) -> None:
    """`predict.py`, for the file that it runs."""
    kind = "onnx" if facts.model.endswith(".onnx") else "torch"
    _write(f"predict_{kind}.py.j2", folder / "predict.py", _of_snippet(facts))


def write_about(facts: Facts, moved: tuple[Moved, ...], folder: Path) -> None:
    """README.md and model.json."""
    record = _record(facts, moved)
    write_json(folder / HANDED_OVER, dataclasses.asdict(record))
    run, variant = facts.run, facts.variant
    of = judged(run, facts.evaluation)
    of_variant = of.evaluation.variants[variant.name]
    values = {
        **_of_snippet(facts),
        "run": run,
        "variant": variant,
        "judged": of_variant,
        "unit": of.unit,
        "record": record,
        "onnx": facts.model.endswith(".onnx"),
        "lowered": LOWERED,
        "from_elsewhere": facts.from_elsewhere,
        "rows": _rows(facts),
        "none": NONE,
        "no_crop": NO_CROP,
        "crop_is": _of_crop(facts.preprocessing.crop),
        "has_map": facts.evaluation.predictions[variant.name].cam is not None,
        "alone": variant is facts.baseline,
        "verdict": verdict(variant is facts.baseline, of_variant) or NONE,
        "warnings": _warnings(facts),
        "of_sets": facts.of_sets,
        "claims": facts.claims,
        "installed": models.installed(facts.preprocessing.input_spec),
        "oldest_python": models.OLDEST_PYTHON,
        "mib": _mib,
        "share": _share,
        "moved": facts.moved,
    }
    numbers = of_files(facts.calibration, scores(run, facts.evaluation), variant.name)
    head = front_matter(run, facts.built, numbers, variant.name, facts.claims, facts.model)
    _write("readme.md.j2", folder / "README.md", values, head)


def _of_snippet(facts: Facts) -> dict[str, Any]:
    spec = facts.preprocessing.input_spec
    return {
        "built": facts.built,
        "model": facts.model,
        **of_spec(spec),
        "threshold": facts.threshold,
        "calibration": facts.calibration.applied if facts.calibration else None,
        "oldest": models.installed(spec) if facts.from_elsewhere else models.oldest(facts.built, spec),
        "version": version("bench"),
    }


def of_spec(spec: InputSpec) -> dict[str, Any]:
    """What the template asks of how frames are fitted: `down` and `up` are the expressions that resize."""
    smaller, larger = (spec.filter_for(larger=is_larger) for is_larger in (False, True))
    down, up = _RESIZED[smaller], _RESIZED[larger]
    filters = _NAMES[smaller]
    if smaller != larger:
        filters = f"{filters} where it gets smaller, {_NAMES[larger]} where it gets larger"
    return {
        "spec": spec,
        "down": down,
        "up": up,
        "filters": filters,
        "with_pillow": "Image" in down + up,
        "longest": LONGEST,
        "short": int(spec.size / spec.crop_pct),
    }


def _record(facts: Facts, moved: tuple[Moved, ...]) -> HandedOver:
    """The content of model.json."""
    run, variant, executed = facts.run, facts.variant, facts.executed
    numbers = scores(run, facts.evaluation)
    by_variant = numbers.variants
    # Files whose logits were scaled are none of those that ran.
    file = None if facts.calibration else models.executed_file(facts.built, executed, facts.files)
    libraries = run.provenance.get("libraries", "")
    return HandedOver(
        bench=version("bench"),
        experiment=run.experiment,
        detector=run.detector,
        variant=variant.name,
        id=variant.id,
        steps=variant.steps,
        architecture=run.architecture,
        model=facts.model,
        files=facts.files,
        input=facts.preprocessing.input_spec,
        margin_bias=facts.built.margin_bias,
        threshold=facts.threshold,
        threshold_rule=numbers.threshold_rule,
        measured=MeasuredBy(
            file, executed.runtime, executed.device, executed.device_name, executed.computed, libraries
        ),
        moved=moved,
        baseline=facts.baseline.name,
        scores=as_json(by_variant[variant.name]),
        baseline_scores=as_json(by_variant[facts.baseline.name]),
        crop=facts.preprocessing.crop,
        verdicts={name: each.verdict for name, each in facts.on_sets.comparisons.items()} if facts.on_sets else {},
        verdict_over_all=facts.on_sets.verdict if facts.on_sets else None,
        calibration=facts.calibration.applied if facts.calibration else None,
        judge=run.judge,
        video_scoring=run.video_scoring if run.judge == "video" else None,
    )


def _of_crop(name: str) -> str:
    """The crop in words; empty for one that this bench does not have."""
    return crops.summary(name) if name in crops.PRESETS else ""


def _rows(facts: Facts) -> list[tuple[str, ...]]:
    """Rows of Markdown cells: a quantity, this variant's value, the baseline's."""
    evaluation = facts.evaluation.by(facts.run.judge)
    names = (facts.variant.name, facts.baseline.name)
    of_both = [evaluation.variants.get(name) for name in names]
    speeds = [evaluation.speeds[name] for name in names]
    footprints = [facts.variant.footprint, facts.baseline.footprint]
    executed = [facts.variant.executed, facts.baseline.executed]
    comparison = of_both[0].comparison if of_both[0] else None
    reference = speeds[0].reference
    return [
        ("ROC AUC (95 %)", *(area(answers.auc if answers else None) for answers in of_both)),
        ("its difference (95 %)", difference(comparison.delta if comparison else None), NONE),
        ("milliseconds a frame, batch 1", *(rough(speed.single.p50_ms if speed.single else None) for speed in speeds)),
        (
            "times faster than the baseline in the same runtime",
            times(speeds[0].speedup),
            f"{rough(reference.p50_ms)} ms in {escape(reference.runtime)}" if reference else NONE,
        ),
        ("as bench stores it, MiB", *(_mib(size.size_bytes) if size else NONE for size in footprints)),
        (
            "timed in",
            *(
                f"{escape(ran.runtime)} on {escape(ran.device)}" if ran and speed.single else NONE
                for ran, speed in zip(executed, speeds, strict=True)
            ),
        ),
    ]


def _warnings(facts: Facts) -> list[str]:
    """The warnings and notes of the report on this variant that its receiver can use, in Markdown."""
    run, variant = facts.run, facts.variant
    pair = (facts.baseline, variant)
    alone = replace(run, variants=tuple(compared for compared in run.variants if compared in pair))
    of_run = [line.removesuffix(WRITE_PATTERN) for line in run.warnings if not line.startswith(_FOR_SENDERS)]
    of = judged(run, facts.evaluation)
    said_of_it = remarks(of.run, variant, of.evaluation, for_receivers=True)
    beside = [words(of.sentence(sentence(remark))) for remark in said_of_it]
    beside += [escape(note.removesuffix(SEE_LOG)) for note in variant.notes if TOOK not in note]
    beside += [] if variant.measurements else ["it was not timed, so nothing is said of its speed"]
    return [
        *map(words, warnings_for_receivers(alone, scores(run, facts.evaluation))),
        *map(escape, of_run),
        *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in beside),
    ]


def _write(template: str, target: Path, facts: dict[str, Any], head: str = "") -> None:
    """Render a template of this folder below the `head`; values that are text stay on one line."""
    filters = {"text": escape, "code": _code, "literal": _literal}
    templates = environment(TEMPLATES, filters, keep_trailing_newline=True, finalize=_on_one_line)
    target.write_text(head + templates.get_template(template).render(**facts), encoding="utf-8")


def _mib(size_bytes: int) -> str:
    return number(size_bytes / MIB, 2)


def _share(value: float | None) -> str:
    return number(value, 3)


def _on_one_line(value: object) -> object:
    return on_one_line(value) if isinstance(value, str) else value


def _literal(value: str | int) -> str:
    """Data in Python code: text in quotes, with every quote, backslash and line break in it escaped."""
    return json.dumps(value)


def _code(value: object) -> str:
    """Data in a code span of Markdown, which a backtick would end."""
    return f"`{plain(value).replace('`', chr(39))}`"
