"""What an inspection says, as tables and sentences: made once, written as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.records import CLASSES, POINTS, class_of
from bench.records.inspection import Inspection, Look, Numbers, Subject
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, columns, table, variant_cell
from bench.reports.content.spans import Part, Sentence, emphasis, sentence, strong, with_code
from bench.reports.content.text import cutoff, number, signed

POINT_NAMES = dict(
    zip(
        POINTS,
        ("left eye", "right eye", "tip of the nose", "left corner of the mouth", "right corner of the mouth"),
        strict=True,
    )
)
_LIVELY = 0.1
"""A part whose blurring moves P(fake) by so much is named in the summary."""
_SURE = 0.45
"""So far from a half little moves P(fake), and the logit difference says more."""


LARGE_FACE = (
    "The face fills most of the picture: if that is a crop already, it is cropped twice; `--faces never` judges it as "
    "it is."
)


@dataclass(frozen=True)
class Content:
    """`head` are titles with what they say; `verdicts` a sentence for each variant, `notes` what a reader must know."""

    title: str
    head: tuple[tuple[str, Sentence], ...]
    verdicts: tuple[Sentence, ...]
    answers: Table
    cutoff: str
    face: Table | None
    face_note: Sentence
    crop: Sentence
    preprocessing: Sentence
    statistics: Table
    parts: tuple[tuple[str, Table], ...]
    parts_note: Sentence
    notes: tuple[tuple[str, tuple[Sentence, ...]], ...]


def content(inspected: Inspection) -> Content:
    """All of it."""
    subject = inspected.subject
    return Content(
        title=subject.name,
        head=tuple(_head(inspected)),
        verdicts=tuple(_verdict(inspected, look) for look in inspected.looks),
        answers=_answers(inspected),
        cutoff=cutoff(inspected.threshold),
        face=_face(subject),
        face_note=_face_note(subject),
        crop=with_code(f"{subject.how[:1].upper()}{subject.how[1:]}.{' ' + LARGE_FACE if subject.is_close_up else ''}"),
        preprocessing=_preprocessing(inspected),
        statistics=_statistics(inspected),
        parts=tuple((look.judge.name, _parts(look)) for look in inspected.looks if look.on_face and look.on_face.parts),
        parts_note=_parts_note(inspected),
        notes=tuple(
            (look.judge.name, tuple(map(with_code, look.notes))) for look in inspected.looks if look.notes
        ),
    )  # fmt: skip


def _head(inspected: Inspection) -> Iterator[tuple[str, Sentence]]:
    """Process, time, input, weights, and the class that maps are for."""
    subject = inspected.subject
    height, width = subject.pixels.shape[:2]
    yield "Process", sentence(inspected.process)
    yield "Time", sentence(inspected.time)
    yield "Input", sentence(f"{subject.file}, {height}×{width} (H×W)")
    yield "SHA-256 of the input", sentence(subject.digest)
    if subject.label is not None:
        yield "Label", sentence(strong(CLASSES[subject.label]))
    for look in inspected.looks:
        judge = look.judge
        yield judge.name, sentence(f"{judge.file}, SHA-256 {judge.digest[:16]}…, {judge.runtime} on {judge.device}")
    asked = f"{inspected.asked} (as asked for)" if inspected.asked else "the class that each variant calls the frame"
    yield "Target of maps", sentence(asked)


def _verdict(inspected: Inspection, look: Look) -> Sentence:
    """What a variant calls the frame, which part of the face that is for, and what blurring it does."""
    parts: list[Part] = [strong(look.judge.name), " calls it ", strong(class_of(look.p_fake, inspected.threshold))]
    further = f" (logit difference {signed(look.logit_diff, 2)})" if look.is_saturated else ""
    parts.append(f": P(fake) {number(look.p_fake, 4)}{further} at a threshold of {cutoff(inspected.threshold)}.")
    evidence = look.agreed_on_face or look.on_face
    if evidence is not None and (leading := evidence.leading) is not None:
        share = f"{100 * evidence.shares[leading]:.0f} %"
        agree = ", where levels of its maps agree," if look.agreed_on_face else ""
        what = f" The largest share of what speaks for {look.target}{agree} lies on "
        parts += [what, strong(_the(leading)), f": {share}."]
    if look.on_face is not None and (falls := look.on_face.falls):
        strongest = max(falls, key=lambda part: abs(falls[part]))
        fall = falls[strongest]
        if abs(fall) >= _LIVELY:
            verb = "falls" if fall > 0 else "rises"
            parts.append(f" P(fake) {verb} by {number(abs(fall), 2)} where {_the(strongest)} is blurred.")
    if look.beside_mask is not None:
        beside = look.beside_mask
        where = "in the mask of what was forged" if beside.hit else "outside of the mask of what was forged"
        shown = f" Its hottest place for fake lies {where}, {100 * beside.inside:.0f} % of that evidence inside."
        parts.append(" Nothing in its map speaks for fake, also not where it was forged." if beside.blank else shown)
    return sentence(*parts)


def _the(part: str) -> str:
    return {"jaw and contour": "the jaw and contour"}.get(part, part if part in ("skin", "hair") else f"the {part}")


def _answers(inspected: Inspection) -> Table:
    """Step E: logits, probabilities, label, confidence; the logit difference where probabilities tell little."""
    titles = ("logit real", "logit fake", "logit difference", "P(real)", "P(fake)", "label", "confidence")
    is_saturated = any(look.is_saturated for look in inspected.looks)
    rows = []
    for look in inspected.looks:
        real, fake = look.probabilities
        label = class_of(look.p_fake, inspected.threshold)
        confidence = fake if label == "fake" else real
        apart = cell(signed(look.logit_diff, 4), value=look.logit_diff) if is_saturated else EMPTY
        logits, probabilities = (
            [cell(number(value, 4), value=value) for value in pair] for pair in (look.logits, (real, fake))
        )
        called = [cell(strong(label)), cell(number(confidence, 4), value=confidence)]
        rows.append([variant_cell(look.judge.name), *logits, apart, *probabilities, *called])
    return table([Column("Model", "left"), *columns(titles)], rows)


def _face(subject: Subject) -> Table | None:
    """Step A: box and points in pixels of the picture."""
    if subject.face is None:
        return None
    x0, y0, x1, y1 = (number(edge, 1) for edge in subject.face.box)
    rows = [[cell("box"), cell(f"{x0}, {y0}"), cell(f"{x1}, {y1}")]]
    rows += [
        [cell(POINT_NAMES[name]), cell(f"{number(x, 1)}, {number(y, 1)}"), EMPTY]
        for name, (x, y) in zip(POINTS, subject.face.points, strict=False)
    ]
    return table([Column("Face", "left"), *columns(("x, y", "to x, y"))], rows)


def _face_note(subject: Subject) -> Sentence:
    if subject.face is None:
        return sentence("No face was found: nothing is said of its parts.")
    return sentence(
        f"Found by {subject.face.network}, score {number(subject.face.score, 3)}. Left is the viewer's."
        f"{_others(subject)}"
    )


def _others(subject: Subject) -> str:
    """How many further faces there are, and why this one is judged."""
    if not subject.others:
        return ""
    count = "is another face" if subject.others == 1 else f"are {subject.others} other faces"
    why = {0: "", 1: " The crop takes this one alone."}.get(
        subject.judged_faces, f" Of {subject.judged_faces} that the crop takes, this has the highest P(fake)."
    )
    return f" There {count} in the picture.{why}"


def _preprocessing(inspected: Inspection) -> Sentence:
    """What happens between the frame and the network."""
    settings = inspected.preprocessing
    size = f"{settings.size}×{settings.size}"
    parts = [f"The frame is fitted to {size} ({settings.fit}) and scaled to [0, 1]."]
    if settings.std != (1.0, 1.0, 1.0) or settings.mean != (0.0, 0.0, 0.0):
        parts.append(f" Mean {list(settings.mean)} and standard deviation {list(settings.std)} are taken out.")
    if settings.wavelet == "sym2":
        parts.append(
            " The wavelet blend follows (sym2, reflect): (cA + frame) / 2, where cA is the approximation band at the "
            "frame's size. It has a gain of about 2, nothing is clipped."
        )
    parts.append(f" The network reads the planes as {', '.join(inspected.network_input.colours)}.")
    return sentence(*parts)


def _statistics(inspected: Inspection) -> Table:
    """Step C: the tensor that the network reads, and each colour of the wavelet's low band."""
    prepared = inspected.network_input
    of_whole, of_plane = ("blended tensor", "cA") if prepared.approximation is not None else ("network input", "input")
    rows = [_row(of_whole, prepared.whole)]
    rows += [_row(f"{of_plane}, {colour}", each) for colour, each in prepared.by_colour.items()]
    return table([Column("Values", "left"), *columns(("mean", "std", "min", "max"))], rows)


def _row(title: str, of: Numbers) -> list[Cell]:
    return [cell(title), *(cell(number(value, 4), value=value) for value in (of.mean, of.std, of.min, of.max))]


def _parts(look: Look) -> Table:
    """Shares of evidence by part of the face, and what blurring it does."""
    evidence, agreed = look.on_face, look.agreed_on_face
    assert evidence is not None
    rows = [
        [
            cell(strong(part) if part == (agreed or evidence).leading else part),
            _percent(evidence.shares.get(part)),
            EMPTY if agreed is None else _percent(agreed.shares.get(part)),
            _speaks(evidence.signed.get(part)),
            _fall(evidence.falls.get(part), 3),
            _fall(evidence.logit_falls.get(part), 2) if abs(look.p_fake - 0.5) >= _SURE else EMPTY,
        ]
        for part in evidence.parts
    ]
    titles = (f"evidence for {look.target}", "levels agree", "speaks for", "P(fake) changes when blurred",
              "logit difference changes")  # fmt: skip
    return table([Column("Part", "left"), *columns(titles)], rows)


def _percent(share: float | None) -> Cell:
    return EMPTY if share is None else cell(f"{100 * share:.0f} %", value=share)


def _speaks(share: float | None) -> Cell:
    """Which class a part speaks for on balance, and with which share of all that the map shows."""
    if share is None or abs(share) < 0.005:
        return EMPTY
    return cell(f"{'fake' if share > 0 else 'real'} ({100 * abs(share):.0f} %)", value=share)


def _fall(fall: float | None, digits: int) -> Cell:
    return EMPTY if fall is None else cell(signed(-fall, digits), value=-fall)


def _parts_note(inspected: Inspection) -> Sentence:
    """How parts come about, and where maps are hottest."""
    if inspected.subject.points is None:
        return sentence("No face was found, so no part of it can be named.")
    parts: list[Part] = [
        "Outlines are those of an average face, laid on the five points by turning, scaling and shifting it: right for "
        "maps of few cells, not to a pixel. "
    ]
    for look in inspected.looks:
        if look.hottest:
            first = look.hottest[0]
            assert first.landmark is not None
            parts.append(
                f"{look.judge.name} is hottest on {_the(first.part or 'background')}, {number(first.distance, 2)} eye "
                f"distances from the {POINT_NAMES[first.landmark]}. "
            )
    return sentence(*parts)


def stage_note(look: Look) -> Sentence:
    """What computed the journey's pictures of a variant."""
    journey = look.journey
    if not journey.stages:
        return sentence("There is nothing between input and map to be shown.")
    by = f"Activations are by {journey.activations_by}; overlays are "
    return sentence(by, emphasis(journey.heat_by), f", for {look.target}.")
