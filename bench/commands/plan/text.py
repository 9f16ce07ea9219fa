"""A forecast as a person reads it on a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from bench.commands.plan import Forecast
from bench.errors import counted
from bench.pipeline import judging
from bench.pipeline.estimates import RATES_ORIGIN, ROUGH, Estimate, by_rate, cost_of, duration, rated_s, total
from bench.pipeline.forecast import Link, Row, is_drawn, pending
from bench.pipeline.prepared import Prepared, Setup
from bench.pipeline.present_speed import PresentSpeed
from bench.pipeline.reasons import again
from bench.pipeline.search import outlook
from bench.records import NO_CROP
from bench.stored import MIB
from bench.variants.steps import Cost

WIDTH = 100


def describe(forecast: Forecast) -> str:
    """The forecast in at most 100 columns."""
    lines = textwrap.wrap(_head(forecast), WIDTH)
    lines += ["", *_table([("variant", "step", "artifact", "evaluate", "time"), *_rows(forecast)]), ""]
    if not any(stage.work for stage in forecast.stages):
        lines.append("nothing to do: all of it is there, and `bench run` only shows it")
    else:
        lines += _table([("stage", "what is due", "takes"), *_stages(forecast)])
        lines += _reasons(forecast)
    return "\n".join([*lines, *_notes(forecast), *_fits(forecast)])


def _fits(forecast: Forecast) -> Iterator[str]:
    """A table of preprocessings and one of arithmetics for each detector, the best first."""
    for detector, fit in (forecast.fits or {}).items():
        yield ""
        if not fit.inputs:
            yield f"{detector}: which preprocessing fits can't be told: there are no batch norms to ask"
            continue
        for title, candidates in (("preprocessing", fit.inputs), ("flavour", fit.flavours)):
            rows = [
                (f"{candidate.misfit:.2g}", candidate.title, "given" if candidate.is_given else "")
                for candidate in candidates
            ]
            if len(rows) > 1:
                yield from _table([("misfit", f"{title} of {detector}", ""), *rows])


def _head(forecast: Forecast) -> str:
    """What is compressed, and on which frames."""
    prepared, first = forecast.prepared, forecast.prepared.first
    detectors = []
    for name, setup in prepared.by_detector.items():
        network = f"{setup.source.architecture} at {setup.spec.size} px"
        detectors.append(f"{name} ({network})" if first.settings.is_side_by_side else network)
    variants = len({(row.setup.detector_name, row.name) for row in forecast.rows}) + len(list(outlook.due(prepared)))
    frames = []
    for name, splits in prepared.frames_by_set.items():
        counts = ", ".join(f"{len(of_split.frames):,} {split}" for split, of_split in splits.items())
        built = " (built with)" if name == first.settings.build_set and prepared.of_frames(name) else ""
        frames.append(f"{counts}{prepared.of_frames(name)}{built}")
    about = "about " if pending(prepared) else ""
    return (
        f"{first.name}: {counted(variants, 'variant')} of {' and '.join(detectors)}; "
        f"frames: {about}{'; '.join(frames)}; on {first.device}, {counted(first.threads, 'thread')}"
    )


def _rows(forecast: Forecast) -> list[tuple[str, ...]]:
    """A row of cells for each link of each variant."""
    cells: list[tuple[str, ...]] = []
    for row in forecast.rows:
        time = "left out" if row.setup.timing == "none" else "reused" if row.timed else "due"
        if not row.setup.is_first_set:
            time = "–"
        # The weights are listed once, at the baseline, and what is built once at the first frame set.
        links = row.links[1:] if row.setup.is_first_set and len(row.links) > 1 else row.links[-1:]
        for link in links:
            evaluate = f"{counted(row.frames, 'frame')}, {row.runtime}" if row.frames else f"reused, {row.runtime}"
            last = (evaluate, time) if link is row.links[-1] else ("", "")
            name = _title(row) if link is links[0] else ""
            cells.append((name, _cut(link.step, 30), _artifact(link), *last))
    for search in outlook.due(forecast.prepared):
        chains, judged = counted(search.chains, "chain"), counted(search.frames, "validation frame")
        cells.append((_cut(search.title, 24), search.search.text, f"of {chains}", judged, "due"))
    return cells


def _title(row: Row) -> str:
    """What the table calls a row: a long name of a variant is cut, not those of its detector and its frame set."""
    title = row.result_title
    return title.replace(row.name, _cut(row.name, 24)) if len(row.name) > 24 else title


def _artifact(link: Link) -> str:
    if link.built:
        return f"reused {link.id[:8]}"
    return f"as {_cut(link.of, 16)}" if link.of else "to build"


def _reasons(forecast: Forecast) -> list[str]:
    """Why work is due; nothing where all of it is new, which the table shows."""
    texts = [due.text for due in forecast.due] if again(forecast.due) else []
    if forecast.report_due:
        texts.append(f"report: {'; '.join(forecast.report_due)}")
    lines = [line for text in texts for line in textwrap.wrap(text, WIDTH - 2, subsequent_indent="  ")]
    return ["", "why:", *(f"  {line}" for line in lines)] if lines else []


def _stages(forecast: Forecast) -> list[tuple[str, ...]]:
    lines = [(stage.name, stage.work or "nothing", duration(stage.estimate)) for stage in forecast.stages]
    if is_drawn(forecast.prepared):
        lines = lines[1:]
    alone = [(f"{name} alone", "", duration(takes)) for name, takes in forecast.alone.items()]
    return [*lines, ("total", "", duration(total(stage.estimate for stage in forecast.stages))), *alone]


def _notes(forecast: Forecast) -> list[str]:
    """Lines below the tables: disk, estimates, what is unknown, and remarks on the frames."""
    prepared, first = forecast.prepared, forecast.prepared.first
    whole = total(stage.estimate for stage in forecast.stages)
    notes = [f"disk: {_disk(forecast)} to write, {forecast.free_bytes / 2**30:,.1f} GiB free"]
    if forecast.writes_bytes and forecast.writes_bytes > forecast.free_bytes:
        notes.append("disk: that is not enough; `bench clean` shows what can go")
    if whole.origins:
        origins = sorted(f"{origin} ({RATES_ORIGIN})" if origin == ROUGH else origin for origin in whole.origins)
        notes.append(f"estimates: by {' and '.join(origins)}; {_sureness(forecast, whole)}")
    notes += dict.fromkeys(_cost_notes(forecast))
    notes += [
        f"search: {search.title} becomes the {search.search.find} chain that is found, with {search.limits}; what it "
        "takes to evaluate and to time that chain comes on top"
        for search in outlook.due(prepared)
    ]
    if whole.unknown:
        notes.append(f"unknown, never run here: {', '.join(sorted(whole.unknown))}")
    if not is_drawn(prepared):
        what = "videos are not extracted yet" if pending(prepared) else "the demo set is not drawn yet"
        notes.append(f"{what}: all that depends on {'their' if pending(prepared) else 'its'} frames counts as due")
    else:
        notes += [f"frames{prepared.of_frames(name)}: {text}" for name, text in prepared.accounts.items()]
    for name, (setup, *_) in prepared.by_frame_set.items():
        if judged := judging.in_words(setup.settings, setup.frames):
            notes.append(f"videos{prepared.of_frames(name)}: {judged}")
    if moved := sum(row.moves for row in forecast.rows):
        notes.append(
            f"{counted(moved, 'result')} from before the experiment had these detectors or frame sets: `bench run` "
            f"moves {'it to its folder' if moved == 1 else 'them to their folders'}"
        )
    if prepared.unread:
        notes.append(
            f"{counted(prepared.unread, 'frame')} {'is' if prepared.unread == 1 else 'are'} not read yet, and all that "
            "depends on frames counts as due. `bench run` reads them, and finds broken files, masks and copies"
        )
    readings = {
        f"weights of {name}" if first.settings.is_side_by_side else "weights": setup.reading
        for name, setup in prepared.by_detector.items()
        if setup.reading
    }
    notes += [f"{what}: {reading.sentence}" for what, reading in readings.items()]
    notes += _crops(prepared)
    notes += _ensembles(prepared)
    notes += dict.fromkeys(
        f"{setup.title(variant)}: {reading.sentence}"
        for setup in prepared.by_detector.values()
        for variant, reading in setup.imported.items()
        if variant in setup.selected
    )
    left = [
        setup.title(name)
        for setup in prepared.by_detector.values()
        for name in setup.named
        if name not in setup.selected
    ]
    if left:
        notes.append(f"left as they are: {', '.join(left)}")
    warnings = [warning for reading in readings.values() for warning in reading.warnings]
    notes += [f"note: {remark}" for remark in (*first.remarks, *warnings, *prepared.frame_remarks)]
    return ["", *(line for note in notes for line in textwrap.wrap(note, WIDTH, subsequent_indent="  "))]


def _ensembles(prepared: Prepared) -> list[str]:
    """What each ensemble is made of, and which members stay as they are in which variants."""
    settings = prepared.first.settings
    notes = []
    for name, ensemble in settings.ensembles.items():
        weights = (
            "weights fitted"
            if ensemble.weights
            else "weights " + ", ".join(f"{weight:g}" for weight in ensemble.ensemble.values())
        )
        notes.append(
            f"ensemble {name}: {', '.join(ensemble.members)} ({ensemble.combine}, {weights}), joined at the end"
        )
        unchanged = {
            variant: [member for member in ensemble.members if variant in settings.refused_by(member)]
            for variant in settings.of(name).variants
        }
        notes += [
            f"{name}/{variant}: {', '.join(members)} as {settings.baseline}, not allowing these steps"
            for variant, members in unchanged.items()
            if members
        ]
    return notes


def _crops(prepared: Prepared) -> list[str]:
    """Which crop of faces each detector expects frames to be, where that is one."""
    first = prepared.first
    return [
        f"crop{f' of {name}' if first.settings.is_side_by_side else ''}: frames are taken to be faces, cut as "
        f"`{setup.source.preprocessing.crop}` cuts them"
        for name, setup in prepared.by_detector.items()
        if setup.source.preprocessing.crop != NO_CROP and not setup.extracted
    ]


def _cost_notes(forecast: Forecast) -> Iterator[str]:
    """What the estimates of the steps to be built take for granted, by the steps' own declarations."""
    for row in forecast.rows:
        for length, link in enumerate(row.links):
            cost = cost_of(row.setup, row.chain[:length])
            if not link.built and link.of is None and cost and cost.note:
                yield f"{cost.note}{_whole_training(cost, row.setup, forecast.speed)}"


def _whole_training(cost: Cost, setup: Setup, speed: PresentSpeed | None) -> str:
    """How long a step may take that a look may also end."""
    if speed is None or not cost.most_frames or setup.device != "cpu":
        return ""
    return f"; a whole training takes {duration(by_rate(rated_s(cost.at_most, setup), cost.parallel, speed))}"


def _sureness(forecast: Forecast, whole: Estimate) -> str:
    factor = math.sqrt(whole.high_s / whole.low_s) if whole.low_s else 1.0
    sure = f"they may be wrong by a factor of {factor:.1f} either way, and more"
    speed = forecast.speed
    if speed is None:
        return f"{sure} on a busy machine"
    free = min(speed.free_cores, speed.threads)
    return f"{sure} if the machine does not stay as busy as now ({free:.1f} of {counted(speed.threads, 'core')} free)"


def _disk(forecast: Forecast) -> str:
    if forecast.writes_bytes is None:
        return "an unknown amount"
    return f"≈ {forecast.writes_bytes / MIB:,.0f} MiB" if forecast.writes_bytes else "nothing"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
