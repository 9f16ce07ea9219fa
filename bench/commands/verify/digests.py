"""What comparing two digests comes to."""

from __future__ import annotations

from bench.records.evidence import Finding


def compared(what: str, digest: str, expected: str, further: str = "") -> Finding:
    """Whether `what` has the digest that the evidence says; `further` is what else differs."""
    if digest == expected:
        return Finding(what, "ok", f"SHA-256 {digest}")
    return Finding(what, "differs", f"has the SHA-256 {digest}, expected {expected}{further}")
