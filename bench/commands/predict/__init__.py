"""`bench predict`: a variant of a finished experiment on any pictures and videos, to a CSV file and a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, locks
from bench.commands.predict import computing, outputs, scoring, shards
from bench.commands.predict.computing import Asked, Pass
from bench.commands.predict.inputs import Item, items_of
from bench.commands.predict.labels import labelled
from bench.commands.predict.outputs import Outputs, Settings
from bench.commands.predict.reading import Reader
from bench.commands.predict.request import Options, check
from bench.commands.predict.shards import HEATMAP, Shard, shown_path
from bench.errors import UserError, counted, quoted
from bench.experiment import ExperimentSettings
from bench.files import remove, sweep
from bench.footage import in_front
from bench.footage.formats import library
from bench.inference import variants
from bench.inference.subjects import whole_because
from bench.inference.variants import Chosen, Loaded, frames_of_sets
from bench.pipeline import render, threshold
from bench.provenance import cpu_cores, digest, versions, write_json
from bench.records import NO_CROP, Event, OnEvent, RunRecord, silent
from bench.records.predicted import PredictedSummary
from bench.results import predict as evaluation

if TYPE_CHECKING:
    from bench.inference.embedding import Embedder

__all__ = ["Options", "Predicted", "predict"]

LIBRARIES = ("av", "onnxruntime", "torch")


@dataclass(frozen=True)
class Predicted:
    """What was predicted, its files by what they are, and how many files were judged now, the others being done."""

    numbers: Mapping[str, Any]
    files: Mapping[str, Path]
    judged_now: int


@dataclass(frozen=True)
class _Request:
    """All that a prediction is made of, checked."""

    options: Options
    chosen: Chosen
    run: RunRecord
    items: tuple[Item, ...]
    outputs: Outputs

    @cached_property
    def settings(self) -> Settings:
        """All that rows depend on, beside the files: as predictions.json says it."""
        return _settings(self)

    @property
    def threshold(self) -> float:
        return self.options.threshold if self.options.threshold is not None else self.run.threshold


def predict(
    options: Options, base: Path, name: str, settings: ExperimentSettings, on_event: OnEvent = silent
) -> Predicted:
    """Judge all files, and write what became of them; what an earlier call has judged is not judged again.

    `base` is the folder of the experiment file. Raises `UserError` before anything is loaded where something is wrong,
    and in the end where no file could be judged.
    """
    request = _checked(options, base, name, settings, on_event)
    written = request.outputs
    with locks.held(written.lock, "predicting", on_event, folder=written.table.parent):
        pieces = shards.shards_of(request.items, request.settings)
        inputs = digest([piece.key for piece in pieces])
        numbers = outputs.finished(written, request.settings, inputs)
        due = [] if numbers else [piece for piece in pieces if not piece.is_done(written)]
        if numbers is None:
            loaded, embedder = _loaded(request, on_event) if due or options.embedding else (None, None)
            outputs.take(written, request.settings)
            sweep(written.work, held=True)
            if due and loaded:
                _compute(request, loaded, embedder, pieces, due, on_event)
            shards.join(pieces, written, heatmaps=options.heatmaps, embedding=embedder.by if embedder else None)
            numbers = _summarise(request, inputs, on_event)
            shards.drop(written)
        remove(written.work)
    return _result(request, numbers, sum(len(piece.items) for piece in due))


# ------------------------------------------------------------------------------------- before anything is loaded
def _checked(options: Options, base: Path, name: str, settings: ExperimentSettings, on_event: OnEvent) -> _Request:
    """The request; `UserError` for what is wrong with it."""
    check(options)
    written = Outputs(options.to)
    outputs.refuse_unwritable(written)
    detector, variant = (
        variants.find_listed(settings, options.variant)
        if options.variant is not None
        else (settings.network_names[0], "")
    )
    named = [variant] if variant else []
    chosen = variants.of_detector(base, name, settings, detector, named, with_baseline=not variant)
    run = threshold.of_stored(render.as_set(chosen.run, settings), chosen.results)
    (result,) = chosen.variants
    if options.heatmaps and not evaluation.has_cams(chosen.results / result.name):
        raise UserError(
            f"--heatmaps: {quoted(result.name)} gives no maps; `bench inspect` says of single pictures where blurring "
            "changes its answer"
        )
    if not whole_because(chosen.preprocessing.crop, options.faces, False):
        in_front.finder(chosen.preprocessing.crop)
    on_event(Event("looking for pictures and videos", 0, 0))
    items = labelled(items_of(options.inputs, [written.pictures, written.work], options.columns), options.label_pattern)
    if any(item.is_video for item in items):
        library()
    request = _Request(options, chosen, run, tuple(items), written)
    outputs.refuse_others(written, request.settings)
    variants.refuse_missing(chosen)
    return request


def _settings(request: _Request) -> Settings:
    """All that rows depend on, beside the files: as predictions.json says it."""
    options, (result,) = request.options, request.chosen.variants
    executed = result.executed
    assert executed is not None  # every evaluated variant was executed
    return {
        "inputs": [shown_path(str(path.absolute())) for path in options.inputs],
        "experiment": request.chosen.experiment,
        "variant": result.name,
        "artifact": result.id,
        "runtime": executed.runtime,
        "device": variants.device_here(executed)[0],
        "threshold": request.threshold,
        "faces": options.faces,
        "crop": request.chosen.preprocessing.crop,
        "set": digest([each.digest for each in request.run.frames.values()]) if options.faces == "auto" else "",
        "label_pattern": options.label_pattern,
        "frames": options.frames,
        "frame_sampling": options.frame_sampling,
        "heatmaps": options.heatmaps,
        "embedding": options.embedding,
        "versions": {**datasets.decoder_versions(), **versions(LIBRARIES)},
    }


# ------------------------------------------------------------------------------------- the work
def _loaded(request: _Request, on_event: OnEvent) -> tuple[Loaded, Embedder | None]:
    """The variant, and what makes vectors where they are asked for; `UserError` where it can't be had."""
    chosen, folder = request.chosen, request.chosen.base / "variants"
    on_event(Event("loading the variant", 0, 1, "variants", chosen.variants[0].name))
    loaded, embedder = variants.load(folder, chosen.variants[0], chosen.settings), None
    if request.options.embedding:
        from bench.inference.embedding import embedder as embedder_of

        embedder = embedder_of(folder, loaded)
    on_event(Event("loading the variant", 1, 1, "variants"))
    return loaded, embedder


def _compute(
    request: _Request,
    loaded: Loaded,
    embedder: Embedder | None,
    pieces: Sequence[Shard],
    due: Sequence[Shard],
    on_event: OnEvent,
) -> None:
    """Write the shards that are due."""
    options, chosen = request.options, request.chosen
    total = sum(piece.weight for piece in pieces)
    advance = computing.progress(on_event, total, total - sum(piece.weight for piece in due))
    advance(0)
    asked = Asked(request.threshold, options.heatmaps, embedder)
    spec = chosen.preprocessing.input_spec
    Pass(loaded.session, spec, reader(chosen, options), request.outputs, asked, advance).run(due)
    on_event(Event(computing.WORK, total, total, "pictures"))


def reader(chosen: Chosen, options: Options) -> Reader:
    """What reads files for the detector of a variant, with as many threads as its experiment may use."""
    of_set = frames_of_sets(chosen)
    if options.faces == "auto" and chosen.preprocessing.crop != NO_CROP:
        of_set.find(-1, "")  # lists its frames now, and not in each thread
    threads = chosen.settings.threads
    return Reader(
        chosen.preprocessing, options.faces, of_set, options.frames, options.frame_sampling,
        cpu_cores() if threads == "auto" else threads,
    )  # fmt: skip


# ------------------------------------------------------------------------------------- the summary
def _summarise(request: _Request, inputs: str, on_event: OnEvent) -> Mapping[str, Any]:
    """Write the page, the Markdown and, last of all, the numbers."""
    from bench.reports import predictions

    on_event(Event("scoring", 0, 1, "reports"))
    written = request.outputs
    sources = {shown_path(item.file): item.source for item in request.items if item.source}
    inputs_of_videos = {shown_path(item.file): item.input for item in request.items if item.input and item.video}
    judged = scoring.judge(
        written.table, len(request.items), sources, inputs_of_videos, request.threshold, request.run.video_scoring
    )
    remove_unused(written, request.options)
    predictions.write(_summary(request, judged), written.page, written.text, written.pictures, _named(request))
    numbers = {
        "schema": outputs.SCHEMA,
        "made_by": outputs.MADE_BY,
        "settings": request.settings,
        "inputs": inputs,
        "csv": outputs.digest_of(written.table),
        "counts": vars(judged.counts) | {"real": judged.counts.real},
        "metrics": scoring.as_json(judged.judged),
        "by_video": scoring.as_json(judged.by_video),
    }
    write_json(written.numbers, numbers)
    on_event(Event("scoring", 1, 1, "reports"))
    return numbers


def remove_unused(written: Outputs, options: Options) -> None:
    """Remove what an earlier prediction of this name has left and this one does not write."""
    if not options.embedding:
        remove(written.embedding)
    if not options.heatmaps:
        remove(written.heatmaps)
        return
    import csv

    with written.table.open(newline="", encoding="utf-8") as file:
        used = {Path(row[HEATMAP]).name for row in csv.DictReader(file) if row[HEATMAP]}
    for path in written.heatmaps.iterdir() if written.heatmaps.is_dir() else ():
        if path.name not in used:
            remove(path)


def _summary(request: _Request, judged: scoring.Judged) -> PredictedSummary:
    """What the page and the Markdown say."""
    (result,) = request.chosen.variants
    executed = result.executed
    assert executed is not None  # every evaluated variant was executed
    device, remark = variants.device_here(executed)
    return PredictedSummary(
        experiment=request.chosen.experiment,
        variant=result.name,
        variant_id=result.id,
        runtime=executed.runtime,
        device=device,
        threshold=request.threshold,
        inputs=tuple(shown_path(str(path)) for path in request.options.inputs),
        counts=judged.counts,
        judged=judged.judged,
        by_video=judged.by_video,
        video_score=request.run.video_scoring.words,
        accuracy_ci=scoring.accuracy_ci(judged.judged),
        video_accuracy_ci=scoring.accuracy_ci(judged.by_video),
        errors=judged.errors,
        shown=judged.shown,
        notes=(remark,) if remark else (),
    )


def _named(request: _Request) -> tuple[tuple[str, str], ...]:
    """The files that the summary names beside itself."""
    written = request.outputs
    embedding = (("vectors", written.embedding.name),) if request.options.embedding else ()
    return (("A row for each picture or face", written.table.name), *embedding,
            ("the numbers for programs", written.numbers.name))  # fmt: skip


def _result(request: _Request, numbers: Mapping[str, Any], now: int) -> Predicted:
    """What was written; `UserError` where no file could be judged."""
    written, counts = request.outputs, numbers["counts"]
    if not counts["pictures"]:
        raise UserError(
            f"{written.table}: none of {counted(counts['files'], 'file')} could be judged; the column `error` says why"
        )
    files = {"table": written.table, "summary": written.page, "text": written.text, "numbers": written.numbers}
    if request.options.embedding:
        files["vectors"] = written.embedding
    if request.options.heatmaps:
        files["heatmaps"] = written.heatmaps
    return Predicted(numbers, files, now)
