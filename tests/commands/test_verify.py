"""`bench verify` names what differs from the evidence, and believes only a signature that openssl believes too."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.records.evidence import EVIDENCE, SIGNATURE, Evidence, FileDigest, JudgedOn, NamedDigest
from tests.support.command_line import bench

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
FILES = {"model.onnx": b"weights", "predict.py": b"raise SystemExit('executed')\n", "README.md": b"# q8\n"}
VERDICT: dict[str, Any] = {"judge": "frame", "verdict": "stable", "auc": 0.98, "auc_delta": -0.001}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def openssl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def keys(folder: Path, name: str = "key") -> Path:
    """The private key, as the documentation makes it; the public one beside it ends with .pub.pem."""
    openssl(folder, "genpkey", "-algorithm", "ed25519", "-out", f"{name}.pem")
    openssl(folder, "pkey", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub.pem")
    return folder / f"{name}.pem"


def raw_public(public: Path) -> str:
    """The last 32 bytes of its DER (RFC 8410), in hexadecimal."""
    command = ["openssl", "pkey", "-pubin", "-in", str(public), "-outform", "DER"]
    return subprocess.run(command, capture_output=True, check=True).stdout[-32:].hex()


def written(folder: Path, **others: Any) -> Path:
    """A folder as an export leaves it, with made-up files."""
    folder.mkdir()
    files = FILES | {"model.json": json.dumps({"scores": VERDICT | {"video": None}}).encode()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    evidence = Evidence(
        bench="0.1.0", date="2026-01-02T03:04:05+00:00", experiment="first", detector="mine", architecture="tiny",
        variant="q8", baseline="baseline", id="0" * 16, steps=("quantize: int8",),
        weights=NamedDigest("w.tar", "1" * 64), artifact=NamedDigest("model.onnx", "2" * 64),
        files={name: FileDigest(sha(data), len(data)) for name, data in files.items()},
        judged_on=(JudgedOn("", 32, 18, 14, "3" * 64, "4" * 64, {"q8": "5" * 64}, {"q8": "6" * 64}, VERDICT),),
        verdict_over_all=None, libraries="", machine="",
    )  # fmt: skip
    (folder / EVIDENCE).write_text(json.dumps(dataclasses.asdict(dataclasses.replace(evidence, **others))))
    return folder


def signed(folder: Path, private: Path, **others: Any) -> Path:
    """The same, signed by openssl."""
    written(folder, **others)
    done = openssl(
        folder, "pkeyutl", "-sign", "-inkey", str(private), "-rawin", "-in", EVIDENCE, "-out", SIGNATURE
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def findings(folder: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    """The exit code, and the outcome of each finding."""
    code, output = bench("verify", str(folder), "--json", *arguments)
    content = json.loads(output)
    assert code == any(finding["outcome"] in {"differs", "missing"} for finding in content["findings"])
    assert content["verified"] == (code == 0 and content["signed_by"] == "given key")
    return code, {finding["what"]: finding["outcome"] for finding in content["findings"]}


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def test_an_unsigned_export_is_compared_and_not_believed(tmp_path: Path) -> None:
    code, output = bench("verify", str(written(tmp_path / "out")))
    assert code == 0
    assert "verdict on 32 test frames: stable, AUC 0.9800\n" in output
    assert "evidence.json.sig  not checked: nobody signed it" in output
    assert "weights, artifact, frames, predictions, scores  not checked: not in this folder" in output
    assert output.splitlines()[-1].startswith("unchanged (5 checked), as far as an evidence.json without")


@needs_openssl
def test_bench_believes_what_openssl_signed(tmp_path: Path) -> None:
    private = keys(tmp_path)
    public = ("--key", str(private.with_suffix(".pub.pem")))
    folder = signed(tmp_path / "out", private)
    assert findings(folder)[1][SIGNATURE] == "not checked", "the evidence names no key"
    code, outcomes = findings(folder, *public)
    assert (code, outcomes[SIGNATURE]) == (0, "ok")
    assert bench("verify", str(folder), *public)[1].splitlines()[-1] == "verified (6 checked), signed by the key given"
    named = signed(tmp_path / "named", private, signed_by=raw_public(private.with_suffix(".pub.pem")))
    code, output = bench("verify", str(named))
    assert (code, output.splitlines()[-1]) == (
        0, "unchanged (6 checked), signed by a key that evidence.json names itself; whose it is, --key says"
    )  # fmt: skip


@needs_openssl
def test_no_program_takes_an_unsigned_folder_for_a_signed_one(tmp_path: Path) -> None:
    private = keys(tmp_path)
    public = ("--key", str(private.with_suffix(".pub.pem")))
    named = {"signed_by": raw_public(private.with_suffix(".pub.pem"))}

    def outcome(folder: Path, *arguments: str) -> tuple[int, object, object, object, object]:
        code, output = bench("verify", str(folder), "--json", *arguments)
        content = json.loads(output)
        return code, *(content[key] for key in ("verified", "unchanged", "signed", "signed_by"))

    unsigned = written(tmp_path / "unsigned")
    assert outcome(unsigned) == (0, False, True, False, None)
    assert outcome(unsigned, *public) == (1, False, True, False, None)
    folder = signed(tmp_path / "out", private, **named)
    assert outcome(folder) == (0, False, True, True, "named key"), "anybody may have signed it with a key of their own"
    assert outcome(folder, *public) == (0, True, True, True, "given key")
    (folder / "README.md").write_text("another")
    assert outcome(folder, *public) == (1, False, False, True, "given key")


def replace_by_link(folder: Path) -> None:
    (folder / "README.md").rename(folder.parent / "README.md")
    (folder / "README.md").symlink_to("../README.md")


TAMPERED: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "artifact": (edit("model.onnx", lambda data: data[::-1]), {"model.onnx"}),
    "snippet": (edit("predict.py", lambda data: data + b"import os\n"), {"predict.py"}),
    "verdict": (edit(EVIDENCE, lambda data: data.replace(b'"stable"', b'"improved"')),
                {SIGNATURE, "verdict, beside model.json"}),
    "numbers in model.json": (edit("model.json", lambda data: data.replace(b"0.98", b"0.99")),
                              {"model.json", "verdict, beside model.json"}),
    "artifact and its digest": (
        lambda folder: [edit("model.onnx", lambda data: b"other")(folder),
                        edit(EVIDENCE, lambda data: data.replace(sha(b"weights").encode(), sha(b"other").encode())
                             .replace(b'"size_bytes": 7', b'"size_bytes": 5'))(folder)], {SIGNATURE}),
    "a file that is gone": (lambda folder: (folder / "README.md").unlink(), {"README.md"}),
    "no signature": (lambda folder: (folder / SIGNATURE).unlink(), {SIGNATURE}),
    "half a signature": (edit(SIGNATURE, lambda data: data[:32]), {SIGNATURE}),
    "a link in place of a file": (replace_by_link, {"README.md"}),
    "a module beside predict.py": (lambda folder: (folder / "cv2.py").touch(), {"cv2.py"}),
    "a package beside predict.py": (lambda folder: (folder / "numpy").mkdir(), {"numpy"}),
    "a note beside them": (lambda folder: (folder / "note.txt").touch(), set()),
}  # fmt: skip


@needs_openssl
@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_is_named(what: str, tmp_path: Path) -> None:
    if "link" in what and os.name == "nt":
        pytest.skip("links need rights on Windows")
    private = keys(tmp_path)
    folder = signed(tmp_path / "out", private)
    change, expected = TAMPERED[what]
    change(folder)
    code, outcomes = findings(folder, "--key", str(private.with_suffix(".pub.pem")))
    assert {name for name, outcome in outcomes.items() if outcome in ("differs", "missing")} == expected
    assert code == bool(expected)


@needs_openssl
def test_a_single_file_is_checked_alone(tmp_path: Path) -> None:
    folder = written(tmp_path / "out")
    (folder / "predict.py").unlink()
    assert findings(folder / "model.onnx")[0] == 0
    assert findings(folder)[0] == 1
    (folder / "model.onnx").write_bytes(b"other")
    assert findings(folder / "model.onnx")[1]["model.onnx"] == "differs"


@pytest.mark.parametrize("name", [EVIDENCE, SIGNATURE])
def test_evidence_is_that_of_the_whole_folder(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "out")
    (folder / SIGNATURE).write_bytes(bytes(64))
    assert findings(folder / name)[0] == 0
    (folder / "numpy.py").touch()
    assert findings(folder / name)[1]["numpy.py"] == "differs"


@pytest.mark.parametrize("key", ["variant", "baseline"])
def test_variants_are_named_like_folders(key: str, tmp_path: Path) -> None:
    """By its name, predictions beside an experiment file are opened."""
    code, output = bench("verify", str(written(tmp_path / "out", **{key: "../../elsewhere"})))
    assert (code, f"damaged ({key}: " in output) == (2, True)


@needs_openssl
def test_a_signature_of_another_key_is_none(tmp_path: Path) -> None:
    private, other = keys(tmp_path), keys(tmp_path, "other")
    folder = signed(tmp_path / "out", private, signed_by=raw_public(private.with_suffix(".pub.pem")))
    code, output = bench("verify", str(folder), "--key", str(other.with_suffix(".pub.pem")))
    assert code == 1
    assert f"was made with another key, {raw_public(private.with_suffix('.pub.pem'))}" in output


@needs_openssl
def test_a_named_key_without_a_signature_is_missed(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", signed_by="ab" * 32)
    assert findings(folder)[1][SIGNATURE] == "missing"


@needs_openssl
@pytest.mark.parametrize("digits", ["00" * 32, "ff" * 32, "ab" * 32])
def test_a_named_key_that_is_none_signed_nothing(digits: str, tmp_path: Path) -> None:
    folder = signed(tmp_path / "out", keys(tmp_path), signed_by=digits)
    assert findings(folder)[1][SIGNATURE] == "differs"


@needs_openssl
def test_files_are_compared_without_cryptography_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = keys(tmp_path)
    folder = signed(tmp_path / "out", private, signed_by=raw_public(private.with_suffix(".pub.pem")))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    code, output = bench("verify", str(folder))
    assert code == 0
    assert "evidence.json.sig  not checked: a signature: needs cryptography" in output
    assert output.splitlines()[-1].startswith("unchanged (5 checked), as far as")
    code, output = bench("verify", str(folder), "--key", str(private.with_suffix(".pub.pem")))
    assert (code, "--key: needs cryptography" in output) == (2, True)


@needs_openssl
def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    private, folder = keys(tmp_path), written(tmp_path / "out")
    openssl(tmp_path, "genpkey", "-algorithm", "rsa", "-out", "rsa.pem")
    openssl(tmp_path, "pkey", "-in", "rsa.pem", "-pubout", "-out", "rsa.pub.pem")
    (tmp_path / "none.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    for file, message in (
        ("rsa.pub.pem", "rsa.pub.pem is a key of another kind (RSA); expected Ed25519"),
        (private.name, "key.pem is a private key, which is to leave its owner never"),
        ("none.pem", "none.pem is no key in PEM, or damaged"),
        ("absent.pem", "absent.pem: no such file"),
        ("out", "cannot be read (it is a folder)"),
    ):
        code, output = bench("verify", str(folder), "--key", str(tmp_path / file))
        assert (code, message in output) == (2, True), output


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "C:\\x", "..", ".hidden"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "out")
    content = json.loads((folder / EVIDENCE).read_text())
    content["files"][name] = content["files"]["model.onnx"]
    (folder / EVIDENCE).write_text(json.dumps(content))
    code, output = bench("verify", str(folder))
    assert code == 2
    assert "which is no name in its folder" in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b"{}", "damaged (bench: is missing)"),
        (b"\xff", "damaged"),
        (b'{"files": [], "a\\n::error::b": 1}', "damaged"),
    ],
)
def test_damaged_evidence_is_one_message(content: bytes, message: str, tmp_path: Path) -> None:
    (written(tmp_path / "out") / EVIDENCE).write_bytes(content)
    code, output = bench("verify", str(tmp_path / "out"))
    assert code == 2
    assert message in output
    assert "\n::" not in output


def test_evidence_that_says_a_thing_twice_is_damaged(tmp_path: Path) -> None:
    """People and other tools may read the first verdict, and bench the last."""
    path = written(tmp_path / "out") / EVIDENCE
    path.write_text(path.read_text().replace('"verdict": "stable"', '"verdict": "stable", "verdict": "degraded"'))
    code, output = bench("verify", str(tmp_path / "out"))
    assert (code, "damaged (a key stands in it twice)" in output) == (2, True)


def test_without_evidence_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    for target in (tmp_path, tmp_path / "model.onnx"):
        code, output = bench("verify", str(target))
        assert (code, "so there is nothing to compare with" in output) == (2, True)
    code, output = bench("verify", str(tmp_path / "absent"))
    assert (code, "no such file or folder" in output) == (2, True)
    folder = written(tmp_path / "out")
    (folder / "other.onnx").touch()
    code, output = bench("verify", str(folder / "other.onnx"))
    assert (code, "knows no such file" in output) == (2, True)
