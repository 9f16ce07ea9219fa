"""A network compiled by AOTInductor: kept beside its artifact under a seal, and loaded from a private copy."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import seals, stored
from bench.files import remove, sweep, write_atomically, write_text
from bench.runtimes.inductor import requirements

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector


def load(
    artifact: Path, key: str, inputs: Tensor, make: Callable[[Path], None]
) -> Callable[[list[Tensor]], list[Tensor]]:
    """The compiled backbone that belongs to an artifact under a key; `make` writes its package where there is none.

    It has computed `inputs` once: on CUDA, kernels are read from their files only then, and these are removed here.

    A package is native code, and folders come from strangers: only what this user's secret sealed is loaded.
    Foreign, forged and damaged ones are made again. Checked and loaded are the same bytes: they are copied into a
    folder that nobody else can write to, the seal is computed while copying, and the copy is what is loaded.
    """
    package = artifact.with_name(f"{artifact.stem}.inductor-{key}.pt2")
    seal = package.with_suffix(".seal")
    secret = seals.secret()
    with _private_folder() as folder:
        copy = folder / "model.pt2"
        if not _copied(package, copy, seal, secret, key):
            copy.unlink(missing_ok=True)
            make(copy)
            _keep(copy, package, seal, seals.seal(copy, secret, key))
        run = opened(copy)
        run([inputs])
        return run


def _copied(package: Path, copy: Path, seal: Path, secret: bytes, key: str) -> bool:
    """Copy a package, and tell whether the copy is what was sealed."""
    try:
        expected = stored.read_text(seal, 1_000).strip()
        with stored.open_file(package, links=False) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except (OSError, ValueError):
        return False
    return seals.equal(seals.seal(copy, secret, key), expected)


def _keep(copy: Path, package: Path, seal: Path, sealed: str) -> None:
    def write(target: Any) -> None:
        with copy.open("rb") as source:
            shutil.copyfileobj(source, target, 2**20)

    write_atomically(package, write)
    write_text(seal, sealed + "\n")
    sweep(package.parent)


def opened(copy: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    """The package's own loader, which unpacks it into a folder of its own below that of temporary files.

    `torch._inductor.aoti_load_package` is this loader with a comparison of machines before it, for which it starts
    the C++ compiler; the key says what machine it is for. Single-threaded: we run one batch at a time, and without
    that CUDA graphs cannot record it.
    """
    import torch

    aoti: Any = torch._C._aoti
    with _environment({"TMPDIR": str(copy.parent)}):
        loader = aoti.AOTIModelPackageLoader(str(copy), "model", True, 1, -1)
    run: Callable[[list[Tensor]], list[Tensor]] = loader.boxed_run
    return run


def compile_to(file: Path, detector: Detector, inputs: Tensor, config: Mapping[str, Any]) -> None:
    """Compile what turns preprocessed frames into features, for any number of them, into the package `file`.

    `inputs` are two on the device: a batch of one would be taken for a constant.
    """
    import torch

    from bench.artifacts import tracing

    body = detector.feature_network().to(inputs.device).eval()
    with torch.no_grad(), tracing.quiet():
        with tracing.uninterrupted():
            program = torch.export.export(body, (inputs,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        on_cuda = inputs.device.type == "cuda"
        with _compiling(on_cuda):
            settings = dict(config) if on_cuda else {**config, "compile_threads": 1}
            torch._inductor.aoti_compile_and_package(program, package_path=str(file), inductor_configs=settings)


@contextmanager
def _compiling(on_cuda: bool) -> Iterator[None]:
    """Inductor's and Triton's caches in a folder of their own that goes with it, and the CUDA toolkit that there is.

    Left to itself inductor keeps them in a folder with a well-known name where everybody may write.
    """
    from torch.utils import cpp_extension

    extension: Any = cpp_extension
    toolkit = requirements.toolkit() if on_cuda else None
    before = extension.CUDA_HOME
    with _private_folder() as folder:
        variables = {"TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
        if toolkit:
            # It is read when that module is imported, which may be long ago.
            variables["CUDA_HOME"] = extension.CUDA_HOME = str(toolkit)
        if on_cuda and (driver := requirements.driver_library()):
            # The linker asks for libcuda.so; containers often have libcuda.so.1 alone.
            (folder / "driver").mkdir()
            (folder / "driver" / "libcuda.so").symlink_to(driver)
            paths = [str(folder / "driver"), os.environ.get("LIBRARY_PATH", "")]
            variables["LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
        try:
            with _environment(variables):
                try:
                    yield
                finally:
                    _end_workers()
        finally:
            extension.CUDA_HOME = before


def _end_workers() -> None:
    """Processes that inductor started to compile with would wait for more until this one ends."""
    from torch._inductor import async_compile

    async_compile.shutdown_compile_workers()


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A temporary folder for this user alone. Who has loaded a library from it no longer needs the file.

    Windows does not let it go while it is loaded: there it stays until somebody empties the temporary folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-inductor-"))
    try:
        yield folder
    finally:
        remove(folder)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
