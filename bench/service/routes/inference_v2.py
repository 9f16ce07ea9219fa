"""The Open Inference Protocol, version 2, over HTTP, as Triton and KServe speak it, with its binary extension."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Any, NotRequired

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from typing_extensions import TypedDict

from bench import stored
from bench.errors import quoted
from bench.inference.served import Joined, Served
from bench.provenance import version
from bench.records.ensembles import log_odds
from bench.results.score import p_fake
from bench.service import state
from bench.service.batching import Answer
from bench.service.engine import gathered, joined
from bench.service.gate import CLIENT, header_length
from bench.service.refusals import RefusedError
from bench.service.state import Predicted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
_HEADER_LENGTH = "Inference-Header-Content-Length"
_INPUT, _MOST_FRAMES = "frames", 256
_DATATYPES = {"logits": "FP32", "p_fake": "FP32", "cam": "FP32"}


@router.get("")
async def server() -> dict[str, Any]:
    """Say who answers."""
    return {"name": "bench", "version": version("bench"), "extensions": ["binary_tensor_data"]}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request) -> JSONResponse:
    """Say whether frames can be judged."""
    service = state.of(request)
    works = service.engine.works and not service.admission.ending
    return JSONResponse({"ready": works}, 200 if works else 503)


@router.get("/models/{name:path}/ready")
async def model_ready(request: Request, name: str) -> JSONResponse:
    """Say whether a variant can judge frames."""
    service, served = state.of(request), _served(request, name)
    works = service.engine.can_answer(served) and not service.admission.ending
    return JSONResponse({"name": served.name, "ready": works}, 200 if works else 503)


@router.post("/models/{name:path}/infer")
async def infer(request: Request, name: str) -> Response:
    """Judge frames at the network's size: UINT8 [n, 3, h, w]."""
    begin = perf_counter()
    import numpy as np

    service, served = state.of(request), _served(request, name)
    body = await request.body()
    asked = await service.engine.prepared(lambda: _read(body, request.headers.get(_HEADER_LENGTH), _size(served)))
    count = len(asked.frames)
    service.rates.take(request.scope[CLIENT], count - 1, of=count)  # the request counted as one
    batchers = [service.engine.batcher(member) for member in served.members]
    futures = [[batcher.submit(frame) for batcher in batchers] for frame in asked.frames]
    answers = [await gathered(of_frame) for of_frame in futures]
    together, differences = joined(served, answers)
    of_members = p_fake(np.zeros_like(differences), differences)
    seconds = (perf_counter() - begin) / len(answers)
    for row, (score, agree) in enumerate(zip(together.p_fake.tolist(), together.agree.tolist(), strict=True)):
        by_member = dict(zip(served.names, of_members[:, row].tolist(), strict=True))
        answered = {member: each for member, each in by_member.items() if math.isfinite(each)}
        service.predicted(Predicted("tensor", served, score, answered, seconds, agree=agree))
    return _answer(served, asked, _outputs(served, answers, together, of_members))


@router.get("/models/{name:path}")
async def model(request: Request, name: str) -> dict[str, Any]:
    """Say what a variant takes and gives."""
    served = _served(request, name)
    size = _size(served)
    shapes = {"logits": [-1, 2], "p_fake": [-1], **({"cam": [-1, -1, -1]} if served.has_map else {})}
    return {
        "name": served.name,
        "versions": ["1"],
        "platform": f"bench_{served.members[0].judge.runtime}",
        "inputs": [{"name": _INPUT, "datatype": "UINT8", "shape": [-1, 3, size, size]}],
        "outputs": [{"name": key, "datatype": _DATATYPES[key], "shape": shape} for key, shape in shapes.items()],
    }


class _Tensor(TypedDict):
    """An input or an output as a request names it."""

    name: str
    shape: NotRequired[list[int]]
    datatype: NotRequired[str]
    data: NotRequired[Any]
    parameters: NotRequired[dict[str, Any] | None]


class _Request(TypedDict):
    """The JSON of a request."""

    id: NotRequired[str | None]
    inputs: list[_Tensor]
    outputs: NotRequired[list[_Tensor] | None]
    parameters: NotRequired[dict[str, Any] | None]


@dataclass(frozen=True)
class _Asked:
    """Frames [n, 3, h, w], the names of the outputs, and those of them that are sent as bytes; None where all are."""

    id: str | None
    frames: NDArray[np.uint8]
    outputs: tuple[str, ...]
    binary: frozenset[str] | None


def _served(request: Request, name: str) -> Served:
    served = state.of(request).engine.served
    model_name = name.removesuffix("/versions/1")
    if model_name not in served:
        raise RefusedError(404, f"model {quoted(name)} is not served here; these are: {', '.join(served)}")
    return served[model_name]


def _size(served: Served) -> int:
    """The side of the frames that all members take."""
    sizes = {member.preprocessing.size for member in served.members}
    if len(sizes) > 1:
        raise RefusedError(
            422, f"the members of {served.name} take frames of different sizes ({', '.join(map(str, sorted(sizes)))}); "
            "send pictures to /api/detect/image",
        )  # fmt: skip
    return sizes.pop()


def _read(body: bytes, length: str | None, size: int) -> _Asked:
    """What a request asks. Raises `RefusedError` where it is not as the protocol says."""
    end = len(body) if length is None else header_length(length)
    if end is None or end > len(body):
        raise RefusedError(400, f"{_HEADER_LENGTH}: expected the length of the JSON, found {quoted(length)}")
    try:
        content = json.loads(body[:end])
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "the request's JSON can't be read") from error
    try:
        given = stored.typed(_Request, content)
    except stored.DamagedError as error:
        raise RefusedError(400, f"the request: {error}") from error
    if [each["name"] for each in given["inputs"]] != [_INPUT]:
        raise RefusedError(400, f"inputs: expected one, {_INPUT}")
    outputs = given.get("outputs") or [{"name": name} for name in _DATATYPES]
    names = tuple(each["name"] for each in outputs)
    if unknown := [name for name in names if name not in _DATATYPES]:
        raise RefusedError(400, f"outputs: {quoted(unknown[0])} is none; expected {', '.join(_DATATYPES)}")
    if len(set(names)) < len(names):
        raise RefusedError(400, f"outputs: expected each once, found {', '.join(names[:8])}")
    everything = (given.get("parameters") or {}).get("binary_data_output") is True
    binary = frozenset(each["name"] for each in outputs if (each.get("parameters") or {}).get("binary_data") is True)
    frames = _frames(given["inputs"][0], body[end:], size)
    return _Asked(given.get("id"), frames, names, None if everything else binary)


def _frames(given: Mapping[str, Any], rest: bytes, size: int) -> NDArray[np.uint8]:
    """The tensor, in JSON or in the bytes behind it."""
    import numpy as np

    shape, datatype = given.get("shape", []), given.get("datatype", "nothing")
    if datatype != "UINT8" or len(shape) != 4 or shape[1:] != [3, size, size]:
        raise RefusedError(
            400, f"{_INPUT}: expected UINT8 [n, 3, {size}, {size}], found {quoted(datatype)} {shape[:8]}"
        )
    if not 1 <= shape[0] <= _MOST_FRAMES:
        raise RefusedError(400, f"{_INPUT}: expected 1 to {_MOST_FRAMES} frames, found {shape[0]}")
    count = int(np.prod(shape))
    if (length := (given.get("parameters") or {}).get("binary_data_size")) is not None:
        if length != count or len(rest) != count:
            raise RefusedError(400, f"{_INPUT}: expected {count:,} bytes, found {len(rest):,}")
        return np.frombuffer(rest, np.uint8).reshape(shape)
    numbers = given.get("data")
    while isinstance(numbers, list) and numbers and all(isinstance(part, list) for part in numbers):
        numbers = list(chain.from_iterable(numbers))
    # Types are looked at before NumPy: a text among them would make all as wide as itself.
    if not isinstance(numbers, list) or len(numbers) != count or set(map(type, numbers)) != {int}:
        raise RefusedError(400, f"{_INPUT}: data: expected {count:,} whole numbers")
    if min(numbers) < 0 or max(numbers) > 255:
        raise RefusedError(400, f"{_INPUT}: data: expected numbers from 0 to 255")
    return np.array(numbers, np.uint8).reshape(shape)


def _outputs(
    served: Served, answers: Sequence[Sequence[Answer | Exception]], together: Joined, of_members: NDArray[np.floating]
) -> dict[str, NDArray[np.float32]]:
    """The tensors of an answer, by name. The logits of an ensemble are the log-odds of its P(fake)."""
    import numpy as np

    tensors: dict[str, NDArray[Any]] = {"p_fake": together.p_fake}
    if served.is_ensemble:
        odds = log_odds(together.p_fake)
        tensors["logits"] = np.stack([np.zeros_like(odds), odds], -1)
    else:
        tensors["logits"] = np.stack([answer.logits for (answer,) in answers if isinstance(answer, Answer)])
    cams = [[answer.cam if isinstance(answer, Answer) else None for answer in of_frame] for of_frame in answers]
    maps = [served.joint_map(of_frame, of_members[:, row].tolist()) for row, of_frame in enumerate(cams)]
    if all(each is not None for each in maps):
        tensors["cam"] = np.stack([np.asarray(each) for each in maps])
    return {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}


def _answer(served: Served, asked: _Asked, tensors: Mapping[str, NDArray[np.float32]]) -> Response:
    """The tensors that were asked for, as JSON or as bytes behind it."""
    outputs, blobs = [], []
    for name in (name for name in asked.outputs if name in tensors):
        tensor = tensors[name]
        entry: dict[str, Any] = {"name": name, "datatype": _DATATYPES[name], "shape": list(tensor.shape)}
        if asked.binary is None or name in asked.binary:
            blobs.append(tensor.tobytes())
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = tensor.ravel().tolist()
        outputs.append(entry)
    parameters = {"artifact_digest": state.artifact(served).digest, "shipped_with": served.verdict}
    content = {"model_name": served.name, "model_version": "1", "parameters": parameters, "outputs": outputs}
    if asked.id is not None:
        content["id"] = asked.id
    if not blobs:
        return JSONResponse(content)
    head = json.dumps(content).encode()
    return Response(
        head + b"".join(blobs), media_type="application/octet-stream", headers={_HEADER_LENGTH: str(len(head))}
    )
