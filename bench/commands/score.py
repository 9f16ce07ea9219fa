"""`bench score`: the same report for scores that were made elsewhere, on any device, by any framework."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import datasets, reports, stored
from bench.datasets.layouts import LABEL_WORDS, SPLIT_WORDS
from bench.errors import UserError, listed, quoted
from bench.experiment import checked_name
from bench.files import is_leftover, make_folder, remove, rename, sweep, temporary_name
from bench.pipeline.render import REPORT, Finished
from bench.provenance import command, file_digest, version, versions
from bench.records import (
    LABELLED_SPLITS,
    Evaluation,
    Event,
    LabelledFrames,
    OnEvent,
    RunRecord,
    Split,
    SplitSummary,
    VariantResult,
    silent,
)
from bench.results import score, store
from bench.results.external import align, read
from bench.results.external.read import Answers, Columns

_SCORES = "scores.json"


@dataclass(frozen=True)
class Request:
    """Which files to score, the first as baseline, and how; `labels` is a file of labels alone.

    `names` are those of the variants, in the order of the files; left out, each is called like its file, without the
    ending. `source_pattern` finds in a frame's name the source that no file tells. The report is written to the
    folder `to`, or `reports/<name>/`.
    """

    name: str
    files: tuple[Path, ...]
    columns: Columns
    labels: Path | None = None
    threshold: float = 0.5
    margin: float = 0.01
    to: Path | None = None
    names: tuple[str, ...] = ()
    source_pattern: str | None = None

    @property
    def variants(self) -> list[tuple[str, Path]]:
        """Name and file of each, in order; names may still be doubled."""
        names = self.names or tuple(file.stem for file in self.files)
        return list(zip(names, self.files, strict=True))

    @property
    def folder(self) -> Path:
        return self.to or Path("reports") / self.name


def score_files(request: Request, on_event: OnEvent = silent) -> Finished:
    """Score and render what the files say.

    Raises `UserError` for bad input; then nothing is written.
    """
    variants = _checked(request)
    _refuse_to_overwrite(request)
    aligned = _read(request, variants, on_event)
    run = _run(request, variants, aligned)
    on_event(Event("scoring", 0, 1, "reports"))
    _render(run, _evaluate(run, aligned), request.folder)
    on_event(Event("scoring", 1, 1, "reports"))
    return Finished(run, reports.read_scores(request.folder), request.folder / REPORT)


def score_answers(request: Request, answers: Mapping[str, Answers]) -> tuple[RunRecord, Evaluation]:
    """The same for answers in memory, by the names of their variants, the first as baseline; `request` has no files.

    A report is only written where `request.to` says. Raises `UserError` for bad input; then nothing is written.
    """
    if request.to is not None:
        _refuse_to_overwrite(request)
    aligned = align.align(answers, None, request.columns)
    digests = {
        name: hashlib.sha256(predictions.test.tobytes()).hexdigest()
        for name, predictions in aligned.predictions.items()
    }
    arrays = "; ".join(f"{name} (SHA-256 {digest})" for name, digest in digests.items())
    run = _record(request, {name: digest[:16] for name, digest in digests.items()}, {"arrays": arrays}, aligned)
    evaluation = _evaluate(run, aligned)
    if request.to is not None:
        _render(run, evaluation, request.to)
    return run, evaluation


def _evaluate(run: RunRecord, aligned: align.Aligned) -> Evaluation:
    return score.evaluate(run, aligned.frames["test"], aligned.frames.get("validation"), aligned.predictions)


def _render(run: RunRecord, evaluation: Evaluation, folder: Path) -> None:
    """Rendered aside, so that what is interrupted leaves the folder as it was; the file it is known by goes first."""
    make_folder(folder)
    sweep(folder, held=True)
    own = folder / temporary_name()
    try:
        reports.render(run, evaluation, None, None, own)
        for path in sorted(own.iterdir(), key=lambda path: path.name != _SCORES):
            rename(path, folder / path.name)
    finally:
        remove(own)


def _checked(request: Request) -> dict[str, Path]:
    """The files by the names of their variants; what is wrong with the command is said at once."""
    problems = []
    if not 0 < request.threshold < 1:
        problems.append(f"--threshold: expected a number above 0 and below 1, found {request.threshold}")
    if not 0 <= request.margin < 1:
        problems.append(f"--margin: expected a number from 0 to below 1, found {request.margin}")
    try:
        datasets.checked_pattern(request.source_pattern)
    except ValueError as error:
        problems.append(f"--source-pattern: {error}")
    hint = "; write NAME=FILE to call it otherwise"
    for what, name, advice in (
        ("--name", request.name, ""),
        *((str(file), name, hint if name == file.stem else "") for name, file in request.variants),
    ):
        try:
            checked_name(name)
        except ValueError as error:
            problems.append(f"{what}: {error}{advice}")
    variants: dict[str, Path] = {}
    for name, file in request.variants:
        if (key := name.casefold()) in variants:
            example = quoted(f"other={file}")
            problems.append(
                f"{variants[key]} and {file}: both would be the variant {quoted(name)}, as a variant is called like "
                f"its file; write NAME=FILE, such as {example}"
            )
        variants.setdefault(key, file)
    if problems:
        raise UserError(*problems)
    return dict(request.variants)


def _refuse_to_overwrite(request: Request) -> None:
    """Only what this command wrote is written anew: not an experiment's report, nor anything else."""
    folder = request.folder
    if request.to is None and (Path("results") / request.name / store.RUN).exists():
        raise UserError(
            f"{folder}: belongs to the experiment {quoted(request.name)} of `bench run`; choose another --name"
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and the report's folder would be there; move it away")
    if not folder.is_dir() or all(is_leftover(path) for path in folder.iterdir()):
        return
    try:
        told = stored.read_json(folder / _SCORES)
        own = told["detector"] == told["architecture"] == ""
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder}: holds other files; choose another --name or --to, or empty it") from None
    if not own:
        raise UserError(f"{folder}: holds the report of an experiment of `bench run`; choose another --name or --to")


def _read(request: Request, variants: Mapping[str, Path], on_event: OnEvent) -> align.Aligned:
    """What all files say, in one order; of every file that can't be used all that is wrong, in one message."""
    words = read.Words(LABEL_WORDS, SPLIT_WORDS)
    answers: dict[str, Answers] = {}
    told: Answers | None = None
    problems: list[str] = []
    known: dict[str, object] = {}
    labels, columns = request.labels, request.columns
    total = len(variants) + bool(labels)
    if labels:
        try:
            told = read.read(labels, columns, words, only_labels=True, further=None)
            known.update(told.attributes)
        except UserError as error:
            problems += error.lines
    for done, (name, path) in enumerate(variants.items(), bool(labels)):
        on_event(Event("reading scores", done, total, "files"))
        try:
            first = done == bool(labels)
            answers[name] = read.read(path, columns, words, further=None if first else known)
            known.update(answers[name].attributes)
        except UserError as error:
            problems += error.lines
    if problems:
        raise UserError(*problems)
    find_sources = partial(_sources, request.source_pattern) if request.source_pattern else None
    aligned = align.align(answers, told, columns, find_sources)
    on_event(Event("reading scores", total, total, "files"))
    return aligned


def _sources(pattern: str, frames: Sequence[str]) -> Sequence[str | None]:
    """What the pattern finds in each frame's name; `UserError` where it finds nothing at all."""
    found = datasets.find_sources(pattern, frames)
    if frames and not any(found):
        raise UserError(f"--source-pattern {quoted(pattern)} matches no frame, for example {quoted(frames[0])}")
    return found


def _unknown_sources(frames: Mapping[Split, LabelledFrames]) -> Iterator[str]:
    """What a reader must know where the sources of a split are known in part."""
    for split, some in frames.items():
        unknown = some.sources.isna().to_numpy()
        if unknown.any() and not unknown.all():
            counts = " and ".join(
                f"{int(unknown[some.labels == label].sum()):,} of {int((some.labels == label).sum()):,} {word}"
                for label, word in enumerate(("real", "fake"))
            )
            yield (
                f"{counts} {split} frames have no source: {listed(some.frames[unknown], 3)}. Each counts as a video of "
                "its own: where they share videos, intervals are too narrow."
            )


def _run(request: Request, variants: Mapping[str, Path], aligned: align.Aligned) -> RunRecord:
    used = (*request.files, *([request.labels] if request.labels else []))
    files = {path: file_digest(path) for path in used}
    told = "; ".join(f"{path} (SHA-256 {digest})" for path, digest in files.items())
    return _record(request, {name: files[path][:16] for name, path in variants.items()}, {"files": told}, aligned)


def _record(request: Request, ids: Mapping[str, str], inputs: Mapping[str, str], aligned: align.Aligned) -> RunRecord:
    """The run's record; `ids` tell the variants' content, by name, and `inputs` where their scores come from."""
    return RunRecord(
        experiment=request.name,
        detector="",
        architecture="",
        preprocessing=None,
        threshold=request.threshold,
        gallery_top=1,
        gallery_heatmaps="gallery",
        frames={split: _summary(some, aligned.digests[split]) for split, some in aligned.frames.items()},
        variants=tuple(VariantResult(name, content, (), "ok", None) for name, content in ids.items()),
        provenance={
            "command": command(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "bench": version("bench"),
            **inputs,
            "libraries": ", ".join(f"{one} {found}" for one, found in versions(("numpy", "pyarrow", "scipy")).items()),
        },
        margin=request.margin,
        warnings=(*aligned.remarks, *_unknown_sources(aligned.frames), *_shared_sources(aligned.frames)),
    )


def _shared_sources(frames: Mapping[Split, LabelledFrames]) -> tuple[str, ...]:
    """Thresholds that are set on the sources that they are judged on look better than they are."""
    if "validation" not in frames:
        return ()
    test, validation = (set(frames[split].sources.dropna()) for split in LABELLED_SPLITS)
    shared = sorted(test & validation)
    return (f"Test and validation share sources: {listed(shared, 5)}.",) if shared else ()


def _summary(frames: LabelledFrames, digest: str) -> SplitSummary:
    fake = int((frames.labels == 1).sum())
    return SplitSummary("", len(frames.labels), fake, len(frames.labels) - fake, frames.sources.nunique(), digest)
