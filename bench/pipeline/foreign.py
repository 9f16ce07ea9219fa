"""`bench score`: the same report for scores that were made elsewhere, on any device, by any framework."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import reports, stored
from bench.datasets.layouts import LABEL_WORDS, SPLIT_WORDS
from bench.errors import UserError, listed, quoted
from bench.experiment import checked_name
from bench.files import is_leftover, make_folder, remove, rename, sweep, temporary_name
from bench.pipeline.render import REPORT, Finished
from bench.provenance import file_digest, version, versions
from bench.records import (
    LABELLED_SPLITS,
    Event,
    Judgement,
    Labelled,
    OnEvent,
    Run,
    Split,
    SplitSummary,
    VariantResult,
    silent,
)
from bench.results import alignment, foreign, score, store
from bench.results.foreign import Answers, Columns

_SCORES = "scores.json"


@dataclass(frozen=True)
class Request:
    """Which files to score, the first as baseline, and how; `labels` is a file of labels alone.

    The report is written to the folder `to`, or `reports/<name>/`.
    """

    name: str
    files: tuple[Path, ...]
    columns: Columns
    labels: Path | None = None
    threshold: float = 0.5
    margin: float = 0.01
    to: Path | None = None

    @property
    def folder(self) -> Path:
        return self.to or Path("reports") / self.name


def score_files(request: Request, on_event: OnEvent = silent) -> Finished:
    """Score and render what the files say. A variant is called as its file is, without the ending.

    Raises `UserError` for bad input; then nothing is written.
    """
    variants = _checked(request)
    _refuse_to_overwrite(request)
    aligned = _read(request, variants, on_event)
    run = _run(request, variants, aligned)
    on_event(Event("scoring", 0, 1, "reports"))
    judgement = score.judge(run, aligned.frames["test"], aligned.frames.get("validation"), aligned.evidence)
    _render(run, judgement, request.folder)
    on_event(Event("scoring", 1, 1, "reports"))
    return Finished(run, reports.read_scores(request.folder), request.folder / REPORT)


def _render(run: Run, judgement: Judgement, folder: Path) -> None:
    """Rendered aside, so that what is interrupted leaves the folder as it was; the file it is known by goes first."""
    make_folder(folder)
    sweep(folder, held=True)
    own = folder / temporary_name()
    try:
        reports.render(run, judgement, None, None, own)
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
    for what, one in (("--name", request.name), *((str(file), file.stem) for file in request.files)):
        try:
            checked_name(one)
        except ValueError as error:
            problems.append(f"{what}: {error}")
    variants: dict[str, Path] = {}
    for file in request.files:
        other = variants.setdefault(file.stem.casefold(), file)
        if other is not file:
            problems.append(
                f"{other} and {file}: both would be the variant {quoted(file.stem)}, as a variant is called like its "
                "file; rename or copy one"
            )
    if problems:
        raise UserError(*problems)
    return {file.stem: file for file in request.files}


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


def _read(request: Request, variants: Mapping[str, Path], on_event: OnEvent) -> alignment.Aligned:
    """What all files say, in one order; of every file that can't be used all that is wrong, in one message."""
    words = foreign.Words(LABEL_WORDS, SPLIT_WORDS)
    answers: dict[str, Answers] = {}
    told: Answers | None = None
    problems: list[str] = []
    known: dict[str, object] = {}
    labels, columns = request.labels, request.columns
    total = len(variants) + bool(labels)
    if labels:
        try:
            told = foreign.read(labels, columns, words, only_labels=True, further=None)
            known.update(told.attributes)
        except UserError as error:
            problems += error.lines
    for done, (name, path) in enumerate(variants.items(), bool(labels)):
        on_event(Event("reading scores", done, total, "files"))
        try:
            first = done == bool(labels)
            answers[name] = foreign.read(path, columns, words, further=None if first else known)
            known.update(answers[name].attributes)
        except UserError as error:
            problems += error.lines
    if problems:
        raise UserError(*problems)
    aligned = alignment.align(answers, told, columns)
    on_event(Event("reading scores", total, total, "files"))
    return aligned


def _run(request: Request, variants: Mapping[str, Path], aligned: alignment.Aligned) -> Run:
    used = (*request.files, *([request.labels] if request.labels else []))
    files = {path: file_digest(path) for path in used}
    return Run(
        experiment=request.name,
        detector="",
        architecture="",
        preprocessing=None,
        threshold=request.threshold,
        gallery_top=1,
        gallery_heatmaps="gallery",
        frames={split: _summary(some, aligned.digests[split]) for split, some in aligned.frames.items()},
        variants=tuple(VariantResult(one, files[path][:16], (), "ok", None) for one, path in variants.items()),
        provenance={
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "bench": version("bench"),
            "files": "; ".join(f"{path} (SHA-256 {digest})" for path, digest in files.items()),
            "libraries": ", ".join(f"{one} {found}" for one, found in versions(("numpy", "pyarrow", "scipy")).items()),
        },
        margin=request.margin,
        warnings=(*aligned.remarks, *_shared_sources(aligned.frames)),
    )


def _shared_sources(frames: Mapping[Split, Labelled]) -> tuple[str, ...]:
    """Thresholds that are set on the sources that they are judged on look better than they are."""
    if "validation" not in frames:
        return ()
    test, validation = (set(frames[split].sources.dropna()) for split in LABELLED_SPLITS)
    shared = sorted(test & validation)
    return (f"Test and validation share sources: {listed(shared, 5)}.",) if shared else ()


def _summary(frames: Labelled, digest: str) -> SplitSummary:
    fake = int((frames.labels == 1).sum())
    return SplitSummary("", len(frames.labels), fake, len(frames.labels) - fake, frames.sources.nunique(), digest)
