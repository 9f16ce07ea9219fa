"""The frames of a training: which are learned from, which choose the best epoch, and that neither judges elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench import datasets, yaml_file
from bench.errors import Keys, UserError, counted, listed, problems_of, refuse_together
from bench.experiment import Experiments
from bench.pipeline.frames import Listing
from bench.records import Frame, FrameSet, OnEvent, Split
from bench.records.trainings import Seen
from bench.training import sampling
from bench.training_settings import TrainingSettings

FROM_TRAIN = "held out of train"


@dataclass(frozen=True)
class Material:
    """The frames of a training. `sets` has those of each frame set by what they are for: "train" and "validation".

    `remarks` are what a reader must know of them, `chosen_by` says where the validation frames come from. `tests` are
    the sets' test frames, which the training never looks at.
    """

    sets: Mapping[str, Mapping[str, tuple[Frame, ...]]]
    remarks: tuple[str, ...] = ()
    chosen_by: str = "validation"
    tests: tuple[FrameSet, ...] = ()

    def of(self, split: str) -> tuple[Frame, ...]:
        """All frames of a split, each content once."""
        seen: dict[str, Frame] = {}
        for splits in self.sets.values():
            for frame in splits.get(split, ()):
                seen.setdefault(frame.digest, frame)
        return tuple(seen.values())

    @property
    def seen(self) -> dict[str, dict[str, Seen]]:
        """Digests and sources of all frames: what the file beside a checkpoint says was seen."""
        return {
            name: {
                split: Seen(
                    frozenset(frame.digest for frame in frames),
                    frozenset(source for frame in frames for source in frame.sources),
                )
                for split, frames in splits.items()
            }
            for name, splits in self.sets.items()
        }

    @property
    def digest(self) -> str:
        """What all frames are, with their labels and what they are for."""
        content = hashlib.sha256()
        for name, splits in sorted(self.sets.items()):
            for split, frames in sorted(splits.items()):
                for frame in frames:
                    mask = frame.mask.digest if frame.mask else ""
                    row = (name, split, frame.path, frame.label, frame.source, frame.digest, mask)
                    content.update(repr(row).encode())
        return content.hexdigest()


def gather(experiments: Experiments, settings: TrainingSettings, name: str, path: Path, on_event: OnEvent) -> Material:
    """The frames of a training; `UserError` with all that is wrong with them."""
    refuse = partial(refuse_together, partial(yaml_file.location_of, path))
    listings = {
        each: Listing(experiments, each, path.parent, [settings.preprocessing.crop], on_event)
        for each in settings.frames
    }
    problems: list[tuple[Keys, str | UserError]] = []
    for each, listing in sorted(listings.items(), key=lambda item: item[1].is_remote):
        if listing.is_remote:
            refuse(problems)  # hours of copying do not begin where the training will be refused
        problems += problems_of(("datasets", each), listing.find)
    refuse(problems)
    for each, listing in listings.items():
        reading = partial(listing.read, settings.on_bad_frame, on_event, draw=True)
        problems += problems_of(("datasets", each), reading)
    refuse(problems)
    frames = {each: listing.frames for each, listing in listings.items()}
    refuse([(("datasets", each), wrong) for each, wrong in _shared(frames)])
    key: Keys = ("trainings", name, "frames")
    refuse([(key, wrong) for wrong in (*_contradictory(frames), *_unfit(frames, settings))])
    material = _split(frames, settings)
    refuse([(key, wrong) for wrong in too_few(material, settings)])
    return material


def _shared(frames: Mapping[str, Mapping[Split, FrameSet]]) -> list[tuple[str, str | UserError]]:
    """Frames that one set learns from and another one judges or chooses by; within a set that is refused anyway."""
    problems: list[tuple[str, str | UserError]] = []
    for name, splits in frames.items():
        judged = {split: splits[split] for split in ("test", "validation") if split in splits}
        for other, of_other in frames.items():
            if other != name and "train" in of_other:
                both: dict[Split, FrameSet] = {**judged, "train": of_other["train"]}  # type: ignore[dict-item]
                check = partial(datasets.refuse_shared_content, name, both)
                problems += [(name, error) for _, error in problems_of(("datasets", name), check)]
    return problems


def _contradictory(frames: Mapping[str, Mapping[Split, FrameSet]]) -> Iterator[str]:
    """Pictures that one set calls real and another one fake; within a set that is refused anyway."""
    first: dict[str, tuple[str, Frame]] = {}
    twice = []
    for name, splits in frames.items():
        for split in ("train", "validation"):
            for frame in splits[split].frames if split in splits else ():
                other, before = first.setdefault(frame.digest, (name, frame))
                labels = {before.label, frame.label}
                if frame.digest and other != name and labels == {0, 1}:
                    twice.append(f"{other}/{before.path} and {name}/{frame.path}")
    if twice:
        yield f"identical files, one real and one fake: {listed(twice, 5)}; correct the wrong one, or leave both out"


def _unfit(frames: Mapping[str, Mapping[Split, FrameSet]], settings: TrainingSettings) -> list[str]:
    """Sets that nothing can be learned from, or whose labels are not all there."""
    problems = []
    if not any("train" in splits for splits in frames.values()):
        problems.append(
            f"{listed(frames)}: no train frames; add a split train/ with labels, `train:` beside `test:`, or "
            "`split: auto`, which takes a fifth of the frames"
        )
    for name, splits in frames.items():
        unlabelled = (
            [frame.path for frame in splits["train"].frames if frame.label is None] if "train" in splits else []
        )
        if unlabelled:
            problems.append(
                f"{name}: {counted(len(unlabelled), 'train frame')} of {len(splits['train'].frames):,} without a "
                f"label, and a training learns from labels: {listed(unlabelled, 3)}; put them below real/ and "
                "fake/, or into a manifest"
            )
    if settings.maps and not settings.self_blend:
        fakes = [f for splits in frames.values() if "train" in splits for f in splits["train"].frames if f.label == 1]
        masked = [frame for frame in fakes if frame.mask]
        if not masked:
            problems.append(
                "`maps` asks where fakes are forged, and no train fake has a mask; add `masks`, or leave it out"
            )
        problems += [wrong for frame in masked if (wrong := _wrong_mask(frame))][:10]
    return problems


def _wrong_mask(frame: Frame) -> str:
    try:
        return datasets.misshapen(frame)
    except UserError as error:
        return str(error)


def _split(frames: Mapping[str, Mapping[Split, FrameSet]], settings: TrainingSettings) -> Material:
    """What is learned from, and what the best epoch is chosen by, held out of the former if need be."""
    train = {name: splits["train"].distinct for name, splits in frames.items() if "train" in splits}
    validation = {name: splits["validation"].distinct for name, splits in frames.items() if "validation" in splits}
    remarks = [remark for splits in frames.values() if "test" in splits for remark in splits["test"].remarks]
    remarks += [
        f"{name}: {len(splits['train'].left_out)} train frames cannot be decoded and were left out."
        for name, splits in frames.items()
        if "train" in splits and splits["train"].left_out
    ]
    chosen_by = "validation"
    if not validation:
        chosen_by = FROM_TRAIN
        # Of all sets together: they may share contents, and sources.
        everything = [frame for of in train.values() for frame in of]
        groups = datasets.grouped(everything).values()
        held = {frame.file for frame in sampling.hold_out(everything, groups, settings.held_out, settings.seed)}
        validation = {name: tuple(f for f in of if f.file in held) for name, of in train.items()}
        train = {name: tuple(f for f in of if f.file not in held) for name, of in train.items()}
        remarks.append(
            f"There are no validation frames: {settings.held_out:.0%} of the train frames, by source, choose the best "
            "epoch instead, and are not learned from."
        )
    if settings.self_blend:
        fakes = sum(frame.label == 1 for of in train.values() for frame in of)
        train = {name: tuple(frame for frame in of if frame.label == 0) for name, of in train.items()}
        if fakes:
            remarks.append(f"{counted(fakes, 'fake')} among the train frames {'is' if fakes == 1 else 'are'} not used: "
                           "`self_blend` learns from real frames alone.")  # fmt: skip
    names = dict.fromkeys([*train, *validation])
    sets = {name: {"train": train.get(name, ()), "validation": validation.get(name, ())} for name in names}
    tests = tuple(splits["test"] for splits in frames.values() if "test" in splits)
    return Material(sets, tuple(remarks), chosen_by, tests)


def too_few(material: Material, settings: TrainingSettings) -> list[str]:
    """Why these frames fill no batch, or tell nothing of one class."""
    problems, train, validation = [], material.of("train"), material.of("validation")
    counts = _counts(train)
    if settings.self_blend and not counts[0]:
        problems.append("no real train frames, which `self_blend` makes fakes of")
    elif not settings.self_blend and 0 in counts:
        word = "real" if not counts[0] else "fake"
        problems.append(
            f"no {word} train frames, of {len(train):,}; a detector learns from both classes, or with "
            "`self_blend: true` from real ones"
        )
    fill = settings.batch_size // 2 if settings.self_blend else settings.batch_size
    if len(train) < fill:
        problems.append(
            f"{counted(len(train), 'train frame')} {'is' if len(train) == 1 else 'are'} less than one batch of "
            f"{settings.batch_size}; give more frames, or set a smaller batch_size"
        )
    needed = _counts(validation)[:1] if settings.self_blend else _counts(validation)
    if 0 in needed:
        problems.append(
            f"the validation frames ({material.chosen_by}) are {_counts(validation)[0]} real and "
            f"{_counts(validation)[1]} fake; both are needed to choose the best epoch by: add a split validation/"
        )
    return problems


def _counts(frames: Sequence[Frame]) -> tuple[int, int]:
    return sum(frame.label == 0 for frame in frames), sum(frame.label == 1 for frame in frames)


def without(material: Material, split: str, left_out: frozenset[str]) -> Material:
    """The frames without those of these digests."""
    sets = {
        name: {
            key: tuple(frame for frame in frames if key != split or frame.digest not in left_out)
            for key, frames in splits.items()
        }
        for name, splits in material.sets.items()
    }
    return replace(material, sets=sets)
