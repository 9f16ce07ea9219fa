"""PyTorch's runtime: folded batch norms, CUDA graphs and overlapping copies; on a stand-in for the device here."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from bench.detectors.detector import Detector
from bench.detectors.families import efficientnet
from bench.detectors.heads.gap_linear import GapLinear
from bench.errors import UserError
from bench.records import Built, Executed, Prediction, Preprocessing
from bench.runtimes import onnxruntime, pytorch
from bench.runtimes.pytorch import graphs
from bench.runtimes.pytorch.batch_norms import fold
from bench.runtimes.pytorch.device import SLOTS, Session
from bench.runtimes.pytorch.graphs import Graph, Graphs
from bench.runtimes.pytorch.network import Network, float32
from tests.conftest import Build
from tests.support.predictions import logits_and_cam

EXECUTED = Executed("pytorch", "cuda", "a stand-in", ("torch.cuda",), "fp32", "fp32")


def frames(count: int, size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def test_another_thread_computes_with_the_threads_that_were_asked_for() -> None:
    """PyTorch counts them for each thread that calls it."""
    executed = replace(EXECUTED, device="cpu", threads=1)
    session = pytorch.HostSession(lambda batch: Prediction(batch.float().mean((2, 3))[:, :2], None), executed)
    counts: list[int] = []

    def elsewhere() -> None:
        torch.set_num_threads(3)
        session.predict(frames(2))
        counts.append(torch.get_num_threads())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert counts == [1]


# ------------------------------------------------------------------------------------ folding
def detector(architecture: str = "efficientnet_b0", flavour: str = "static", size: int = 64) -> Detector:
    torch.manual_seed(0)
    made = efficientnet.build(architecture, flavour, Preprocessing(size=size))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return made


@pytest.mark.parametrize(
    ("architecture", "flavour"),
    [("efficientnet_b0", "static"), ("efficientnet_b0", "timm"), ("tf_efficientnet_b0", "tf")],
)
def test_folding_all_batch_norms_changes_nothing_but_rounding(architecture: str, flavour: str) -> None:
    original = detector(architecture, flavour)
    folded = copy.deepcopy(original)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in original.modules())
    assert fold(folded) == norms
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        expected, _ = original(torch.from_numpy(frames(3, 64)))
        logits, cam = folded(torch.from_numpy(frames(3, 64)))
    assert float(expected.std()) > 0.01, "what is compared must depend on the frame"
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cam.mean((1, 2)) + folded.margin_bias, logits[:, 1] - logits[:, 0], atol=1e-4, rtol=1e-4)


class Odd(nn.Module):
    """Convolutions whose batch norms must stay, and one whose batch norm may go."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.used_twice, self.first, self.second = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.plain, self.unknown = nn.Conv2d(4, 4, 1), Scaled(4)
        self.last, self.folded = nn.Conv2d(4, 4, 3, padding=1), BatchNormAct2d(4, act_layer=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        raw = self.read_twice(x)
        x = self.norm(raw) + raw
        x = self.second(self.used_twice(self.first(self.used_twice(x))))
        folded: Tensor = self.folded(self.last(self.unknown(self.plain(x))))
        return folded


class Scaled(nn.BatchNorm2d):
    """A batch norm that does something else besides."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_a_batch_norm_stays_where_folding_would_change_the_function() -> None:
    torch.manual_seed(0)
    made = Detector("odd", "", Preprocessing(size=16), Odd(), GapLinear(4)).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
    before = made(torch.from_numpy(frames(2, 16)))
    assert fold(made) == 1
    assert isinstance(made.backbone.folded, nn.SiLU)
    assert all(
        isinstance(made.backbone.get_submodule(name), nn.BatchNorm2d) for name in ("norm", "first", "second", "unknown")
    )
    torch.testing.assert_close(made(torch.from_numpy(frames(2, 16))), before, atol=1e-5, rtol=1e-5)


def test_half_weights_are_folded_in_more_digits_and_rounded_once() -> None:
    half = detector().half()
    stem: Any = half.backbone.conv_stem
    weight = stem.weight.double()
    norm: Any = half.backbone.bn1
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    fold(half)
    torch.testing.assert_close(stem.weight, (weight * scale.reshape(-1, 1, 1, 1)).half(), atol=0, rtol=0)


def test_precision_is_set_for_a_while_and_nothing_else() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, torch.get_float32_matmul_precision()
    for tf32 in (True, False):
        with float32(tf32=tf32):
            assert cudnn.allow_tf32 is tf32
            assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    assert before == (cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, torch.get_float32_matmul_precision())


# ------------------------------------------------------------------------------------ graphs
class Capture:
    """Stands in for CUDA: a graph computes what its function did, from and into the same memory."""

    def __init__(self, *errors: str) -> None:
        self.errors, self.captured, self.settled, self.released = list(errors), list[int](), 0, 0
        self.users = set[Graphs]()

    def __call__(self, function: Callable[[Tensor], Prediction[Tensor]], example: Tensor) -> Graph:
        if self.errors and (error := self.errors.pop(0)):
            raise RuntimeError(error)
        self.captured.append(len(example))
        held = example.clone()
        prediction = function(held).map(torch.clone)

        def replay() -> None:
            for part, new in zip(prediction, function(held), strict=True):
                if part is not None and new is not None:
                    part.copy_(new)

        return Graph(held, prediction, replay)

    def settle(self) -> None:
        self.settled += 1

    def release(self) -> None:
        self.released += 1


def doubled(given: Tensor) -> Prediction[Tensor]:
    value = given[:, 0, 0, 0].float()
    return Prediction(torch.stack([-value, value], dim=1), value.reshape(-1, 1, 1))


def batch(count: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(frames(count, 4, seed))


def test_a_size_is_captured_once_and_answers_for_what_it_is_given() -> None:
    capture = Capture()
    captured = Graphs(doubled, capture)
    for seed in range(4):
        given = batch(3, seed)
        torch.testing.assert_close(captured.run(given, exact=True), doubled(given))
    assert capture.captured == [3]
    assert captured.mode == graphs.MODE


def test_a_larger_graph_that_is_there_will_do_for_fewer_frames() -> None:
    capture = Capture()
    captured = Graphs(doubled, capture)
    captured.run(batch(7), exact=False)
    for count in (3, 7, 1):
        torch.testing.assert_close(captured.run(batch(count, count), exact=False), doubled(batch(count, count)))
    assert capture.captured == [7]
    captured.run(batch(3), exact=True)
    captured.run(batch(9), exact=False)
    assert capture.captured == [7, 3, 9], "what is timed has its own size, and a small graph takes no large batch"


def test_the_least_recently_used_sizes_are_given_up() -> None:
    capture = Capture()
    captured = Graphs(doubled, capture)
    sizes = list(range(1, graphs.MOST_GRAPHS + 1))
    for size in [*sizes, 1, 100, 1, 2]:
        captured.run(batch(size), exact=True)
    assert capture.captured == [*sizes, 100, 2], "1 was used again before 100 came, 2 was not"
    assert capture.settled == 2, "nothing is given up that may still run"


@pytest.mark.parametrize("error", ["CUDA out of memory. Tried to allocate 2.00 GiB", "operation not permitted\nmore"])
def test_what_cannot_be_captured_runs_eagerly_and_says_so(error: str) -> None:
    capture = Capture("", error, error)
    captured = Graphs(doubled, capture)
    captured.run(batch(1), exact=True)
    torch.testing.assert_close(captured.run(batch(8), exact=True), doubled(batch(8)))
    torch.testing.assert_close(captured.run(batch(8, 1), exact=True), doubled(batch(8, 1)))
    reason = error.splitlines()[0]
    # Where memory was missing, all graphs are given up before the second try.
    alone = "out of memory" in error
    assert captured.mode == (f"no CUDA graphs ({reason})" if alone else f"CUDA graphs, none at batch 8 ({reason})")
    captured.run(batch(1), exact=True)
    assert captured.mode == f"CUDA graphs, none at batch 8 ({reason})"


def test_memory_that_other_graphs_hold_is_given_up_for_a_new_one() -> None:
    capture = Capture("", "out of memory")
    captured = Graphs(doubled, capture)
    captured.run(batch(1), exact=True)
    captured.run(batch(2), exact=True)
    assert capture.captured == [1, 2]
    assert capture.released == 1
    assert captured.mode == graphs.MODE


def test_a_batch_that_does_not_fit_is_no_matter_of_its_graph() -> None:
    def too_large(given: Tensor) -> Prediction[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    capture = Capture()
    captured = Graphs(too_large, capture)
    with pytest.raises(torch.OutOfMemoryError):
        captured.run(batch(4), exact=True)
    assert captured.mode == graphs.MODE


# ------------------------------------------------------------------------------------ the session
class Now:
    """An event of a device that is never behind."""

    def __init__(self) -> None:
        self.records = 0

    def record(self) -> None:
        self.records += 1

    def synchronize(self) -> None:
        assert self.records, "waited for what was never begun"

    def elapsed_time(self, end_event: Any) -> float:
        return 1.5


class Immediate:
    """A device that does everything at once, on the host."""

    name, pinned = "cpu", False

    def __init__(self, *errors: str) -> None:
        self.capture = Capture(*errors)

    def copying(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def computing(self, after: Any) -> AbstractContextManager[Any]:
        assert after.records
        return nullcontext()

    def event(self, *, blocking: bool = False) -> Now:
        return Now()


def session(function: Any = doubled, *, on: Immediate | None = None, **further: Any) -> Session:
    return Session(function, 4, EXECUTED, on or Immediate(), **further)


def test_a_session_on_a_device_answers_as_one_on_the_host(common: Build) -> None:
    built = common()
    host = pytorch.load(built, "cpu", 1)
    on_device = Session(host._network, 32, EXECUTED, Immediate())
    for count in (5, 1, 5, 9, 2):
        given = frames(count, seed=count)
        expected = logits_and_cam(host.predict(given))
        prediction, milliseconds = on_device.predict_timed(given)
        logits, cam = logits_and_cam(prediction)
        np.testing.assert_allclose(logits, expected[0], atol=1e-6)
        np.testing.assert_allclose(cam, expected[1], atol=1e-6)
        assert milliseconds == 1.5
    assert on_device.executed.mode == graphs.MODE


def test_two_calls_may_be_under_way_and_each_keeps_its_own_answer() -> None:
    on_device = session()
    given = [frames(3, 4, seed) for seed in range(5)]
    waiting, answers = [], []
    for frame_batch in given:
        waiting.append(on_device.submit(frame_batch))
        if len(waiting) == SLOTS:
            answers.append(waiting.pop(0)())
    answers += [answer() for answer in waiting]
    for (logits, cam), frame_batch in zip(answers, given, strict=True):
        expected = doubled(torch.from_numpy(frame_batch))
        np.testing.assert_array_equal(logits, expected[0])
        np.testing.assert_array_equal(cam, expected[1])


def test_a_third_call_is_refused_until_an_answer_was_asked_for() -> None:
    on_device = session()
    oldest, _ = on_device.submit(frames(2, 4)), on_device.submit(frames(2, 4, 1))
    with pytest.raises(RuntimeError, match="ask for the oldest answer first"):
        on_device.submit(frames(2, 4, 2))
    oldest()
    np.testing.assert_array_equal(on_device.submit(frames(2, 4, 2))()[0], doubled(torch.from_numpy(frames(2, 4, 2)))[0])


def test_memory_that_runs_out_is_a_memory_error_and_the_next_call_works() -> None:
    def small(given: Tensor) -> Prediction[Tensor]:
        if len(given) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return doubled(given)

    device = Immediate()
    on_device = session(small, on=device)
    on_device.predict(frames(4, 4))
    for call in (on_device.predict, on_device.submit):
        with pytest.raises(MemoryError, match="Tried to allocate"):
            call(frames(8, 4))
    assert device.capture.released == 2, "what is only there for speed is given up"
    np.testing.assert_array_equal(on_device.predict(frames(4, 4))[0], doubled(torch.from_numpy(frames(4, 4)))[0])


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    def broken(given: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        session(broken).predict(frames(1, 4))


def test_a_session_says_how_it_runs() -> None:
    assert session(graphs=False).executed.mode == "eager"
    compiled = Session(doubled, 4, replace(EXECUTED, mode="compiled"), Immediate())
    assert compiled.executed.mode == "compiled, CUDA graphs"
    refused = session(on=Immediate("not permitted"))
    refused.predict(frames(1, 4))
    assert refused.executed == replace(EXECUTED, mode="no CUDA graphs (not permitted)")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_types_are_told_by_name(device: Any, common: Build) -> None:
    for chain, stored in (((), "fp32"), (({"cast": "fp16"},), "fp16"), (({"cast": "bf16"},), "bf16")):
        built = common(*chain)
        for tf32 in (True, False):
            executed = pytorch.load(built, device, 1, tf32=tf32).executed
            on_cuda = "fp32 (TF32)" if stored == "fp32" and tf32 else stored
            assert executed.computed == ("fp32" if device == "cpu" else on_cuda)
            assert executed.stored == stored


# ------------------------------------------------------------------------------------ on a GPU
@pytest.fixture
def float32_built(common: Build) -> Built:
    return common()


@pytest.mark.cuda
def test_graphs_answer_as_eager_calls_do_whatever_the_order_of_sizes_and_sessions(common: Build) -> None:
    builds = [common(), common({"cast": "fp16"})]
    eager = [pytorch.load(built, "cuda", 1, graphs=False) for built in builds]
    captured = [pytorch.load(built, "cuda", 1) for built in builds]
    for seed, count in enumerate((1, 8, 3, 8, 1, 16, 3, 32, 64, 1)):
        for plain, graph in zip(eager, captured, strict=True):
            given = frames(count, seed=seed)
            eager_answers, answers = (logits_and_cam(loaded.predict(given)) for loaded in (plain, graph))
            np.testing.assert_allclose(answers[0], eager_answers[0], atol=1e-3)
            np.testing.assert_allclose(answers[1], eager_answers[1], atol=1e-2)
    assert [loaded.executed.mode for loaded in captured] == [graphs.MODE] * 2
    assert [loaded.executed.mode for loaded in eager] == ["eager"] * 2


@pytest.mark.cuda
def test_submitted_calls_on_cuda_answer_in_order(common: Build) -> None:
    on_device: Any = pytorch.load(common(), "cuda", 1)
    given = [frames(count, seed=seed) for seed, count in enumerate((16, 16, 16, 5, 16))]
    expected_logits = [on_device.predict(frame_batch)[0] for frame_batch in given]
    waiting, answers = [], []
    for frame_batch in given:
        waiting.append(on_device.submit(frame_batch))
        if len(waiting) == SLOTS:
            answers.append(waiting.pop(0)()[0])
    answers += [answer()[0] for answer in waiting]
    for answer, expected in zip(answers, expected_logits, strict=True):
        np.testing.assert_allclose(answer, expected, atol=1e-4)


@pytest.mark.cuda
def test_a_network_that_waits_for_its_device_is_run_eagerly() -> None:
    """What a capture forbids: asking for a value while it computes."""

    def asking(given: Tensor) -> Prediction[Tensor]:
        logits, cam = doubled(given)
        return Prediction(logits * (1.0 if float(logits.sum()) > -1e9 else 0.0), cam)

    on_device = Session(asking, 4, EXECUTED)
    for seed in range(3):
        given = frames(2, 4, seed)
        np.testing.assert_array_equal(on_device.predict(given)[0], doubled(torch.from_numpy(given))[0])
    assert on_device.executed.mode.startswith("no CUDA graphs (")
    healthy = Session(doubled, 4, EXECUTED)
    healthy.predict(frames(2, 4))
    assert healthy.executed.mode == graphs.MODE, "a capture that failed leaves nothing behind"


@pytest.mark.cuda
def test_memory_of_large_graphs_is_given_back_at_rest(monkeypatch: pytest.MonkeyPatch, common: Build) -> None:
    monkeypatch.setattr("bench.runtimes.pytorch.device.LARGE_BYTES", 0)
    on_device: Any = pytorch.load(common(), "cuda", 1)
    expected = on_device.predict(frames(256))
    held = torch.cuda.memory_reserved()
    on_device.rest()
    assert torch.cuda.memory_reserved() < held
    np.testing.assert_allclose(on_device.predict(frames(256))[0], expected[0], atol=1e-4)


@pytest.mark.cuda
@pytest.mark.parametrize(("cast", "mean", "largest"), [(None, 1e-4, 2e-4), ("fp16", 2e-3, 1e-2), ("bf16", 1e-2, 5e-2)])
def test_scores_on_cuda_are_those_of_a_cpu(cast: str | None, mean: float, largest: float, common: Build) -> None:
    built = common(*([{"cast": cast}] if cast else []))
    on_cpu = onnxruntime.load(built, "cpu", 1).predict(frames(64))[0]
    on_cuda = pytorch.load(built, "cuda", 1, tf32=False).predict(frames(64))[0]
    differences = np.abs(softmax(on_cuda) - softmax(on_cpu))
    assert differences.mean() <= mean
    assert differences.max() <= largest


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(logits[:, 0].astype(np.float64) - logits[:, 1])))


@pytest.mark.cuda
def test_tf32_can_be_left_out(common: Build) -> None:
    """Rounding to ten bits shows where it is allowed, and only there."""
    exact = onnxruntime.load(common(), "cpu", 1).predict(frames(64))[0]
    errors = {
        tf32: float(np.abs(pytorch.load(common(), "cuda", 1, tf32=tf32).predict(frames(64))[0] - exact).max())
        for tf32 in (True, False)
    }
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no TF32")
    assert errors[False] < 1e-4
    assert errors[True] > errors[False]


def test_cuda_that_is_not_there_is_an_error(float32_built: Built) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match="PyTorch sees no CUDA device"):
        pytorch.load(float32_built, "cuda", 1)


def test_a_network_tells_its_types_without_a_device() -> None:
    network = Network(detector(size=32).half(), "cpu", "fp16", tf32=True)
    assert network.computed == "fp32"
    assert network.size == 32
    logits, cam = logits_and_cam(network(torch.from_numpy(frames(2))))
    assert (logits.shape, cam.shape, logits.dtype) == ((2, 2), (2, 1, 1), torch.float32)
