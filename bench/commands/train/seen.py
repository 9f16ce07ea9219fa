"""What a training sees, with what its weights saw before, held against the frames that will judge it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.commands.train import material
from bench.commands.train.material import Material
from bench.errors import UserError, counted, listed
from bench.pipeline import trained_on
from bench.records.trainings import Seen, TrainedOn


def checked(frames: Material, training: str, weights: Path | None) -> Material:
    """The frames, with a remark where those that choose the best epoch were learned from by the `weights` before.

    Raises `UserError` where `bench run` would refuse to test what is trained: that is better known before than after.
    """
    earlier = trained_on.of_weights(weights) if weights else None
    now = TrainedOn(training, frames.seen)
    problems = [
        f"{test.name}: `bench run` would refuse to test what is trained here: {problem}"
        for test in frames.tests
        for trained in (now, earlier)
        if trained is not None
        for problem in trained_on.problems(trained, {"test": test})
    ]
    if problems:
        raise UserError(*problems)
    return replace(frames, remarks=(*frames.remarks, *_learned_before(frames, earlier))) if earlier else frames


def as_json(frames: Material, weights: Path | None) -> dict[str, dict[str, dict[str, list[str]]]]:
    """What this training sees, and what that of the `weights` saw, for the file beside a checkpoint."""
    earlier = trained_on.of_weights(weights) if weights else None
    whole: dict[str, dict[str, Seen]] = {name: dict(splits) for name, splits in frames.seen.items()}
    for name, splits in (earlier.sets if earlier else {}).items():
        for split, before in splits.items():
            now = whole.setdefault(name, {}).get(split, Seen(frozenset(), frozenset()))
            whole[name][split] = Seen(now.digests | before.digests, now.sources | before.sources)
    return {
        name: {split: {"digests": sorted(of.digests), "sources": sorted(of.sources)} for split, of in splits.items()}
        for name, splits in whole.items()
    }


def _learned_before(frames: Material, earlier: TrainedOn) -> Iterator[str]:
    """That validation frames were train frames of the weights to begin with, or of the same sources."""
    digests = frozenset().union(*(of["train"].digests for of in earlier.sets.values() if "train" in of))
    learned_from: list[str] = []
    for name, splits in frames.sets.items():
        of_set = earlier.sets.get(name, {}).get("train", Seen(frozenset(), frozenset()))
        learned_from += [
            frame.path
            for frame in splits.get("validation", ())
            if frame.digest in digests or not of_set.sources.isdisjoint(frame.sources)
        ]
    if learned_from:
        is_drawn = frames.chosen_by == material.FROM_TRAIN and frames.sets.keys() == earlier.sets.keys()
        advice = "the `seed` and `held_out` of that training hold out the same ones" if is_drawn else "choose others"
        yield (
            f"{counted(len(learned_from), 'validation frame')}, by which the best epoch is chosen, "
            f"{'is one' if len(learned_from) == 1 else 'are some'} that the weights to begin with were trained on "
            f"(training {earlier.training}), or of the same source: {listed(learned_from, 3)}. Their metrics look "
            f"better than they are: {advice}."
        )
