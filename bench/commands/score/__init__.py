"""`bench score`: the same report for imported scores, made on any device by any framework."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import datasets, reports
from bench.commands.score.checks import SCORES, checked, refuse_to_overwrite
from bench.datasets.layouts import SPLIT_WORDS
from bench.errors import UserError, listed, quoted
from bench.files import make_folder, remove, rename, sweep, temporary_name
from bench.pipeline.finished import REPORT, Finished
from bench.provenance import file_digest, provenance
from bench.records import (
    DEFAULT_THRESHOLD,
    LABEL_WORDS,
    LABELLED_SPLITS,
    Evaluation,
    Event,
    LabelledFrames,
    OnEvent,
    RunRecord,
    Split,
    SplitSummary,
    ThresholdRule,
    VariantResult,
    silent,
    single_sources,
)
from bench.results import groups, score
from bench.results.external import align, of_runs, read
from bench.results.external.judging import Judging, judged_as
from bench.results.external.read import Columns, ImportedScores
from bench.results.external.scales import Meaning

LABELS = "labels"
"""What options for a single file call the file of labels."""


@dataclass(frozen=True)
class Request:
    """Which files to score, the first as baseline, and how; `labels` is a file of labels alone.

    `names` are those of the variants, in the order of the files; without them, each is called like its file, without
    the ending. `columns_of` are those of files that call them otherwise than `columns`, by their variants' names, and
    by "labels". `source_pattern` finds a frame's source in its name, where no file has it. `judging` says whether
    frames or videos are judged, and how. `groups` are columns between whose values the gap of error rates is given.
    `meaning` is what the numbers of all files are, `meaning_of` that of single ones. The report is written to the
    folder `to`, or to `reports/<name>/`.
    """

    name: str
    files: tuple[Path, ...]
    columns: Columns
    labels: Path | None = None
    threshold: float | ThresholdRule = DEFAULT_THRESHOLD
    margin: float = 0.01
    to: Path | None = None
    names: tuple[str, ...] = ()
    source_pattern: str | None = None
    columns_of: Mapping[str, Columns] = field(default_factory=dict)
    judging: Judging = field(default_factory=Judging)
    groups: tuple[str, ...] = ()
    meaning: Meaning = field(default_factory=Meaning)
    meaning_of: Mapping[str, Meaning] = field(default_factory=dict)

    @property
    def variants(self) -> list[tuple[str, Path]]:
        """Name and file of each variant, in order; names may not be distinct yet."""
        names = self.names or tuple(file.stem for file in self.files)
        return list(zip(names, self.files, strict=True))

    @property
    def folder(self) -> Path:
        return self.to or Path("reports") / self.name


def columns_by_file(options: Mapping[str, Sequence[str]], names: Sequence[str]) -> tuple[Columns, dict[str, Columns]]:
    """The columns of all files, and those of single files, from options such as `prob` and `int8=label`, by role.

    Before the sign stands one of `names`; a column whose own name holds the sign is meant otherwise. Raises `UserError`
    for an option that is empty or given twice.
    """
    by_file: dict[str, dict[str, str]] = {}
    for role, values in options.items():
        for value in values:
            file, sign, column = value.partition("=")
            file, column = (file, column) if sign and file in names else ("", value)
            if not column.strip():
                raise UserError(f"--{role}-column: is empty; expected the name of a column")
            if by_file.setdefault(file, {}).setdefault(role, column) != column:
                whose = f" for {file}" if file else ""
                raise UserError(
                    f"--{role}-column: {quoted(column)} is the second name{whose}; for a single file write "
                    f"NAME=COLUMN, where NAME is one of {listed(names)}"
                )
    common = by_file.pop("", {})
    return Columns(**common), {file: Columns(**{**common, **named}) for file, named in by_file.items()}


def score_files(request: Request, on_event: OnEvent = silent) -> Finished:
    """Score and render the files. Raises `UserError` for bad input before anything is written."""
    variants = checked(request)
    refuse_to_overwrite(request)
    aligned = _read(request, variants, on_event)
    run = _with_threshold(_run(request, variants, aligned), aligned)
    on_event(Event("scoring", 0, 1, "reports"))
    _render(run, _evaluate(run, aligned), request.folder)
    on_event(Event("scoring", 1, 1, "reports"))
    return Finished(run, reports.read_scores(request.folder), request.folder / REPORT)


def score_imported(request: Request, imported: Mapping[str, ImportedScores]) -> tuple[RunRecord, Evaluation]:
    """Score imported scores in memory, by the names of their variants, the first as baseline; `request` has no files.

    A report is written only to `request.to`. Raises `UserError` for bad input before anything is written.
    """
    if request.to is not None:
        refuse_to_overwrite(request)
    aligned = align.align(imported, None, request.columns)
    digests = {
        name: hashlib.sha256(predictions.ranks.tobytes()).hexdigest()
        for name, predictions in aligned.predictions.items()
    }
    arrays = "; ".join(f"{name} (SHA-256 {digest})" for name, digest in digests.items())
    run = _record(request, {name: digest[:16] for name, digest in digests.items()}, {"arrays": arrays}, aligned)
    run = _with_threshold(run, aligned)
    evaluation = _evaluate(run, aligned)
    if request.to is not None:
        _render(run, evaluation, request.to)
    return run, evaluation


def _with_threshold(run: RunRecord, aligned: align.Aligned) -> RunRecord:
    """The run with the threshold that its rule finds on the baseline's validation frames."""
    baseline = next(iter(aligned.predictions.values()))
    return score.with_threshold(run, aligned.frames.get("validation"), baseline)


def _evaluate(run: RunRecord, aligned: align.Aligned) -> Evaluation:
    return score.evaluate(run, aligned.frames["test"], aligned.frames.get("validation"), aligned.predictions)


def _render(run: RunRecord, evaluation: Evaluation, folder: Path) -> None:
    """Render into a temporary folder, then move the files, so that an interruption leaves the folder as it was.

    scores.json goes first: by it the folder is recognised as this command's.
    """
    make_folder(folder)
    sweep(folder, held=True)
    scratch = folder / temporary_name()
    try:
        reports.render(run, evaluation, None, None, scratch)
        files = [path.relative_to(scratch) for path in scratch.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: path.name != SCORES):
            make_folder((folder / path).parent)
            rename(scratch / path, folder / path)
    finally:
        remove(scratch)


def _read(request: Request, variants: Mapping[str, Path], on_event: OnEvent) -> align.Aligned:
    """The rows of all files, in one order; everything that is wrong with any file is one `UserError`."""
    words = read.Words(LABEL_WORDS, SPLIT_WORDS)
    imported: dict[str, ImportedScores] = {}
    labels: ImportedScores | None = None
    problems: list[str] = []
    attributes: dict[str, object] = {}
    columns, before = request.columns, int(bool(request.labels))
    total = len(variants) + before
    if request.labels:
        try:
            of_labels = request.columns_of.get(LABELS, columns)
            labels = read.read(request.labels, of_labels, words, only_labels=True, further=None)
            attributes.update(labels.attributes)
        except UserError as error:
            problems += error.lines
    for done, (name, path) in enumerate(variants.items(), before):
        on_event(Event("reading scores", done, total, "files"))
        try:
            of_file = request.columns_of.get(name, columns)
            meaning = request.meaning_of.get(name, request.meaning)
            further = None if done == before else attributes
            file = read.read(path, of_file, words, further=further, meaning=meaning)
            imported[name] = of_runs.with_run(file, further)
            attributes.update(imported[name].attributes)
        except UserError as error:
            problems += error.lines
    if problems:
        raise UserError(*problems)
    find_sources = partial(_sources, request.source_pattern) if request.source_pattern else None
    aligned = align.align(imported, labels, columns, find_sources)
    on_event(Event("reading scores", total, total, "files"))
    return aligned


def _sources(pattern: str, frames: Sequence[str], labels: Sequence[int | None]) -> Sequence[str | None]:
    """The source that the pattern finds in each frame's name; `UserError` where it finds none at all."""
    sources = datasets.find_sources(pattern, frames, labels)
    if frames and not any(sources):
        raise UserError(f"--source-pattern {quoted(pattern)} matches no frame, for example {quoted(frames[0])}")
    return sources


def _unknown_sources(frames: Mapping[Split, LabelledFrames]) -> Iterator[str]:
    """A warning for each split in which only a part of the frames has a source."""
    for split, labelled in frames.items():
        unknown = labelled.sources.isna().to_numpy()
        if unknown.any() and not unknown.all():
            counts = " and ".join(
                f"{int(unknown[labelled.labels == label].sum()):,} of {int((labelled.labels == label).sum()):,} {word}"
                for label, word in enumerate(("real", "fake"))
            )
            yield (
                f"{counts} {split} frames have no source: {listed(labelled.frames[unknown], 3)}. "
                "Each counts as a video of its own: where they share videos, intervals are too narrow."
            )


def _run(request: Request, variants: Mapping[str, Path], aligned: align.Aligned) -> RunRecord:
    used = (*request.files, *([request.labels] if request.labels else []))
    files = {path: file_digest(path) for path in used}
    inputs = "; ".join(f"{path} (SHA-256 {digest})" for path, digest in files.items())
    return _record(request, {name: files[path][:16] for name, path in variants.items()}, {"files": inputs}, aligned)


def _record(request: Request, ids: Mapping[str, str], inputs: Mapping[str, str], aligned: align.Aligned) -> RunRecord:
    """The run's record; `ids` are digests of the variants' scores, `inputs` says where these come from."""
    rule = request.threshold if isinstance(request.threshold, ThresholdRule) else None
    option = "--groups" if request.files else "groups"
    groups.refuse(request.groups, aligned.frames["test"], option)
    judged = judged_as(request.judging, aligned.frames, aligned.missing, "--judge" if request.files else "judge")
    return RunRecord(
        experiment=request.name,
        detector="",
        architecture="",
        preprocessing=None,
        threshold=DEFAULT_THRESHOLD if isinstance(request.threshold, ThresholdRule) else request.threshold,
        threshold_rule=rule,
        gallery_top=1,
        gallery_heatmaps="gallery",
        frames={split: _summary(frames, aligned.digests[split]) for split, frames in aligned.frames.items()},
        variants=tuple(VariantResult(name, content, (), "ok", None) for name, content in ids.items()),
        provenance=provenance(inputs, ("numpy", "pyarrow", "scipy")),
        margin=request.margin,
        judge=judged.unit,
        video_scoring=request.judging.scoring,
        videos=judged.videos,
        groups=request.groups,
        warnings=(
            *aligned.remarks,
            *judged.remarks,
            *_of_pattern(request, aligned.frames),
            *_unknown_sources(aligned.frames),
            *_shared_sources(aligned.frames),
        ),
    )


def _of_pattern(request: Request, frames: Mapping[Split, LabelledFrames]) -> tuple[str, ...]:
    """A warning where the sources that a pattern gives cannot be videos or persons."""
    if request.source_pattern is None:
        return ()
    names = [str(name) for labelled in frames.values() for name in labelled.frames]
    sources = [source for labelled in frames.values() for source in labelled.sources.astype(object)]
    texts = [source if isinstance(source, str) else None for source in sources]
    return datasets.source_remarks(request.source_pattern, names, texts)


def _shared_sources(frames: Mapping[Split, LabelledFrames]) -> tuple[str, ...]:
    """A warning where test frames share sources with the frames that thresholds are set on."""
    if "validation" not in frames:
        return ()
    test, validation = (single_sources(frames[split].sources) for split in LABELLED_SPLITS)
    shared = sorted(test & validation)
    return (f"Test and validation share sources: {listed(shared, 5)}.",) if shared else ()


def _summary(frames: LabelledFrames, digest: str) -> SplitSummary:
    fake, counted = int((frames.labels == 1).sum()), frames.labels[frames.counted]
    return SplitSummary(
        "", len(frames.labels), fake, len(frames.labels) - fake, len(single_sources(frames.sources)), digest,
        copies=len(frames.labels) - len(counted), fake_copies=fake - int((counted == 1).sum()),
    )  # fmt: skip
