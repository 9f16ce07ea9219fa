"""Inspections as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from bench.errors import shown
from bench.records import class_of
from bench.records.inspection import Inspection


def lines_of(inspected: Inspection) -> Iterator[str]:
    """A line for each variant: what it calls the picture, and what part of the face that is for."""
    width = max(len(look.judge.name) for look in inspected.looks)
    for look in inspected.looks:
        called = class_of(look.p_fake, inspected.threshold)
        evidence = look.agreed_on_face or look.on_face
        where = share = ""
        if evidence is not None and evidence.leading is not None:
            agree = " where levels agree" if look.agreed_on_face else ""
            where = f", most evidence for {look.target}{agree} on {evidence.leading}"
            share = f" ({100 * evidence.shares[evidence.leading]:.0f} %)"
        apart = f" (logit difference {look.logit_diff:+.2f})" if look.is_saturated else ""
        yield f"{shown(look.judge.name):<{width}}  {called}, P(fake) {look.p_fake:.4f}{apart}{where}{share}"
    if inspected.subject.is_close_up:
        yield (
            "note: the face fills most of the picture; if that is a crop already, `--faces never` judges it as it is"
        )
