"""The format of a weights file, from its first bytes and its table of contents: cheap, without torch.

Nothing is unpickled and no tensor is read here; `checkpoint` does that, safely, with what passes.
"""

from __future__ import annotations

import codecs
import zipfile
from pathlib import Path

from bench.detectors.weights import safetensors_header
from bench.errors import UserError, listed, nearest, quoted, shown
from bench.stored import DamagedError, open_file

# Weights hardly compress: whatever unpacks to more than this many times its size is no checkpoint.
_MOST_UNPACKED, _SMALL_BYTES = 4, 2**20
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_EXPECTED = "expected what torch.save or safetensors wrote: a .tar, .pth, .pt or .safetensors file"
_ENDINGS = (".tar", ".pth", ".pt", ".ckpt", ".bin", ".safetensors")
_PAGE = "it is a web page, probably saved instead of the download"
_PACKED = "compressed; unpack it and name the file inside"
_STRANGERS = (
    (b"version https://git-lfs", "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"<!doctype", _PAGE),
    (b"<html", _PAGE),
    (b"<!--", _PAGE),
    (b"<?xml", "it is XML, probably a server's answer saved instead of the download"),
    (b"\x1f\x8b", f"it is gzip-{_PACKED}"),
    (b"bzh", f"it is bzip2-{_PACKED}"),
    (b"\xfd7zxz", f"it is xz-{_PACKED}"),
    (b"\x28\xb5\x2f\xfd", f"it is zstd-{_PACKED}"),
    (b"7z\xbc\xaf", "it is a 7z archive; unpack it and name the file inside"),
    (b"rar!", "it is a RAR archive; unpack it and name the file inside"),
    (b"\x89hdf", "it is an HDF5 (Keras) file"),
    (b"gguf", "it is a GGUF file"),
    (b"\x93numpy", "it is a NumPy array"),
    (b"\x08\x01\x12", "it is a graph of TensorFlow (SavedModel); export it to ONNX and write `architecture: onnx`"),
)
_MOST_QUOTED = 60


def check(path: Path) -> None:
    """Raise `UserError` where `path` cannot be a checkpoint: missing, damaged, dangerous or something else."""
    head, size = head_of(path, "weights file", _EXPECTED, _ENDINGS)
    if head.startswith(_ZIP):
        _check_zip(path, size)
    elif is_safetensors(path):
        _check_safetensors(path, size)
    elif not head.startswith(_PICKLE):
        raise UserError(f"{path}: not a PyTorch checkpoint{other_format(head)}; {_EXPECTED}")


def head_of(path: Path, what: str, expected: str, endings: tuple[str, ...]) -> tuple[bytes, int]:
    """The first bytes of a file and its size. Raises `UserError` where there are none, which says what is expected.

    Of a folder it names the files in it with these endings.
    """
    try:
        if not path.exists():
            siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UserError(f"{path}: no such {what}{nearest(path.name, siblings)}; {expected}")
        if not path.is_file():
            raise UserError(
                f"{path}: is {f'a folder{_inside(path, endings)}' if path.is_dir() else 'no file'}; {expected}"
            )
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {expected}") from error
    if not head:
        raise UserError(f"{path}: is an empty file; {expected}")
    return head, size


def _inside(folder: Path, endings: tuple[str, ...]) -> str:
    """What to name instead of a folder."""
    files = sorted(child.name for child in folder.iterdir() if child.name.endswith(endings))
    return f"; name the file inside: {listed(files, 3)}" if files else ""


def other_format(head: bytes) -> str:
    """A reason to append to a message: the format that the file has instead; "" where it is not recognised."""
    start = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if reason := next((reason for sign, reason in _STRANGERS if start.startswith(sign)), ""):
        return f": {reason}"
    if head[4:8] == b"TFL3":
        return ": it is a TensorFlow Lite file"
    if head[257:262] == b"ustar":
        return ": it is a tar archive of several files; unpack it and name the checkpoint inside"
    # An ONNX file begins with its version (field 1, a small number) and its producer or its graph.
    if head[0] == 0x08 and head[2:3] in (b"\x12", b"\x1a", b"\x3a", b"\x42"):
        return (
            ": it is an ONNX file, already exported; name the checkpoint that it was exported from, or write "
            "`architecture: onnx`"
        )
    return _text(head)


def _text(head: bytes) -> str:
    """That a file is text, with its beginning, which often says what happened: an answer of a server, a list."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head).strip()
    except UnicodeDecodeError:
        return ""
    if not text or not all(letter.isprintable() or letter.isspace() for letter in text):
        return ""
    return f": it is text that begins with {quoted(' '.join(text.split())[:_MOST_QUOTED])}"


def _check_zip(path: Path, size: int) -> None:
    """`UserError` unless the archive is whole, unpacks to a credible size and is a PyTorch checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # of a damaged table of contents: BadZipFile, struct.error, UnicodeDecodeError, ...
        raise UserError(
            f"{path}: is damaged, it may be truncated ({shown(str(error))}); copy or download it again"
        ) from error
    unpacked = sum(member.file_size for member in members)
    if unpacked > _MOST_UNPACKED * size + _SMALL_BYTES:
        raise UserError(
            f"{path}: refused, because its {size:,} bytes unpack to {unpacked:,}; a checkpoint hardly compresses"
        )
    names = {member.filename.rpartition("/")[2] for member in members}
    packed = [member.filename for member in members if member.filename.endswith(_ENDINGS)]
    if "constants.pkl" in names:
        raise UserError(
            f"{path}: is a TorchScript archive, which holds code; save the state dict: "
            "torch.save(model.state_dict(), ...)"
        )
    if "archive_format" in names:
        raise UserError(
            f"{path}: is a graph that torch.export saved, not the weights alone; save the state dict: "
            "torch.save(model.state_dict(), ...)"
        )
    if "data.pkl" not in names and any(name.endswith(".npy") for name in names):
        raise UserError(
            f"{path}: is an archive of NumPy arrays; save them as tensors: "
            "torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, ...)"
        )
    if "data.pkl" not in names and packed:
        raise UserError(f"{path}: is a zip archive of files; unpack it and name the one inside: {listed(packed, 3)}")
    if "data.pkl" not in names:
        raise UserError(f"{path}: is a zip archive, but no PyTorch checkpoint; {_EXPECTED}")


def is_safetensors(path: Path) -> bool:
    """Whether a file that passed `check` is of safetensors' format: the length of a JSON header comes first."""
    with path.open("rb") as file:
        head = file.read(9)
    return not head.startswith(_ZIP) and (path.suffix == ".safetensors" or head[8:9] == b"{")


def _check_safetensors(path: Path, size: int) -> None:
    """`UserError` unless tensors fill the file without gaps: a file that lost its end does not match its header."""
    try:
        with open_file(path) as file:
            header = safetensors_header.read(file)
    except DamagedError as error:
        raise UserError(
            f"{path}: is no safetensors file, or damaged: its header cannot be read ({error}); copy or download it "
            f"again; {_EXPECTED}"
        ) from error
    tensors = sorted((tensor.begin, tensor.end, name) for name, tensor in header.tensors.items())
    if not tensors:
        raise UserError(f"{path}: holds no tensors; {_EXPECTED}")
    promised = max(end for _, end, _ in tensors)
    if promised != size:
        raise UserError(
            f"{path}: has {size:,} bytes where its header promises {promised:,}: it is truncated or damaged; "
            "copy or download it again"
        )
    ends = [header.size_bytes, *(end for _, end, _ in tensors)]
    for last, (begin, _, name) in zip(ends, tensors, strict=False):
        if begin != last:
            raise UserError(f"{path}: is damaged: {shown(name)} does not begin where the tensor before it ends")
