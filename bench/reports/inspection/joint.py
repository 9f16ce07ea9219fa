"""The inspection of an ensemble: the joint map beside its members', who says what with which weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import shown
from bench.files import make_folder, write_bytes, write_text
from bench.provenance import write_json
from bench.records import CLASSES
from bench.records.inspection import Inspection, Score
from bench.records.joint_inspection import JointInspection, JointLook
from bench.reports.content.cells import Cell, Column, Table, cell, columns, table
from bench.reports.content.spans import Sentence, sentence, strong
from bench.reports.content.text import NONE, number
from bench.reports.inspection import pages, pictures
from bench.reports.inspection.galleries import Card, card
from bench.reports.inspection.replacing import MAPS, MEMBERS, NUMBERS, replaced
from bench.reports.inspection.single import MARKDOWN, PAGE, files_in, write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SIDE = 300
_JOINED = {
    "mean": "the mean of its members' P(fake), each by its weight",
    "logits": "that of the mean of its members' logit differences, each by its weight",
    "vote": "the share of its members' votes, each by its weight",
    "max": "the highest P(fake) of its members",
}


def write_joint(joint: JointInspection, members: Mapping[str, Inspection], folder: Path) -> Mapping[str, Path]:
    """Write the inspection and below it those of `members` into `folder`, in place of earlier ones.

    Returns the files of the former by what they are.
    """
    with replaced(folder) as new:
        for name, of_member in members.items():
            write(of_member, new / MEMBERS / name)
        context: dict[str, Any] = {
            "title": joint.subject.name,
            "opening": [_verdict(joint, look) for look in joint.looks],
            "note": _note(joint),
            "looks": [(look, votes(look), _drawn(joint, look, new)) for look in joint.looks],
            "members": {member.name: member.page for look in joint.looks for member in look.members},
        }
        write_text(new / MARKDOWN, pages.markdown("joint.md.j2", context))
        write_text(new / PAGE, pages.html("joint.html.j2", context, [look.name for look in joint.looks]))
        write_json(new / NUMBERS, _numbers(joint))
    return files_in(folder)


def joint_lines(joint: JointInspection) -> Iterator[str]:
    """What each variant calls the picture, as a person reads it on a terminal."""
    width = max(len(look.name) for look in joint.looks)
    for look in joint.looks:
        yield (
            f"{shown(look.name):<{width}}  {look.calls}, P(fake) {look.p_fake:.4f}, {look.agree} of "
            f"{len(look.members)} members agree"
        )


def joint_card(joint: JointInspection) -> Card:
    """The card of an inspection, in the folder of its name beside the gallery."""
    from urllib.parse import quote

    subject = joint.subject
    maps = {
        look.name: pictures.data_uri(_overlay(joint, look.cam, look.target == "fake"), _SIDE) for look in joint.looks
    }
    scores = {look.name: Score(look.p_fake, look.logits[1] - look.logits[0]) for look in joint.looks}
    return card(subject, f"{quote(subject.name)}/{PAGE}", scores, maps)


def votes(look: JointLook) -> Table:
    """A row for each member: its variant, its weight, what it says."""
    rows: list[list[Cell]] = [
        [
            cell(strong(member.name)),
            cell(member.variant),
            cell(NONE if member.weight is None else number(member.weight, 3)),
            cell(number(member.p_fake, 4), value=member.p_fake),
            cell(strong(member.calls)),
        ]
        for member in look.members
    ]
    left = (Column("Member", "left"), Column("Variant", "left"))
    return table([*left, *columns(("weight", "P(fake)", "says"))], rows)


def _verdict(joint: JointInspection, look: JointLook) -> Sentence:
    side = "not below" if look.calls == "fake" else "below"
    return sentence(
        strong(look.name),
        " calls it ",
        strong(look.calls),
        f": P(fake) {number(look.p_fake, 4)} is {side} the threshold {number(joint.threshold, 4)}; {look.agree} of "
        f"{len(look.members)} members agree.",
    )


def _note(joint: JointInspection) -> Sentence:
    return sentence(
        f"P(fake) is {_JOINED[joint.combine]}. Coloured is what speaks for "
        + (f"{joint.asked}; " if joint.asked else "the class that is called; ")
        + ("the joint map is that of the member with the highest P(fake)." if joint.combine == "max"
           else "the joint map is the mean of the members', by their weights.")
        + " Each map has a scale of its own."
    )  # fmt: skip


def _drawn(joint: JointInspection, look: JointLook, folder: Path) -> list[tuple[str, str, str]]:
    """The joint map and each member's: a caption, the path from the folder, the picture as data."""
    fake, below = look.target == "fake", f"{MAPS}/{pictures.folder_of(look.name)}"
    shown = []
    captions = [("joint", "together, no joint map" if look.cam is None else "together", look.cam)]
    for member in look.members:
        weight = "" if member.weight is None else f", weight {number(member.weight, 3)}"
        captions.append((member.name, f"{member.name}{weight}{', no map' if member.cam is None else ''}", member.cam))
    for name, caption, cam in captions:
        picture = _overlay(joint, cam, fake)
        path = f"{below}/{pictures.folder_of(name)}.png"
        make_folder((folder / path).parent)
        write_bytes(folder / path, pictures.as_png(picture))
        shown.append((caption, path, pictures.data_uri(picture, _SIDE)))
    return shown


def _overlay(joint: JointInspection, cam: NDArray[np.floating] | None, fake: bool) -> NDArray[np.uint8]:
    import numpy as np

    heat = None if cam is None else np.maximum(cam if fake else -cam, 0)
    return pictures.overlay(joint.subject.fitted, heat, fake)


def _numbers(joint: JointInspection) -> dict[str, Any]:
    """What inspection.json holds: the answers of all, and where each member's own lies."""
    subject = joint.subject
    return {
        "schema": 1,
        "time": joint.time,
        "experiment": joint.experiment,
        "input": {"file": subject.file, "sha256": subject.digest,
                  "label": None if subject.label is None else CLASSES[subject.label]},
        "threshold": joint.threshold,
        "combine": joint.combine,
        "variants": {
            look.name: {
                "p_fake": look.p_fake,
                "logits": list(look.logits),
                "label": look.calls,
                "target": look.target,
                "agree": look.agree,
                "members": {
                    member.name: {"variant": member.variant, "weight": member.weight, "p_fake": member.p_fake,
                                  "label": member.calls, "inspection": member.page}
                    for member in look.members
                },
            }
            for look in joint.looks
        },
    }  # fmt: skip
