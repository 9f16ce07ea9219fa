"""`accepted.json`: the scores that later weights are compared with, small enough for version control."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from bench import stored
from bench.errors import UserError, listed, quoted
from bench.files import write_text
from bench.provenance import version
from bench.records import RunRecord, ScoredVariant, ScoresFile, Unit, VariantResult, Verdict
from bench.results import predict, store
from bench.results.limits import Above, Margin, Number, Share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA = 1
NAME = "accepted.json"
_RENEW = "`bench accept` writes it anew"
_BEGINS = re.compile(r'\{\s*"schema":\s*\d+,\s*"bench":')
_FORBID: ConfigDict = {"extra": "forbid"}
Count = Annotated[int, Field(ge=0, le=10**12)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_NUMBERS = (
    "verdict", "auc", "auc_ci", "auc_delta", "size_mib", "parameters", "confusion", "speedup", "speedup_interval",
)  # fmt: skip


class OtherExperimentError(UserError):
    """The file is undamaged, and the reference of another experiment."""


@dataclass(frozen=True)
class AcceptedVariant:
    """A variant as it was accepted.

    `logit_diffs`, the file's key `margins`, are `logit_fake - logit_real` of the test frames in the frame set's order:
    base64 of zlib of float32, little endian. `digest` is the SHA-256 of the uncompressed bytes. Of the numbers, only
    `size_mib` is compared; the others are for people who read the file.
    """

    __pydantic_config__: ClassVar = _FORBID

    id: str
    steps: tuple[str, ...]
    verdict: Verdict | None
    auc: Share | None
    auc_ci: tuple[Share, Share] | None
    auc_delta: Annotated[Number, Field(ge=-1, le=1)] | None
    size_mib: Above | None
    parameters: Count | None
    confusion: dict[Literal["tp", "tn", "fp", "fn"], Count | None]
    speedup: Above | None
    speedup_interval: tuple[Above, Above] | None
    logit_diffs: Annotated[str, Field(alias="margins")]
    digest: Digest


@dataclass(frozen=True)
class AcceptedFrames:
    """The test frames: their number, and the digest of path, label, source and content of each."""

    __pydantic_config__: ClassVar = _FORBID

    count: Count
    fake: Count
    real: Count
    digest: str


@dataclass(frozen=True)
class AcceptedSet:
    """The test frames of one of several frame sets, and the variants as they were accepted on these."""

    __pydantic_config__: ClassVar = _FORBID

    frames: dict[Literal["test"], AcceptedFrames]
    variants: dict[str, AcceptedVariant]


@dataclass(frozen=True)
class Accepted:
    """The content of the file. `weights` names the detector's weights with their SHA-256.

    Of several detectors, `variants` are called "detector/variant", `detectors` has the weights of each, and `weights`
    are the first one's. Of several frame sets, `frames` and `variants` are those on `frame_set`, the first,
    and `sets` has the others.
    """

    __pydantic_config__: ClassVar = _FORBID

    schema: int
    bench: str
    experiment: str
    accepted: str
    frames: dict[Literal["test"], AcceptedFrames]
    weights: str
    threshold: Share
    margin: Margin
    machine: str
    variants: dict[str, AcceptedVariant]
    detectors: dict[str, str] = field(default_factory=dict)
    judge: Unit = "frame"
    frame_set: str = ""
    sets: dict[str, AcceptedSet] = field(default_factory=dict)

    @property
    def by_set(self) -> dict[str, AcceptedSet]:
        """Each of several frame sets; empty where there is one alone."""
        return {self.frame_set: AcceptedSet(self.frames, self.variants), **self.sets} if self.frame_set else {}

    @property
    def titles(self) -> tuple[str, ...]:
        """The variants as messages call them: "q8", of several detectors and frame sets "b5/q8 on celeb"."""
        if not self.frame_set:
            return tuple(self.variants)
        return tuple(f"{name} on {frame_set}" for frame_set, of in self.by_set.items() for name in of.variants)

    def on(self, frame_set: str) -> Accepted | None:
        """What was accepted on one of several frame sets, as if it were alone; None where nothing was."""
        if not self.frame_set:
            return self
        of_set = self.by_set.get(frame_set)
        if of_set is None:
            return None
        return replace(self, frames=of_set.frames, variants=of_set.variants, frame_set="", sets={})

    def of(self, detector: str) -> Accepted:
        """What was accepted of one of several detectors, as if it were alone."""
        if not self.detectors:
            return self
        variants = {
            name.removeprefix(f"{detector}/"): variant
            for name, variant in self.variants.items()
            if name.startswith(f"{detector}/")
        }
        return replace(self, weights=self.detectors.get(detector, ""), variants=variants, detectors={})


def logit_diffs(results: Path, run: RunRecord, variant: VariantResult) -> NDArray[np.float32]:
    """`logit_fake - logit_real` of the test frames [n], little endian on every machine.

    Raises `UserError` where another run has replaced them: its results must be locked.
    """
    if not predict.is_done(results / variant.name, variant.predictions_key):
        raise UserError(
            f"{results / variant.name}: another run, with other settings, frames or weights, wrote its results here; "
            "run the same command again when that one is done"
        )
    logits = store.read_logits(results / variant.name)[: run.frames["test"].count]
    return (logits[:, 1] - logits[:, 0]).astype("<f4")


def unpacked(variant: AcceptedVariant, count: int) -> NDArray[np.float32]:
    """The logit differences [count] of an accepted variant; `ValueError` where they are damaged."""
    import numpy as np

    try:
        packed = base64.b64decode(variant.logit_diffs, validate=True)
        # One byte more than expected is enough to know that there are too many.
        data = zlib.decompressobj().decompress(packed, 4 * count + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from error
    if len(data) != 4 * count:
        raise ValueError(f"expected the margins of {count:,} frames")
    if hashlib.sha256(data).hexdigest() != variant.digest:
        raise ValueError("the margins do not match their digest")
    array = np.frombuffer(data, dtype="<f4")
    if not np.isfinite(array).all():
        raise ValueError("a margin is not finite")
    return array


def read(path: Path, name: str) -> Accepted:
    """The accepted scores of this experiment; `UserError` where the file is damaged or of another experiment.

    The logit differences are checked by `match`, which knows how many frames there are.
    """
    try:
        text = stored.read_text(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; `bench accept` writes it from the results of `bench run`") from error
    except stored.DamagedError as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a file of `bench accept`") from error
    try:
        accepted = _parsed(stored.parsed(text), path)
    except ValueError as error:
        raise _damaged(path, error) from error
    if accepted.experiment != name:
        raise OtherExperimentError(
            f"{path}: holds the experiment {quoted(accepted.experiment)}, not {quoted(name)}; name another file: "
            f"`bench accept {name} --to accepted-{name}.json` writes one of its own"
        )
    return accepted


def match(accepted: Accepted, count: int, digest: str, path: Path) -> None:
    """Raise `UserError` where the scores are of other test frames, then where logit differences are damaged.

    Frames come first: their count, which the file cannot choose, limits how much is unpacked.
    """
    before = accepted.frames["test"]
    if (before.count, before.digest) != (count, digest):
        raise UserError(
            f"{path}: was accepted on other test frames: {before.count:,} with digest {before.digest[:16]}, the "
            f"experiment has {count:,} with digest {digest[:16]}; scores compare on the same frames only: "
            "bring those back, or make a new reference with `bench accept`"
        )
    for name, variant in accepted.variants.items():
        try:
            unpacked(variant, count)
        except ValueError as error:
            raise _damaged(path, ValueError(f"variant {quoted(name)}: {error}")) from error


def refuse_other_detectors(accepted: Accepted, detectors: Sequence[str], path: Path) -> None:
    """Raise `UserError` where one side has several detectors and the other has one: their names do not meet then."""
    if bool(accepted.detectors) != (len(detectors) > 1):
        before = ", ".join(accepted.detectors) or "one detector"
        raise UserError(
            f"{path}: was accepted of {before}, and the experiment has {', '.join(detectors)} now; "
            "make a new reference with `bench accept`"
        )


def refuse_other_sets(accepted: Accepted, frame_sets: Sequence[str], path: Path) -> None:
    """Raise `UserError` where one side has several frame sets and the other has one, or they have none in common."""
    is_several = len(frame_sets) > 1
    if bool(accepted.frame_set) != is_several or (is_several and not set(frame_sets) & set(accepted.by_set)):
        before = ", ".join(accepted.by_set) or "one frame set"
        raise UserError(
            f"{path}: was accepted on {before}, and the experiment has {', '.join(frame_sets)} now; "
            "make a new reference with `bench accept`"
        )


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: damaged, or no file of `bench accept` ({_first_line(error)}); {_RENEW}")


def _parsed(content: Any, path: Path) -> Accepted:
    """The JSON value as a record; `UserError` for another schema version, `ValueError` for what else is wrong."""
    if not isinstance(content, dict) or "schema" not in content:
        raise ValueError("it has no schema version")
    if content["schema"] != SCHEMA:
        raise UserError(
            f"{path}: has schema version {quoted(content['schema'])}, this bench reads version {SCHEMA}; "
            f"use the bench that wrote it ({quoted(content.get('bench'))}), or {_RENEW}"
        )
    accepted: Accepted = stored.typed(Accepted, content)
    if not accepted.variants or not accepted.frames:
        raise ValueError(f"it holds no {'frames' if accepted.variants else 'variant'}")
    names = [name for of_set in accepted.sets.values() for name in of_set.variants] + list(accepted.variants)
    if accepted.detectors and any(name.partition("/")[0] not in accepted.detectors for name in names):
        raise ValueError("it holds a variant of none of its detectors")
    if not all(of_set.variants and of_set.frames for of_set in accepted.sets.values()):
        raise ValueError("it holds a frame set without frames or variants")
    if accepted.sets and not accepted.frame_set:
        raise ValueError("it does not say what its first frame set is called")
    return accepted


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


# ------------------------------------------------------------------------------------------------ writing
def write(accepted: Accepted, to: Path, left_out: Mapping[str, str]) -> None:
    """Write accepted scores, unless the file holds the same; `UserError` where it is no file of `bench accept`.

    `left_out` are variants that the experiment has and that could not be accepted, with the reason. `UserError` where
    the file holds one of them: nothing would guard it any more.
    """
    before = _before(to, accepted)
    if lost := [f"{name} ({left_out[name]})" for name in (before.titles if before else ()) if name in left_out]:
        raise UserError(
            f"{to}: holds {listed(lost)}, which cannot be accepted now, and nothing would compare later weights with "
            "it any more; run it again, take it out of the experiment, or accept without it by --anyway"
        )
    if before is None or _comparable(before) != _comparable(accepted):
        write_text(to, json.dumps(_as_json(accepted), indent=1, ensure_ascii=False) + "\n")


def _before(to: Path, accepted: Accepted) -> Accepted | None:
    """The scores that the file holds; None where there is no file, or a damaged one that may be replaced."""
    if not to.exists():
        return None
    frames = accepted.frames["test"]
    try:
        before = read(to, accepted.experiment)
        match(before, frames.count, frames.digest, to)
        for name, of_set in accepted.sets.items():
            if now := before.on(name):
                match(now, of_set.frames["test"].count, of_set.frames["test"].digest, to)
    except OtherExperimentError:
        raise
    except UserError:
        if not _may_be_replaced(to):
            raise UserError(f"{to}: no file of `bench accept`, and stays as it is; --to names another file") from None
        return None
    return before


def _may_be_replaced(to: Path) -> bool:
    """Whether a file that cannot be used is one of `bench accept`, whole or cut off."""
    try:
        text = stored.read_bytes(to).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return False
    try:
        content = stored.parsed(text)
    except ValueError:
        return not text or _BEGINS.match(text) is not None
    return isinstance(content, dict) and {"schema", "bench", "accepted", "experiment", "variants"} <= set(content)


def _comparable(accepted: Accepted) -> Accepted:
    """Without the date, and without the packed bytes, which zlib's versions write differently: the digest stays."""
    sets = {name: replace(of_set, variants=_without_margins(of_set.variants)) for name, of_set in accepted.sets.items()}
    return replace(accepted, accepted="", variants=_without_margins(accepted.variants), sets=sets)


def _without_margins(variants: Mapping[str, AcceptedVariant]) -> dict[str, AcceptedVariant]:
    return {name: replace(variant, logit_diffs="") for name, variant in variants.items()}


def accepted(run: RunRecord, scores: ScoresFile, diffs: Mapping[str, NDArray[np.float32]]) -> Accepted:
    """The record of the scores of a run; `diffs` are the logit differences [n] of each accepted variant."""
    test = run.frames["test"]
    return Accepted(
        schema=SCHEMA,
        bench=version("bench"),
        experiment=run.experiment,
        accepted=datetime.now(UTC).date().isoformat(),
        frames={"test": AcceptedFrames(test.count, test.fake, test.real, test.digest)},
        weights=run.provenance.get("weights", ""),
        threshold=run.threshold,
        margin=run.margin,
        machine=run.provenance.get("machine", ""),
        judge=run.judge,
        variants={name: _variant(scores.judged[name], array) for name, array in diffs.items()},
    )


def of_several(detectors: Mapping[str, Accepted]) -> Accepted:
    """The record of several detectors, by name."""
    first = next(iter(detectors.values()))
    variants = {
        f"{detector}/{name}": variant for detector, of in detectors.items() for name, variant in of.variants.items()
    }
    return replace(first, variants=variants, detectors={name: of.weights for name, of in detectors.items()})


def on_sets(by_set: Mapping[str, Accepted]) -> Accepted:
    """The record of several frame sets, by name."""
    first, *others = by_set
    sets = {name: AcceptedSet(by_set[name].frames, by_set[name].variants) for name in others}
    return replace(by_set[first], frame_set=first, sets=sets)


def _variant(scored: ScoredVariant, diffs: NDArray[np.float32]) -> AcceptedVariant:
    data = diffs.tobytes()
    scores = asdict(scored)
    packed = base64.b64encode(zlib.compress(data, 9)).decode("ascii")
    content = {key: scores[key] for key in ("id", "steps", *_NUMBERS)}
    content |= {"margins": packed, "digest": hashlib.sha256(data).hexdigest()}
    variant: AcceptedVariant = stored.typed(AcceptedVariant, content)
    return variant


def _as_json(accepted: Accepted) -> dict[str, Any]:
    from pydantic import TypeAdapter

    content: dict[str, Any] = TypeAdapter(Accepted).dump_python(accepted, mode="json", by_alias=True)
    for key in ("detectors", "frame_set", "sets"):
        if not content[key]:
            del content[key]
    if accepted.judge == "frame":
        del content["judge"]
    return content
