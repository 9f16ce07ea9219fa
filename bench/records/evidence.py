"""What lies in a folder that `bench export` wrote, for whoever checks it: its `evidence.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

EVIDENCE, SIGNATURE = "evidence.json", "evidence.json.sig"
"""The file's name, and that of the Ed25519 signature of its bytes: 64 bytes, as openssl writes and reads them."""

Sha256: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text: TypeAlias = Annotated[str, Field(max_length=4000)]
FileName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A file in the folder itself; a path that leads anywhere else is none."""


@dataclass(frozen=True)
class FileDigest:
    """The content of a file."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class NamedDigest:
    """A file by the name that it had where the variant was made."""

    file: Text
    sha256: Sha256


@dataclass(frozen=True)
class JudgedOn:
    """The verdict on the variant on the test frames of a frame set, and digests of all that it is made of.

    `frame_set` is empty where the experiment has a single one. `frames` is the digest of the whole set: of the paths,
    labels, sources and content of its frames; `manifest` is that of paths, labels and sources alone. `predictions` and
    `scores` have those of the variant and the baseline, by name: of predictions.parquet, and of what scores.json holds
    of each, as JSON with sorted keys and no spaces. `verdict` holds the numbers themselves.
    """

    frame_set: Text
    count: int
    fake: int
    real: int
    frames: Sha256
    manifest: Sha256
    predictions: dict[FileName, Sha256]
    scores: dict[FileName, Sha256]
    verdict: dict[Text, Any]


@dataclass(frozen=True)
class Evidence:
    """Where an exported variant comes from, how it was judged, and the digests by which that can be checked.

    `files` are those of the folder, by name. `artifact` is what was built, `weights` what the owner gave. `signed_by`
    is the public key (Ed25519, 32 bytes, in hexadecimal) of whoever signed this file, None where nobody did.
    """

    bench: Text
    date: Text
    experiment: Text
    detector: Text
    architecture: Text
    variant: FileName
    baseline: FileName
    id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    steps: tuple[Text, ...]
    weights: NamedDigest | None
    artifact: NamedDigest
    files: dict[FileName, FileDigest]
    judged_on: tuple[JudgedOn, ...]
    verdict_over_all: Text | None
    libraries: Text
    machine: Text
    signed_by: Sha256 | None = None
    schema: Literal[1] = 1


Outcome: TypeAlias = Literal["ok", "differs", "missing", "not checked"]


@dataclass(frozen=True)
class Finding:
    """What checking a part of the evidence came to, and why where it is not well."""

    what: str
    outcome: Outcome
    note: str = ""


@dataclass(frozen=True)
class Verified:
    """The outcome of `bench verify`: the evidence, and a finding for each part of it.

    `by_given_key` is whether the receiver said whose signature is expected.
    """

    evidence: Evidence
    findings: tuple[Finding, ...]
    by_given_key: bool

    @property
    def wrong(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.outcome in ("differs", "missing"))

    @property
    def unchanged(self) -> bool:
        """Whether all that was compared, the signature aside, is as the evidence says, whoever wrote that."""
        return all(finding.what == SIGNATURE for finding in self.wrong)

    @property
    def signed_by(self) -> Literal["given key", "named key"] | None:
        """Whose signature was checked and is right: that of the key given, or of the one that the evidence names."""
        signature = next(finding for finding in self.findings if finding.what == SIGNATURE)
        if signature.outcome != "ok":
            return None
        return "given key" if self.by_given_key else "named key"

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong and the owner of the key given signed it; only that says where it comes from."""
        return not self.wrong and self.signed_by == "given key"
