"""What `bench plan` foresees is what a run does; what `bench list` and `bench doctor` tell."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import cli, pipeline, provenance
from bench.commands import doctor
from bench.commands.doctor import findings, int8_speed, libraries, machine
from bench.commands.list import catalogue
from bench.commands.plan import Forecast, cluster, forecast
from bench.commands.plan.text import describe
from bench.detectors.presets import PRESETS
from bench.executors.ray import Cluster
from bench.experiment import read
from bench.pipeline import estimates
from bench.pipeline.estimates import Estimate, duration
from bench.pipeline.forecast import Stage
from bench.pipeline.history import History, Speed
from bench.pipeline.jobs import keys
from bench.pipeline.prepare import prepare
from bench.pipeline.present_speed import PresentSpeed
from bench.results import predict
from bench.system.processor import Processor
from bench.variants import cache, steps
from bench.variants.chain import parse
from tests.support import command_line
from tests.support.pace import limit

NO_HISTORY = History({}, {}, ())
QUIET = estimates.quiet(2)


def bench(*arguments: str) -> tuple[int, str]:
    """Exit code and output, none of whose lines is too long."""
    code, output = command_line.bench(*arguments)
    assert all(len(line) <= 100 for line in output.splitlines() if not line.startswith("error:"))
    return code, output


def bench_whole(*arguments: str) -> tuple[int, str]:
    """The same, whatever the length of lines."""
    result = CliRunner().invoke(cli.app, list(arguments))
    return result.exit_code, result.output


def planned(folder: Path, **options: Any) -> Forecast:
    file = folder / "experiments.yaml"
    return forecast(read(file), file, **options)


def read_frames(folder: Path) -> None:
    """Frames are read by a run, and a plan then knows their content."""
    file = folder / "experiments.yaml"
    prepare(read(file), file)


def due(foreseen: Forecast) -> dict[str, str]:
    return {stage.name: stage.work for stage in foreseen.stages if stage.work}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------------- plan
def test_who_wants_no_times_is_not_told_that_some_are_there(workplace: Path) -> None:
    foreseen = planned(workplace, only=["q16"], timing="none")
    assert "time" not in due(foreseen)
    rows = [line for line in describe(foreseen).splitlines() if "frames, onnxruntime" in line]
    assert [line.split()[-1] for line in rows] == ["out", "out"], rows


def test_all_that_is_quickly_checked_is_told_at_once(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    file = workplace / "experiments.yaml"
    text = file.read_text().replace("best_model.tar", "gone.tar").replace("q16: [cast: fp16]", "q16: [recover]")
    text = text.replace("device: cpu", "device: cuda").replace(
        "q8: [quantize: int8]", "q8: [quantize: int8, cast: fp16]"
    )
    file.write_text(text.replace("{path: faces}", "{path: faces, source_pattern: '(xyz)'}"))
    monkeypatch.setattr("bench.pipeline.device.cuda_devices", lambda: ())
    for command in ("plan", "run"):
        code, output = bench_whole(command)
        assert code == 2
        for words in (
            "cuda was asked for",
            "gone.tar: no such weights file",
            "variants.q16: recover has nothing to do",
            "variants.q8: cast: fp16 works on torch models",
            "source_pattern '(xyz)' matches no frame",
        ):
            assert words in output
    file.write_text(text.replace("{path: faces}", "{test: faces/test}"))
    output = bench_whole("plan")[1]
    assert "gone.tar: no such weights file" in output
    assert "q32-p50: prune: 0.5 needs calibration frames" in output


def test_frames_without_a_source_are_told_by_plan_run_log_and_report(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    file = workplace / "experiments.yaml"
    splits = r"{test: {path: faces/test, source_pattern: '(\w+/0\d+)'}, validation: faces/validation}"
    head = file.read_text().partition("      q8:")[0]
    file.write_text(head.replace("{path: faces}", splits))
    (workplace / "faces/test/fake/000.png").rename(workplace / "faces/test/fake/x00.png")
    words = "0 of 14 real and 1 of 18 fake test frames have no source"
    assert words in " ".join(bench("plan")[1].split())
    code, output = bench_whole("run", "--only", "baseline")
    assert code == 0
    assert f"warning: {words}" in output
    assert f"note: {words}" in " ".join(output.split())
    assert words in next((workplace / "results/first").glob("run-*.log")).read_text()
    assert words in (workplace / "reports/first/report.md").read_text()


def test_help_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output = bench("--help")[1]
    assert "..." not in output.partition("Commands:")[2]
    assert all(len(line) <= 80 for line in output.splitlines())
    for command in cli.app.registered_commands:
        assert command.callback is not None
        sentence = (command.callback.__doc__ or "").split("\n\n")[0]
        assert " ".join(sentence.split()) in " ".join(output.split())


def test_plan_reads_no_frame_writes_nothing_and_says_all_of_it(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("bench.pipeline.present_speed.measure", lambda threads: QUIET)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**36))  # others write meanwhile
    before = files(workplace)
    code, output = bench("plan")
    assert code == 0
    assert all(new.startswith("variants/.readings/") for new in files(workplace) - before)
    rows = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert "44 frames, onnxruntime" in rows["q8"]
    assert rows["build"].split()[1:3] == ["7", "artifacts"], "what the pruned variants share is built once"
    assert "as q32-p50" in rows["q16-p50"]
    assert "re-compress" not in rows, "nobody asked for it"
    assert "and what is unknown" in rows["total"], "nobody knows how fast a tiny detector is"
    assert "unknown amount to write" in output
    assert "92 frames are not read yet" in output
    assert "Every file there is used." in output
    assert bench("plan")[1] == bench("run", "--dry-run")[1] == output[output.index("first: ") :]
    read_frames(workplace)
    assert "not read yet" not in bench("plan")[1]


def test_what_is_to_be_compiled_is_counted(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.runtimes.inductor.unavailable_reason", lambda device: None)
    file = workplace / "experiments.yaml"
    file.write_text(file.read_text().replace("    device: cpu\n", "    device: cpu\n    runtime: inductor\n"))
    only = ("baseline", "q16")
    before = planned(workplace, only=only)
    assert due(before)["load"] == "2 variants, 0 exported first, 2 compiled first"
    folder = workplace / "variants" / before.rows[0].id
    folder.mkdir(parents=True)
    (folder / "model.inductor-0123.pt2").touch()
    assert due(planned(workplace, only=only))["load"] == "2 variants, 0 exported first, 1 compiled first"


@pytest.mark.slow
def test_what_was_planned_is_what_is_done(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing, run again, and with the parts taken away that a run would make again."""
    file = workplace / "experiments.yaml"

    def run_as_planned(*only: str) -> dict[str, str]:
        read_frames(workplace)
        foreseen = planned(workplace, only=only)
        before = {path.name for path in (workplace / "variants").glob("*[!.]*")}
        finished = pipeline.run(read(file), file, only=only)
        new = {path.name for path in (workplace / "variants").glob("[0-9a-f]*")} - before
        assert new == {link.id for row in foreseen.rows for link in row.links if not link.built}
        assert {v.id for v in finished.run.variants} >= {row.id for row in foreseen.rows}
        return due(foreseen)

    first = run_as_planned("q16", "q8")
    assert first["build"] == "3 artifacts"
    assert first["load"] == "3 variants, 2 exported first"
    rest = run_as_planned()
    assert rest["build"] == "4 artifacts"
    assert (rest["evaluate"], rest["time"]) == (
        "3 variants on 44 frames",
        "3 variants, the baseline beside them",
    )
    assert due(planned(workplace)) == {}
    assert "nothing to do" in describe(planned(workplace))

    file.write_text(file.read_text().replace("device: cpu", "device: cpu\n    threshold: 0.7"))
    assert list(due(planned(workplace))) == ["load", "blur", "report"], "galleries may show other frames"
    assert "report: threshold 0.5 → 0.7" in describe(planned(workplace))
    (workplace / "results/first/q8/predictions.json").unlink()
    shards = planned(workplace)
    assert due(shards)["evaluate"] == "1 variant on 44 frames"
    assert shards.writes_bytes is not None, "the size of this network is on record now"
    monkeypatch.setattr(predict, "SHARD_FRAMES", 16)
    quantised = cache.read(workplace / "variants", shards.rows[2].id)
    key = keys(shards.prepared.first, quantised.id, "onnx", quantised)[1]
    for low in (0, 16):
        nobody: Any = None
        shard = predict._shard(predict.Pending("q8", key, workplace / "results/first/q8", nobody, nobody), low)
        shard.parent.mkdir(parents=True, exist_ok=True)
        shard.touch()
    assert due(planned(workplace))["evaluate"] == "1 variant on 12 frames", "what an interrupted run left counts"
    (workplace / "results/first/q16/measurements.json").unlink()
    assert due(planned(workplace))["time"] == "1 variant, the baseline beside them"
    (workplace / "results/first/run.json").write_text("{")
    (workplace / "variants" / shards.rows[2].id / "variant.json").write_text("{")
    assert due(planned(workplace))["report"] == "due"


def test_the_demo_is_planned_without_being_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("init")[0] == 0
    before = files(tmp_path)
    program = (
        "import sys; from bench import cli\n"
        "def run(*words):\n"
        "    sys.argv = ['bench', *words]\n"
        "    try: cli.main()\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "run('plan', '--device', 'cpu'); run('list')\n"
        "loaded = {'torch', 'onnxruntime', 'timm', 'onnx', 'pandas', 'cv2'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1,208 frames of the demo set" in done.stdout
    assert files(tmp_path) == before


def test_bad_input_is_said_as_by_a_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for arguments in (["--only", "q9"], ["--device", "tpu"], ["secnd"], ["--file", "nowhere.yaml"]):
        outcome = bench("plan", *arguments)
        assert outcome == bench("run", "--dry-run", *arguments)
        assert outcome[0] == 2


def test_estimates_prefer_records_and_admit_what_is_unknown(workplace: Path) -> None:
    file = workplace / "experiments.yaml"
    setup = prepare(read(file), file).first
    assert estimates.frame(setup, (), "onnxruntime", NO_HISTORY, QUIET).unknown == {"tiny in onnxruntime on cpu"}
    speed = Speed("tiny", 64, "onnxruntime", "cpu", ("cast: fp16",), 0.4)
    history = History({("tiny", "recover"): [10.0, 20.0]}, {}, (speed, replace(speed, steps=(), frame_s=8.0)))
    same = estimates.frame(setup, [parse({"cast": "fp16"})], "onnxruntime", history, QUIET)
    assert same.low_s <= 0.1 <= same.high_s, "a quarter of the pixels takes a quarter of the time"
    assert same.origins == {estimates.RECORDED}
    other = estimates.frame(setup, [parse({"quantize": "int8"})], "onnxruntime", history, QUIET)
    assert other.low_s <= 2.0 <= other.high_s
    assert estimates.frame(setup, (), "pytorch", history, QUIET).unknown
    assert estimates.frame(replace(setup, device="cuda"), (), "onnxruntime", history, QUIET).unknown
    use = parse("recover")
    recorded = estimates.step(setup, [use], history, QUIET)
    assert recorded.low_s < 20 < recorded.high_s < 2 * recorded.low_s
    assert estimates.step(setup, [use], NO_HISTORY, QUIET).unknown == {"recover on cpu"}
    assert estimates.step(setup, [], NO_HISTORY, QUIET).origins == {estimates.ROUGH}


def test_rough_rates_hold_on_the_machine_they_come_from(workplace: Path) -> None:
    """The log's own measurements of the demo lie within what is foretold for that machine."""
    file = workplace / "experiments.yaml"
    setup = prepare(read(file), file).first
    preprocessing = replace(setup.source.preprocessing, size=160)
    setup = replace(
        setup,
        source=replace(setup.source, architecture="efficientnet_b5", preprocessing=preprocessing),
        threads=2,
    )
    counts = {"test": 360, "validation": 80, "calibration": 128, "train": 640}
    frames = {
        split: replace(frames_of_split, frames=(frames_of_split.frames * 100)[: counts[split]])
        for split, frames_of_split in setup.frames.items()
    }
    timing = setup.settings.timing.model_copy(update={"seconds": 3.0})
    setup = replace(setup, frames=frames, settings=setup.settings.model_copy(update={"timing": timing}))
    half = [parse({"prune": 0.5}), parse("recover")]
    quantize = parse({"quantize": "int8"})
    # Quiet, two cores of Zen 3: docs/log.md, "A faster demo on an older, busy machine".
    for chain, seconds in (([quantize], 62), (half[:1], 42), (half, 6), ([*half, quantize], 38)):
        takes = estimates.step(setup, chain, NO_HISTORY, QUIET)
        assert takes.low_s < seconds < takes.high_s <= 2 * takes.low_s, chain[-1].text
    # A B0 at 160 px: 10 s and 6 s, docs/benchmarks.md, 8.
    smaller_network = replace(setup, source=replace(setup.source, architecture="efficientnet_b0"))
    for chain, share in (([quantize], 10 / 47), (half[:1], 6 / 29)):
        takes, of_b5 = (estimates.step(of, chain, NO_HISTORY, QUIET) for of in (smaller_network, setup))
        assert takes.low_s == pytest.approx(share * of_b5.low_s, rel=0.3), chain[-1].text
    # Where the look finds something to train, as on the B0 with real weights: 103 s on two cores of Zen 5.
    look, whole = (
        estimates.step(smaller_network, half, NO_HISTORY, QUIET, at_most=at_most) for at_most in (False, True)
    )
    assert look.high_s < 20
    assert whole.low_s < 103 < whole.high_s
    for recorded_s in ([4.0], [4.0, 103.0]):
        earlier = History({("efficientnet_b0", "recover"): recorded_s}, {}, ())
        look, whole = (
            estimates.step(smaller_network, half, earlier, QUIET, at_most=at_most) for at_most in (False, True)
        )
        assert look.high_s < 10
        assert whole.low_s < 103 < whole.high_s
    chains = [[], [parse({"cast": "fp16"})], [quantize], half, half, [*half, quantize]]
    passes = [estimates.frame(setup, chain, "onnxruntime", NO_HISTORY, QUIET) for chain in chains]
    evaluated = estimates.total(passes) * 440
    assert evaluated.low_s < 53 < evaluated.high_s
    timed = estimates.total(estimates.timed(setup, frames_of_split, QUIET) for frames_of_split in passes)
    assert timed.low_s < 83 < timed.high_s
    smaller = replace(setup, source=replace(setup.source, architecture="tf_efficientnet_b0"))
    assert estimates.frame(smaller, [], "onnxruntime", NO_HISTORY, QUIET).high_s < 0.3 * passes[0].high_s


def test_what_others_do_makes_it_longer(workplace: Path) -> None:
    """Beside one busy loop, work that threads share takes twice as long, and the rest as long as ever."""
    file = workplace / "experiments.yaml"
    setup = replace(prepare(read(file), file).first, threads=2)
    rate = estimates.RATES_GFLOPS
    busy, slow = PresentSpeed(rate, rate, rate, 2), PresentSpeed(rate / 3, rate / 3, 2 * rate / 3, 2)
    for cpu_s, parallel, now, seconds in (
        (10.0, 0.0, QUIET, 10.0),
        (10.0, 1.0, QUIET, 5.0),
        (10.0, 1.0, busy, 10.0),
        (10.0, 0.0, busy, 10.0),
        (30.0, 0.5, slow, 22.5),
    ):
        assert estimates.on_the_clock(cpu_s, parallel, now) == pytest.approx(seconds)
    history = History({}, {}, (), {("tiny", "recover"): [20.0]})
    quiet, beside = (estimates.step(setup, [parse("recover")], history, now) for now in (QUIET, busy))
    assert quiet.low_s < 12 < quiet.high_s < 2 * quiet.low_s, "of 20 s of processor time, threads share the most"
    assert beside.low_s < 20 < beside.high_s
    slower = estimates.step(setup, [], NO_HISTORY, slow)
    assert slower.low_s == pytest.approx(3 * estimates.step(setup, [], NO_HISTORY, QUIET).low_s, rel=0.2)


def test_the_present_speed_takes_less_than_a_second_and_no_torch() -> None:
    code = """
import sys, time
from bench.pipeline import present_speed
began = time.process_time()
found = present_speed.measure(2)
print(time.process_time() - began, found.core > 0.1, 0 < found.alone, 0 < found.free_cores, "torch" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *answers = ran.stdout.split()
    assert float(seconds) < 2.5, "two threads, half of the time"
    assert answers == ["True", "True", "True", "False"]


def test_the_speed_is_measured_only_where_something_is_due(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def measure(threads: int) -> PresentSpeed:
        asked.append(threads)
        return QUIET

    monkeypatch.setattr("bench.pipeline.present_speed.measure", measure)
    read_frames(workplace)
    assert planned(workplace).speed == QUIET
    assert len(asked) == 1
    monkeypatch.setattr(sys.modules["bench.pipeline.forecast"], "is_time_due", lambda *_: False)
    monkeypatch.setattr("bench.results.predict.is_done", lambda folder, key: True)
    monkeypatch.setattr("bench.pipeline.occlusions.is_due", lambda *_: False)
    monkeypatch.setattr("bench.variants.cache.is_built", lambda folder, variant: False)
    assert planned(workplace).speed is None
    assert len(asked) == 1


def test_sizes_are_those_of_the_network(workplace: Path) -> None:
    file = workplace / "experiments.yaml"
    setup = prepare(read(file), file).first
    setup = replace(setup, source=replace(setup.source, architecture="efficientnet_b5"))
    assert estimates.weights_bytes(setup, NO_HISTORY) == pytest.approx(114_146_248, rel=0.02)


@pytest.mark.parametrize(
    ("chain", "stored", "in_fp32"),
    [
        ([{"cast": "fp16"}], 50, 100),
        ([{"quantize": "int8"}], 27, 100),
        ([{"cast": "fp16"}, {"quantize": "int8"}], 27, 100),
        ([{"prune": 0.5}, {"cast": "bf16"}], 25, 50),
        ([{"prune": {"amount": 0.5, "structure": "unstructured"}}, "recover"], 100, 100),
    ],
)
def test_each_number_takes_what_it_was_stored_in_last(chain: list[object], stored: float, in_fp32: float) -> None:
    sizes = 100.0, 100.0
    for use in map(parse, chain):
        sizes = estimates.bytes_left(use, *sizes)
    assert sizes == pytest.approx((stored, in_fp32))


@pytest.mark.parametrize(
    ("low", "high", "unknown", "text"),
    [
        (0.0, 0.0, "", "–"),
        (0.0, 0.0, "x", "unknown"),
        (19.4, 81.6, "", "≈ 19–82 s"),
        (100, 330, "", "≈ 1.7–5.5 min"),
        (5000, 20_000, "x", "≈ 1.4–5.6 h, and what is unknown"),
        (7, 7, "", "≈ 7 s"),
    ],
)
def test_durations_are_as_coarse_as_they_are_known(low: float, high: float, unknown: str, text: str) -> None:
    assert duration(Estimate(low, high, frozenset(), frozenset({unknown} - {""}))) == text


# ---------------------------------------------------------------------------------------------------- list
def test_list_tells_all_there_is() -> None:
    code, output = bench("list")
    assert code == 0
    assert output.split("\n\n")[0].startswith("detectors\n")
    for name in [*PRESETS, *steps.names(), "efficientnet_b5", "onnxruntime", "manifest", "learning_rate: auto"]:
        assert name in output
    listed = bench("list", "steps")[1]
    assert listed.strip() in output
    text = " ".join(listed.split())
    for setting in (
        "amount (needed): number above 0 to 0.999;", "structure: structured | unstructured | 2of4;",
        "repair: true | false;", "weights: null | int8 | int4;", "minutes: null | number above 0 to 10080;",
        "recalibrate: auto | true | false",
    ):  # fmt: skip
        assert setting in text
    assert not re.search(r"\b(None|True|False|Filters\()\b", output)
    assert "{down: area, up: bicubic}" in " ".join(output.split())
    code, output = bench("list", "stpes")
    assert code == 2
    assert "did you mean 'steps'" in output


def test_a_new_file_is_listed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shuffle.py").write_text(
        textwrap.dedent('''
        """Shuffle everything,
        twice. And more of it."""
        from pydantic import BaseModel
        MAIN = "times"
        class Settings(BaseModel):
            times: int
            gently: bool = True
        ''')
    )
    monkeypatch.setattr(steps, "__path__", [*steps.__path__, str(tmp_path)])
    text = " ".join(catalogue("steps").split())
    settings = "Settings, first what holds unless given: times (needed): whole number; gently: true | false"
    assert f"shuffle: times Shuffle everything, twice. And more of it. {settings}" in text


# -------------------------------------------------------------------------------------------------- doctor
def test_doctor_is_content_where_these_tests_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # The compiler takes as long as all others; tests/runtimes/test_inductor.py asks it.
    monkeypatch.setattr(doctor, "CHECKS", tuple(check for check in doctor.CHECKS if check[0] != "inductor"))
    code, output = bench("doctor")
    assert code == 0, output
    assert output.splitlines()[-1] == "all well" or "works here" in output
    for what in ("python", "torch", "timm", "onnxruntime", "CPU", "memory"):
        assert any(line.split()[1] == what for line in output.splitlines() if len(line.split()) > 1)


def test_doctor_measures_what_int8_gains() -> None:
    answer = int8_speed.measure(seconds=0.05)
    assert answer["right"]
    assert 0 < answer["low"] <= answer["ratio"] <= answer["high"]


@pytest.mark.parametrize(("low", "right", "level"), [(1.2, True, "ok"), (0.9, True, "note"), (1.2, False, "problem")])
def test_doctor_says_how_sure_the_gain_is(
    low: float, right: bool, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"ratio": 1.5, "low": low, "high": 1.8, "seconds": 1.0, "right": right}
    monkeypatch.setattr(libraries, "ask", lambda question: answer)
    (finding,) = libraries.int8(tmp_path)
    assert finding.level == level
    assert not right or f"1.5 times as fast as fp32 in onnxruntime ({low} to 1.8)" in finding.observed


def shadow(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Put a module before the real one in every Python that is started from here."""
    (folder / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_doctor_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow(tmp_path, monkeypatch, "onnxruntime", "raise ImportError('libfoo.so: cannot open shared object file')")
    (finding,) = libraries.onnxruntime(tmp_path)
    assert finding.level == "problem"
    assert "libfoo.so" in finding.observed
    assert "pip install" in finding.mend
    assert libraries.providers(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed (signal 11)"),
        ("raise RuntimeError('no kernel image')", "no kernel image"),
        ("time.sleep(600)", "no answer within"),
    ],
)
def test_a_provider_that_fails_does_not_take_the_doctor_down(
    fault: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in fault:
        monkeypatch.setattr(findings, "PATIENCE_SECONDS", limit(2.0))
    shadow(
        tmp_path,
        monkeypatch,
        "onnxruntime",
        f"""
        import os, signal, time
        __version__ = "1.0"
        def get_available_providers(): return ["CPUExecutionProvider"]
        def set_default_logger_severity(level): pass
        def InferenceSession(*a, **k): {fault}
        """,
    )
    (finding,) = libraries.providers(tmp_path)
    assert (finding.level, finding.what) == ("problem", "CPU")
    assert message in finding.observed


@pytest.mark.parametrize(("devices", "level"), [((), "ok"), (("H",), "problem")])
def test_cuda_provider_matters_where_there_is_a_device(
    devices: tuple[str, ...], level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"onnxruntime": {"version": "1", "providers": ["CUDAExecutionProvider"]}}
    monkeypatch.setattr(libraries, "ask", lambda question, *_: answers.get(question, {"loads": False, "right": True}))
    monkeypatch.setattr(libraries, "cuda_devices", lambda: devices)
    (finding,) = libraries.providers(tmp_path)
    assert (finding.level, finding.what) == (level, "CUDA")


def test_bench_that_runs_from_its_source_tree_is_described_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not be installed."""

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    for question in ("version", "metadata", "requires"):
        monkeypatch.setattr(metadata, question, absent)
    provenance.version.cache_clear()
    try:
        assert re.fullmatch(r"\d+\.\d+\.\d+", provenance.version("bench"))
        assert libraries.python(tmp_path)[0].level == "ok"
        assert {finding.observed for finding in libraries.packages(tmp_path)} == {"not installed"}
    finally:
        provenance.version.cache_clear()


def test_two_onnxruntimes_and_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(libraries, "ask", lambda *_: {"version": "1.0"})
    (finding,) = libraries.onnxruntime(tmp_path)
    assert finding.level == "note"
    assert "uninstall -y onnxruntime onnxruntime-gpu" in finding.mend

    monkeypatch.setattr(metadata, "requires", lambda _: ["timm>=999", "no-such-thing[x]>=2", 'other; extra == "y"'])
    old, absent = libraries.packages(tmp_path)
    assert (old.what, old.level) == ("timm", "problem")
    assert ">=999 is wanted" in old.observed
    assert absent.mend == 'python -m pip install "no-such-thing[x]>=2"'


def test_a_check_that_crashes_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(folder: Path) -> Any:
        raise ZeroDivisionError("by " + "nought " * 40)

    monkeypatch.setattr(doctor, "CHECKS", (("odd", crash), ("disk", machine.disk)))
    code, output = bench("doctor")
    assert code == 2
    assert output.splitlines()[-1].startswith("1 problem:")
    assert "PROBLEM  odd" in output
    assert "GiB free" in output


def test_machines_are_read_from_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "asked_processor", lambda: Processor("x86_64", "one", frozenset({"avx2"})))
    (finding,) = machine.processor(tmp_path)
    assert (finding.level, "AVX2" in finding.observed) == ("ok", True), "what int8 gains is measured, and not guessed"
    monkeypatch.setattr(machine, "cpu_quota", lambda: 1.5)
    assert "(a quota of 1.5 cores' time)" in machine.processor(tmp_path)[0].observed
    monkeypatch.setattr(machine, "asked_processor", lambda: Processor("x86_64", "one", frozenset({"avx_vnni"})))
    assert machine.processor(tmp_path)[0].level == "ok"
    current, _ = machine.folders(tmp_path / "nowhere")
    assert (current.level, current.what) == ("problem", "here")


# ------------------------------------------------------------------------------------------------- in a Ray cluster
def test_a_cluster_shares_what_can_be_shared() -> None:
    """Building takes no less than its longest step; timing and the report are this machine's."""
    build = Stage("build", "4 links", Estimate(80, 120), (("q8", Estimate(30, 50)), ("p50", Estimate(50, 70))))
    evaluate, timing = Stage("evaluate", "", Estimate(400, 800)), Stage("time", "", Estimate(10, 20))
    assert (cluster.of_stage(build, 8).low_s, cluster.of_stage(build, 8).high_s) == (50, 70)
    assert (cluster.of_stage(build, 1).low_s, cluster.of_stage(build, 1).high_s) == (80, 120)
    assert cluster.of_stage(evaluate, 8).high_s == 100
    assert cluster.of_stage(timing, 8) == timing.estimate
    text = cluster.text((build, evaluate, timing), Cluster(nodes=2, workers=8, threads=4, gpus=0))
    assert text.splitlines()[0] == "ray: 8 workers (4 threads each) on 2 nodes, taken to be as fast as this machine"
    assert "there: build ≈ 50–70 s, evaluate ≈ 50–100 s" in text
    assert "here: ≈ 10–20 s" in text
    assert "there: nothing" in cluster.text((timing,), Cluster(1, 1, 2, 0))
