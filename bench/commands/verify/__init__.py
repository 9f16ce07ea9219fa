"""`bench verify`: compare an exported folder with its evidence.json, and that with its signature. Nothing is executed.

Files are opened as bytes, by names that can only be those of files in the folder itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import signatures, stored
from bench.commands.verify.digests import compared
from bench.errors import UserError, listed, quoted, shown
from bench.records import HANDED_OVER, OnEvent, silent
from bench.records.evidence import EVIDENCE, SIGNATURE, Evidence, FileDigest, Finding, Verified

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_MOST_BYTES = 4 * stored.MIB
_OF_MODULES = (".py", ".pyw", ".pyc", ".so", ".pyd", ".dylib", ".dll")
"""What Python imports on any system: a folder may be checked on another one than it is used on."""
_ELSEWHERE = "weights, artifact, frames, predictions, scores"
_NOT_HERE = "not in this folder; --experiment names the experiment file beside which they lie"


def verify(
    target: Path, key: Path | None = None, experiment: Path | None = None, on_event: OnEvent = silent
) -> Verified:
    """Check an exported folder, or one file of it, by the evidence that lies there; by its evidence, the whole folder.

    `key` is the public key (PEM) that must have signed it. `experiment` is the experiment file beside which weights,
    artifact, frames, predictions and scores lie, which are checked too then. Raises `UserError` where there is no
    evidence or none that can be read, and for keys of another kind.
    """
    public = signatures.public_key(key, "--key") if key else None
    if not target.exists():
        raise UserError(f"{target}: no such file or folder; expected one that `bench export` wrote")
    folder = target if target.is_dir() else target.parent
    data, evidence = _read(folder / EVIDENCE)
    names = _names(target, evidence)
    findings = [_signature(folder, data, evidence, public)]
    findings += [_file(folder / name, evidence.files[name]) for name in names]
    if HANDED_OVER in names:
        findings.append(_verdict(folder / HANDED_OVER, evidence))
    if _is_whole(target):
        findings += _further(folder, evidence)
    if experiment is None:
        findings.append(Finding(_ELSEWHERE, "not checked", _NOT_HERE))
    else:
        from bench.commands.verify.workplace import compare

        findings += compare(evidence, experiment, on_event)
    return Verified(evidence, tuple(findings), by_given_key=key is not None)


def _read(path: Path) -> tuple[bytes, Evidence]:
    """The bytes of evidence.json and what they say."""
    try:
        data = stored.read_bytes(path, _MOST_BYTES, links=False)
        content = stored.parsed(data.decode("utf-8"), repeats=False)
        _refuse_paths(content)
        evidence: Evidence = stored.typed(Evidence, content)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file, so there is nothing to compare with; expected a folder that `bench export` wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise stored.damaged(path, error, "ask whoever exported it for another copy") from error
    if not evidence.files or not evidence.judged_on:
        raise UserError(f"{path}: names no file, or no frames; ask whoever exported it for another copy")
    return data, evidence


def _refuse_paths(content: Any) -> None:
    """Raise `DamagedError` for names of files that lead out of the folder, before anything looks there."""
    files = content.get("files") if isinstance(content, dict) else None
    for name in files if isinstance(files, dict) else ():
        if any(sign in name for sign in "/\\:") or name.startswith("."):
            raise stored.DamagedError(f"it names the file {quoted(name)}, which is no name in its folder")


def _is_whole(target: Path) -> bool:
    """Whether all of the folder is to be checked: evidence is that of all of it."""
    return target.is_dir() or target.name in (EVIDENCE, SIGNATURE)


def _names(target: Path, evidence: Evidence) -> list[str]:
    """The files to compare: all, or the one that was named."""
    if _is_whole(target):
        return list(evidence.files)
    if target.name not in evidence.files:
        raise UserError(f"{target}: {EVIDENCE} beside it knows no such file; it has {listed(evidence.files)}")
    return [target.name]


def _signature(folder: Path, data: bytes, evidence: Evidence, key: Ed25519PublicKey | None) -> Finding:
    """Whether these bytes of evidence.json are what was signed."""
    try:
        signature = stored.read_bytes(folder / SIGNATURE, _MOST_BYTES, links=False)
    except FileNotFoundError:
        if key is not None or evidence.signed_by:
            return Finding(SIGNATURE, "missing", f"nothing says that {EVIDENCE} is what its owner wrote")
        return Finding(SIGNATURE, "not checked", f"nobody signed it, so whoever changed a file could change {EVIDENCE}")
    except (OSError, ValueError) as error:
        return Finding(SIGNATURE, "differs", f"cannot be read ({error})")
    if key is None and not evidence.signed_by:
        return Finding(SIGNATURE, "not checked", "--key names the public key that checks it")
    return _signed(data, signature, evidence.signed_by, key)


def _signed(data: bytes, signature: bytes, named: str | None, key: Ed25519PublicKey | None) -> Finding:
    """Whether it was made with the private key of `key`, or else of the one that the evidence names."""
    if len(signature) != signatures.SIGNATURE_BYTES:
        return Finding(SIGNATURE, "differs", f"has {len(signature):,} bytes; a signature has 64")
    try:
        signer = key or signatures.named_key(str(named))
    except UserError as error:  # everything else is checked all the same
        return Finding(SIGNATURE, "not checked", str(error))
    except ValueError:
        return Finding(SIGNATURE, "differs", f"{EVIDENCE} names a public key that is none")
    if signatures.is_signed(data, signature, signer):
        note = "by the key given" if key else f"by the key {named}; --key says whether it is theirs"
        return Finding(SIGNATURE, "ok", note)
    if key and named not in (None, signatures.digits_of(key)):
        return Finding(SIGNATURE, "differs", f"was made with another key, {named}, not with the one given")
    return Finding(SIGNATURE, "differs", f"is not that of {EVIDENCE} as it is now, or of another key")


def _file(path: Path, expected: FileDigest) -> Finding:
    try:
        digest, size = stored.digest(path, links=False)
    except FileNotFoundError:
        return Finding(path.name, "missing", "is not in the folder")
    except (OSError, ValueError) as error:
        return Finding(path.name, "differs", f"cannot be read ({error})")
    sizes = "" if size == expected.size_bytes else f", {size:,} bytes where {expected.size_bytes:,} were written"
    return compared(path.name, digest, expected.sha256, sizes)


def _verdict(path: Path, evidence: Evidence) -> Finding:
    """Whether model.json says the same as the evidence of how good it is."""
    what = f"verdict, beside {HANDED_OVER}"
    try:
        scores = stored.read_json(path, _MOST_BYTES, links=False)["scores"]
        scores = {**scores, **(scores["video"] or {})} if evidence.judged_on[0].verdict["judge"] == "video" else scores
        beside = {key: scores[key] for key in evidence.judged_on[0].verdict if key in scores}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Finding(what, "differs", f"{HANDED_OVER} does not say it ({type(error).__name__})")
    differing = [key for key, value in beside.items() if value != evidence.judged_on[0].verdict[key]]
    if differing:
        return Finding(what, "differs", f"{listed(differing)} there and in {EVIDENCE} are not the same")
    return Finding(what, "ok")


def _further(folder: Path, evidence: Evidence) -> Iterator[Finding]:
    """Files that nobody vouches for. What Python would import beside predict.py is wrong there."""
    covered = {*evidence.files, EVIDENCE, SIGNATURE}
    for path in sorted(folder.iterdir()):
        if path.name in covered:
            continue
        is_module = path.name.endswith((*all_suffixes(), *_OF_MODULES))
        if is_module or (path.is_dir() and path.name.isidentifier()):
            made = "; importing predict.py makes it" if path.name == "__pycache__" else ""
            why = f"{EVIDENCE} does not know it, and Python may import it beside predict.py: remove it{made}"
            yield Finding(shown(path.name), "differs", why)
        else:
            yield Finding(shown(path.name), "not checked", f"{EVIDENCE} does not know it")
