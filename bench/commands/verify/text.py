"""The outcome of `bench verify`, for people and for programs."""

from __future__ import annotations

import dataclasses
import json

from bench.errors import counted, shown
from bench.records.evidence import EVIDENCE, Verified

_SIGNS = {"ok": "ok", "differs": "DIFFERS", "missing": "MISSING", "not checked": "not checked"}


def describe(verified: Verified) -> str:
    """What the evidence is of and what it says, then a line for each finding, then the outcome."""
    evidence = verified.evidence
    steps = ", ".join(evidence.steps) or "the baseline"
    lines = [shown(f"{evidence.variant} ({steps}) of {evidence.experiment}, exported {evidence.date}")]
    for on in evidence.judged_on:
        name, word = f" {on.frame_set}" if on.frame_set else "", on.verdict.get("verdict") or "no verdict"
        auc = on.verdict.get("auc")
        ranked = f"AUC {auc:.4f}" if isinstance(auc, (int, float)) else "no AUC"
        lines.append(shown(f"verdict on {counted(on.count, 'test frame')}{name}: {word}, {ranked}"))
    for finding in verified.findings:
        note = f": {shown(finding.note, 400)}" if finding.note else ""
        lines.append(f"  {finding.what}  {_SIGNS[finding.outcome]}{note}")
    lines.append(_ending(verified))
    return "\n".join(lines)


def _ending(verified: Verified) -> str:
    """What all findings come to; that of an evidence which anybody may have written says so."""
    if verified.wrong:
        return f"not verified: {len(verified.wrong)} of {len(verified.findings)} differ or are missing"
    checked = sum(finding.outcome == "ok" for finding in verified.findings)
    if verified.signed_by is None:
        return f"unchanged ({checked} checked), as far as an {EVIDENCE} without a checked signature says"
    if verified.signed_by == "named key":
        return f"unchanged ({checked} checked), signed by a key that {EVIDENCE} names itself; whose it is, --key says"
    return f"verified ({checked} checked), signed by the key given"


def as_json(verified: Verified) -> str:
    """The outcome in `verified`, `unchanged`, `signed` and `signed_by`; `findings` and `evidence`; for programs."""
    content = {
        "verified": verified.verified,
        "unchanged": verified.unchanged,
        "signed": verified.signed_by is not None,
        "signed_by": verified.signed_by,
        "findings": [dataclasses.asdict(finding) for finding in verified.findings],
        "evidence": dataclasses.asdict(verified.evidence),
    }
    return json.dumps(content, indent=1)
