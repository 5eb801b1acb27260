"""The simulated GPU for programs in C++: each rule, with programs that keep it and programs that break it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_build import tensorrt_headers
from fake_engines import RTX, TENSORRT, engines_folder, include_flags, libcuda_folder
from fake_gpu.driver import FakeDriver
from fake_gpu.programs import WIDTH, build, sum_model
from fake_gpu.tensorrt_module import tensorrt_module
from fake_gpu.tensorrt_plan import Plan
from made_once import made_once
from nearest_grid import NATIVE, compile_native, compiler
from onnx import TensorProto, helper

from latentloop.environment.c_library import onnxruntime_library

pytestmark = [
    pytest.mark.skipif(compiler() is None, reason="no C++ compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="libcuda.so.1 exists only on Linux"),
]

RACES = {
    "read_on_another_stream": "cuMemcpyDtoHAsync: the source: a race with cuMemsetD8Async, nothing orders the two",
    "read_after_an_event": "",
    "event_before_the_work": "a race with cuMemsetD8Async",
    "event_recorded_again": "",
    "order_through_a_third_stream": "",
    "order_through_the_host": "",
    "runs_as_late_as_possible": "",
    "host_waits_for_another_stream": "cuMemsetD8Async: the target: a race with cuMemAllocAsync",
    "two_streams_read": "",
    "write_during_a_read": "cuMemsetD8Async: the target: a race with cuMemcpyDtoHAsync",
    "parts_of_an_allocation": "",
    "parts_that_overlap": "a race with cuMemsetD8Async",
    "legacy_stream_and_blocking_stream": "",
    "legacy_stream_and_non_blocking_stream": "a race with cuMemAllocAsync",
    "allocation_on_another_stream": "a race with cuMemAllocAsync",
    "free_during_a_use": "cuMemFreeAsync: the allocation: a race with cuMemcpyDtoHAsync",
    "destroyed_stream": "cuMemsetD8Async: the stream was destroyed",
    "destroyed_event": "cuStreamWaitEvent: the event was destroyed",
    "unknown_stream": "cuStreamSynchronize: there is no such stream",
}
MEMORY = {
    "memory_is_poisoned": "",
    "outside_an_allocation": r"the target of 1024 bytes at 0x\w+ is not within one allocation",
    "use_after_free": "cuMemsetD8Async: the target was freed",
    "free_twice": "cuMemFreeAsync: the memory was freed before",
    "free_of_a_part": "cuMemFreeAsync: the memory was never allocated",
    "overlapping_copy": "cuMemcpyDtoDAsync: source and target of 9 bytes overlap",
    "copy_beside_its_source": "",
    "write_over_a_guard": "at the end: a write outside an allocation",
    "write_over_a_guard_before_a_free": "cuMemFreeAsync: a write outside an allocation",
    "outputs_overlap": "a kernel: the output and the input overlap, and at least one is an output",
    "host_memory_in_a_kernel": "a kernel: the input is host memory, expected GPU memory",
    "failing_kernel": "a kernel: failed",
    "source_changes_during_a_copy": "the source changed before the copy finished",
    "source_changes_after_a_copy": "",
    "target_is_read_too_early": "",
    "target_is_written_too_early": "the target changed before the copy finished",
    "host_memory_between_copies_of_a_stream": "",
    "host_memory_between_copies_of_two_streams": "the source: a race with cuMemcpyDtoHAsync",
    "host_memory_freed_during_a_copy": "cuMemFreeHost: the memory is in use by cuMemcpyDtoHAsync, which may be running",
    "host_memory_used_after_free": "the source was freed",
    "beyond_host_memory": "the source of 1024 bytes at .* is not within one allocation",
    "kinds_of_memory": "",
    "counts_what_is_live": "",
    "counts_what_is_abandoned": "",
    "planned_failures": "",
    "reset_forgets_a_failure": "",
}
ACCESSES = {"history_equals_a_list_of_all_accesses": "", "merged_accesses": "", "threads": ""}
CAPTURES = {
    "replays": "",
    "source_changes_during_a_replay": "cuGraphLaunch: the source changed before the copy finished",
    "race_with_a_replay": "cuMemsetD8Async: the target: a race with cuGraphLaunch",
    "replay_races": "cuGraphLaunch: the target: a race with cuMemAllocAsync",
    "replay_with_freed_memory": "cuGraphLaunch: the target was freed",
    "destroyed_executable": "cuGraphLaunch: the executable graph was destroyed",
    "pending_replay_of_a_destroyed_executable": "",
    "event_of_a_capture": "the event was recorded in a capture to which the stream does not belong",
    "calls_that_a_capture_does_not_permit": "",
    "planned_failure_at_the_end_of_a_capture": "",
}
CONTEXTS = {
    "stream_of_another_context": "cuStreamSynchronize: the stream is of another context than the current one",
    "event_of_another_context": "cuEventRecord: the event is of another context than the current one",
    "memory_of_another_context": "a kernel: the input is memory of another context than the current one",
    "executable_of_another_context": "cuGraphLaunch: the executable graph is of another context",
    "stream_of_a_destroyed_context": "cuStreamDestroy: the context of the stream was destroyed",
    "destroyed_context": "cuCtxPushCurrent: the context was destroyed",
    "released_too_often": "cuDevicePrimaryCtxRelease: not retained",
    "without_a_context": "",
    "popped_too_often": "cuCtxPopCurrent: no context is current",
}
RULES = {**RACES, **ACCESSES, **MEMORY, **CAPTURES, **CONTEXTS}
ENGINES = {
    "sums": "",
    "describes_the_engine": "",
    "captures_a_run": "",
    "destroyed_before_its_runs_end": "the context of sum was destroyed: the memory is in use by sum, which",
    "engine_destroyed_before_its_context": "the engine sum was destroyed before its contexts",
    "runtime_destroyed_before_its_engine": "a runtime was destroyed before its engines",
    "replay_after_its_context_was_destroyed": "cuGraphLaunch: the context's internal memory was freed",
    "runs_of_a_context_on_two_streams": "sum: the context's internal memory: a race with sum",
    "run_races_with_a_copy": "cuMemcpyDtoHAsync: the source: a race with sum",
    "two_contexts_on_two_streams": "",
    "output_overlaps_an_input": "sum: z and x overlap, and at least one is an output",
    "tensor_outside_an_allocation": "sum: y of 512 bytes at .* is not within one allocation",
    "freed_tensor": "sum: y was freed",
    "uninitialised_input": "",
    "not_simulated": "TensorRT: not simulated: getNbLayers",
    "invalid_calls": "",
    "captures_need_an_earlier_run": "",
    "change_of_the_profile": "",
    "plans_that_cannot_be_loaded": "",
    "engine_in_another_context": "sum: profile: the context's internal memory is memory of another context",
    "engine_loaded_in_another_context": "sum: the engine's weights is memory of another context",
    "another_major_version": "",
}
RTX_ENGINES = {
    "sums": "",
    "captures_with_eager_compilation": "",
    "captures_with_lazy_compilation": "sum: a run during a capture, with kernels that are compiled lazily",
}
VERSIONS = {TENSORRT: ("tensorrt", "10.14.1.48"), RTX: ("tensorrt_rtx", "1.7.1.116")}


FLAGS = ["-O0", "-pthread", "-Wall", "-Wextra", "-Werror", "-Wl,--no-as-needed"]
ROOM = NATIVE / "fake_engines"
WITH_TENSORRT = sorted(ROOM.glob("engine*.cpp"))
WITHOUT_TENSORRT = sorted({*ROOM.glob("*.cpp")} - {*WITH_TENSORRT})


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiles the scenarios without TensorRT."""
    folder = libcuda_folder(tmp_path_factory)

    def make(path: Path) -> None:
        linked = [f"-L{folder}", "-l:libcuda.so.1", f"-Wl,-rpath,{folder}"]
        compile_native(WITHOUT_TENSORRT, path, [*FLAGS, f"-I{NATIVE / 'fake_libcuda'}", *linked])

    return made_once(tmp_path_factory, "fake_engines_cuda", make)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the scenarios and a plan for each library, of the library's name."""
    libraries = engines_folder(tmp_path_factory)

    def make(folder: Path) -> None:
        folder.mkdir()
        for library, (name, version) in VERSIONS.items():
            headers = tensorrt_headers() if library == TENSORRT else libraries / "include"
            assert headers is not None
            linked = [f"-L{libraries}", "-l:libcuda.so.1", f"-l:{library}", f"-Wl,-rpath,{libraries}"]
            sources = [ROOM / "main.cpp", *WITH_TENSORRT]
            compile_native(sources, folder / name, [*FLAGS, *include_flags(headers), *linked])
            write_plan(folder / f"{name}.plan", library, version)

    return made_once(tmp_path_factory, "fake_engines_programs", make)


def write_plan(path: Path, library: str, version: str, dtype: str = "float32") -> None:
    driver = FakeDriver(capability=(8, 6))
    with driver.use(0):
        module = tensorrt_module(driver, VERSIONS[library][0], version)
        path.write_bytes(build(module, sum_model(path.parent, dtype)))


def execute(program: Path, *scenario: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "LATENTLOOP_ONNXRUNTIME": str(onnxruntime_library()),
        "LATENTLOOP_TEST_PLAN": str(program.with_suffix(".plan")),
        **environment,
    }
    command = [str(program), *scenario]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)


def run(program: Path, *scenario: str, **environment: str) -> str:
    """Runs a scenario, and returns the violation or ""; without a scenario, the names of all."""
    done = execute(program, *scenario, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def check(violation: str, expected: str) -> None:
    assert violation == "" if expected == "" else re.search(expected, violation), violation


@pytest.mark.parametrize("scenario", RULES)
def test_rules(scenario: str, program: Path) -> None:
    for seed in range(3):  # of the order of pending work
        check(run(program, scenario, LATENTLOOP_TEST_SEED=str(seed)), RULES[scenario])


@pytest.mark.parametrize("scenario", ENGINES)
def test_rules_of_engines(scenario: str, programs: Path) -> None:
    check(run(programs / "tensorrt", scenario), ENGINES[scenario])


@pytest.mark.parametrize("scenario", RTX_ENGINES)
def test_rules_of_tensorrt_for_rtx(scenario: str, programs: Path) -> None:
    check(run(programs / "tensorrt_rtx", scenario), RTX_ENGINES[scenario])


def test_all_scenarios_without_tensorrt_are_tested(program: Path) -> None:
    assert set(run(program).split()) == {*RULES, "two_devices"}


def test_all_scenarios_with_tensorrt_are_tested(programs: Path) -> None:
    assert set(run(programs / "tensorrt_rtx").split()) == {*ENGINES, *RTX_ENGINES, "bfloat16"}


def test_two_devices(program: Path) -> None:
    variables = {"LATENTLOOP_TEST_DEVICES": "2", "LATENTLOOP_TEST_CAPABILITY": "9.0"}
    assert run(program, "two_devices", **variables) == "cuMemsetD8Async: the target is on device 0, current is 1"


@pytest.mark.parametrize("operator", ["Add", "Cast"])  # ONNX Runtime has only the second for bfloat16
def test_bfloat16_is_refused(operator: str, programs: Path, tmp_path: Path) -> None:
    library, version = VERSIONS[TENSORRT]
    if operator == "Add":
        write_plan(tmp_path / "plan", TENSORRT, version, "bfloat16")
    else:
        x = helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [WIDTH])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [WIDTH])
        node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
        graph = helper.make_graph([node], "cast", [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        plan = Plan(library, version, "cast", ["sm86"], [], [], model.SerializeToString())
        (tmp_path / "plan").write_bytes(plan.to_bytes())
    assert run(programs / "tensorrt", "bfloat16", LATENTLOOP_TEST_PLAN=str(tmp_path / "plan")) == ""


@pytest.mark.parametrize(
    ("planned", "error"), [("cuMemAllocAsync:1:2", "cuMemAllocAsync.* is 2, expected 0"), ("cuMemAllocAsync:2:2", "")]
)
def test_failures_planned_by_the_environment(planned: str, error: str, program: Path) -> None:
    variables = {"LATENTLOOP_TEST_FAILURES": f"cuMemHostAlloc:9:1,{planned}"}
    done = execute(program, "two_streams_read", **variables)
    assert re.search(error, done.stderr)
    assert done.returncode == bool(error)


def test_another_version(programs: Path, tmp_path: Path) -> None:
    """A library of another build runs its own plans, and refuses those of this build."""
    other = {"LATENTLOOP_TEST_TENSORRT_VERSION": "10.15.1.7"}
    write_plan(tmp_path / "plan", TENSORRT, "10.15.1.7")
    assert run(programs / "tensorrt", "sums", LATENTLOOP_TEST_PLAN=str(tmp_path / "plan"), **other) == ""
    done = execute(programs / "tensorrt", "sums", **other)
    assert "Version tag does not match: 10.14.1.48, expected 10.15.1.7" in done.stderr
