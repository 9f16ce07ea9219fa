"""Inspections as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from bench.commands.inspect.request import Written
from bench.errors import listed, shown
from bench.records import class_of
from bench.records.inspection import Inspection


def describe(written: Written) -> str:
    """What each variant calls each picture, and what was not looked into."""
    return "\n".join([*_lines(written), *written.summary])


def _lines(written: Written) -> Iterator[str]:
    if len(written.inspections) == 1:
        yield from _of_a_picture(written.inspections[0])
    if written.skipped:
        yield f"skipped: {listed(written.skipped, 10)}"


def _of_a_picture(inspected: Inspection) -> Iterator[str]:
    """A line for each variant: what it calls the picture, and what part of the face that is for."""
    width = max(len(look.judge.name) for look in inspected.looks)
    for look in inspected.looks:
        called = class_of(look.p_fake, inspected.threshold)
        evidence = look.agreed_on_face or look.on_face
        where = "" if evidence is None else f", most evidence for {look.target} on {evidence.leading}"
        share = "" if evidence is None else f" ({100 * evidence.shares[evidence.leading]:.0f} %)"
        apart = f" (logit difference {look.logit_diff:+.2f})" if look.is_saturated else ""
        yield f"{shown(look.judge.name):<{width}}  {called}, P(fake) {look.p_fake:.4f}{apart}{where}{share}"
