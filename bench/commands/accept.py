"""`accepted.json`: the scores that later weights are compared with, small enough for version control."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from bench import stored
from bench.errors import UserError, listed, on_one_line, quoted
from bench.experiment import Experiments, ExperimentSettings, select
from bench.files import write_text
from bench.pipeline import render
from bench.pipeline.build import build_context
from bench.pipeline.prepare import Prepared, prepare
from bench.provenance import version
from bench.records import OnEvent, RunRecord, ScoredVariant, ScoresFile, VariantResult, Verdict, silent
from bench.results import store
from bench.results.limits import Above, Margin, Number, Share
from bench.results.score.gates import ABOVE_CHANCE, above_chance
from bench.variants import ids

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
    """The file is whole, and the reference of another experiment."""


@dataclass(frozen=True)
class AcceptedVariant:
    """A variant as it was accepted. `margins` are base64 of zlib of float32, little endian; `digest` their SHA-256.

    They are `logit_fake - logit_real` of the test frames, in the frame set's order. The numbers are for
    people who read the file; only `size_mib` is compared.
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
    margins: str
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
class Accepted:
    """The whole file. `weights` tells the detector's weights with their SHA-256."""

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


def accept_scores(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    to: Path,
    device: str | None = None,
    anyway: bool = False,
    on_event: OnEvent = silent,
) -> tuple[Accepted, tuple[str, ...]]:
    """Write the stored scores of an experiment to `to`: what was written, and what was left out and why.

    The same scores leave the file as it is, with its date. Raises `UserError` where there are no results, where
    they are not those of the weights, frames and steps as they are now, where `to` holds something else, and,
    unless `anyway`, where the baseline is not proven to be better than chance or fell at its own `auc` gate.
    """
    name, settings = select(experiments, name, path)
    results = path.parent / "results" / name
    store.read_run(results)
    # Nothing is built: whether each step and runtime could work here does not matter.
    only = (settings.baseline,)
    prepared = prepare(experiments, path, name, only=only, device=device, on_event=on_event)
    with store.locked(results, f"accepting {name}", on_event):
        _refuse_stale(store.read_run(results), prepared)
        finished = render.report(path.parent, name, settings, on_event=on_event)
        fine = [variant for variant in finished.run.variants if variant.status == "ok"]
        if not fine:
            raise UserError(
                f"{results}: every variant failed, so there is nothing to accept; {finished.report} says why"
            )
        if not anyway:
            _refuse_chance(finished.scores, settings)
        by_variant = {variant.name: margins(results, finished.run, variant) for variant in fine}
        found = _accepted(finished.run, finished.scores, by_variant)
    there = _there(to, found)
    if there is None or _content(there) != _content(found):
        write_text(to, json.dumps(_plain(found), indent=1, ensure_ascii=False) + "\n")
    left_out = [f"{one.name}: failed ({one.reason})" for one in finished.run.variants if one.status != "ok"]
    known = {variant.name for variant in finished.run.variants}
    left_out += [f"{variant}: has no results yet" for variant in settings.variants if variant not in known]
    return found, tuple(left_out)


def _refuse_chance(scores: ScoresFile, settings: ExperimentSettings) -> None:
    """What is compared with a detector at chance passes for nothing."""
    fell = above_chance(scores, settings.gates)
    if fell is None:
        return
    auc = "unknown" if fell.value is None else f"{fell.value:.4f}"
    within = f" (95 % interval {fell.interval.low:.4f} to {fell.interval.high:.4f})" if fell.interval else ""
    what = f"has the AUC {auc}{within} on {scores.frames['test'].count:,} test frames"
    if fell.gate != ABOVE_CHANCE:
        raise UserError(
            f"{quoted(fell.variant)}, the baseline, {what}, and fell at its own gate `auc: {fell.limit:g}`; nothing "
            "was written: mend the detector, change the gate, or accept it with --anyway"
        )
    raise UserError(
        f"{quoted(fell.variant)}, the baseline, {what}, which is not proven to be better than chance; nothing was "
        "written, since what is compared with it says nothing",
        "check weights, labels and `preprocessing:`, or add test frames; if you know that it is fine, use --anyway, or "
        f"give it an AUC gate of its own: `gates: {{{fell.variant}: {{auc: 0.6}}}}`",
    )


def describe(found: Accepted, to: Path) -> str:
    """What was accepted, and how large the file is."""
    count, path = found.frames["test"].count, on_one_line(str(to))
    size_kib = to.stat().st_size / 2**10
    return (
        f"accepted: {', '.join(found.variants)} on {count:,} test frames; {path}, {size_kib:,.0f} KiB\n"
        f"next: commit it, then `bench check {found.experiment} --against {path}` judges new weights"
    )


def _content(found: Accepted) -> Accepted:
    """What matters: the date does not, and libraries may pack the same margins, which their digest tells, otherwise."""
    variants = {name: replace(variant, margins="") for name, variant in found.variants.items()}
    return replace(found, accepted="", variants=variants)


def margins(results: Path, run: RunRecord, variant: VariantResult) -> NDArray[np.float32]:
    """`logit_fake - logit_real` of the test frames [n], little endian on every machine."""
    logits = store.read_logits(results / variant.name)[: run.frames["test"].count]
    return (logits[:, 1] - logits[:, 0]).astype("<f4")


def unpacked(variant: AcceptedVariant, count: int) -> NDArray[np.float32]:
    """The margins [count] of an accepted variant. Raises `ValueError` where they are not whole."""
    import numpy as np

    try:
        packed = base64.b64decode(variant.margins, validate=True)
        # One byte more than expected is enough to know that there are too many.
        data = zlib.decompressobj().decompress(packed, 4 * count + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from error
    if len(data) != 4 * count:
        raise ValueError(f"expected the margins of {count:,} frames")
    if hashlib.sha256(data).hexdigest() != variant.digest:
        raise ValueError("the margins do not match their digest")
    found = np.frombuffer(data, dtype="<f4")
    if not np.isfinite(found).all():
        raise ValueError("a margin is not finite")
    return found


def read(path: Path, name: str) -> Accepted:
    """What the file holds, of this experiment and in range, but for the margins: see `match`. Else `UserError`."""
    try:
        text = stored.read_text(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; `bench accept` writes it from the results of `bench run`") from error
    except stored.DamagedError as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a file of `bench accept`") from error
    try:
        found = _parsed(stored.parsed(text), path)
    except ValueError as error:
        raise _damaged(path, error) from error
    if found.experiment != name:
        raise OtherExperimentError(
            f"{path}: holds the experiment {quoted(found.experiment)}, not {quoted(name)}; name another file: "
            f"`bench accept {name} --to accepted-{name}.json` writes one of its own"
        )
    return found


def match(kept: Accepted, count: int, digest: str, path: Path) -> None:
    """Refuse scores of other test frames, then margins that are not whole, with `UserError`.

    In this order: how much is unpacked is for the frames to say, not for the file.
    """
    before = kept.frames["test"]
    if (before.count, before.digest) != (count, digest):
        raise UserError(
            f"{path}: was accepted on other test frames: {before.count:,} with digest {before.digest[:16]}, the "
            f"experiment has {count:,} with digest {digest[:16]}; scores compare on the same frames only: "
            "bring those back, or make a new reference with `bench accept`"
        )
    for name, variant in kept.variants.items():
        try:
            unpacked(variant, count)
        except ValueError as error:
            raise _damaged(path, ValueError(f"variant {quoted(name)}: {error}")) from error


def weights_digest(weights: str) -> str:
    """The SHA-256 in "best_model.tar (SHA-256 3f2a…)": a file that was moved holds the same weights."""
    return weights.rpartition("(SHA-256 ")[2].rstrip(")")


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: damaged, or no file of `bench accept` ({_first_line(error)}); {_RENEW}")


def _parsed(told: Any, path: Path) -> Accepted:
    if not isinstance(told, dict) or "schema" not in told:
        raise ValueError("it has no schema version")
    if told["schema"] != SCHEMA:
        raise UserError(
            f"{path}: has schema version {quoted(told['schema'])}, this bench reads version {SCHEMA}; "
            f"use the bench that wrote it ({quoted(told.get('bench'))}), or {_RENEW}"
        )
    found: Accepted = stored.typed(Accepted, told)
    if not found.variants or not found.frames:
        raise ValueError(f"it holds no {'frames' if found.variants else 'variant'}")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _there(to: Path, found: Accepted) -> Accepted | None:
    """What lies where it is to be written: nothing, or a file of the same experiment, damaged or not."""
    if not to.exists():
        return None
    frames = found.frames["test"]
    try:
        there = read(to, found.experiment)
        match(there, frames.count, frames.digest, to)
    except OtherExperimentError:
        raise
    except UserError:
        if not _is_accepted(to):
            raise UserError(f"{to}: no file of `bench accept`, and stays as it is; --to names another file") from None
        return None
    return there


def _is_accepted(to: Path) -> bool:
    """Whether a file that cannot be used may be written over: one of this kind, whole or cut off, and no other."""
    try:
        text = stored.read_bytes(to).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return False
    try:
        told = stored.parsed(text)
    except ValueError:
        return not text or _BEGINS.match(text) is not None
    return isinstance(told, dict) and {"schema", "bench", "accepted", "experiment", "variants"} <= set(told)


def _refuse_stale(run: RunRecord, prepared: Prepared) -> None:
    """Weights, test frames and how each variant is made must be the same in the results as they are now."""
    context = build_context(prepared, silent)
    ids = {name: ids.of_chain(prepared.source, chain, context)[-1] for name, chain in prepared.chains.items()}
    other = [one.name for one in run.variants if one.status == "ok" and one.id != ids.get(one.name)]
    stale = {
        "other weights": weights_digest(run.provenance.get("weights", "")) != prepared.source.digest,
        "other test frames": run.frames["test"].digest != prepared.frames["test"].digest,
        f"other variants than the experiment asks for ({listed(other)})": bool(other),
    }
    if any(stale.values()):
        told = ", ".join(what for what, is_so in stale.items() if is_so)
        raise UserError(f"{prepared.results}: was made of {told}; `bench run` brings them up to date")


def _accepted(run: RunRecord, scores: ScoresFile, found: Mapping[str, NDArray[np.float32]]) -> Accepted:
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
        variants={name: _variant(scores.variants[name], array) for name, array in found.items()},
    )


def _variant(scored: ScoredVariant, array: NDArray[np.float32]) -> AcceptedVariant:
    from pydantic import TypeAdapter

    data = array.tobytes()
    numbers = asdict(scored)
    compared = {key: numbers[key] for key in ("id", "steps", *_NUMBERS)}
    packed = base64.b64encode(zlib.compress(data, 9)).decode("ascii")
    whole: AcceptedVariant = TypeAdapter(AcceptedVariant).validate_python(
        {**compared, "margins": packed, "digest": hashlib.sha256(data).hexdigest()}
    )
    return whole


def _plain(found: Accepted) -> dict[str, Any]:
    from pydantic import TypeAdapter

    plain: dict[str, Any] = TypeAdapter(Accepted).dump_python(found, mode="json")
    return plain
