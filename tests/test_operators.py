"""The native operators: their kernels by a program of their own, the ABI they rely on, and how they refuse a graph."""

from __future__ import annotations

import ast
import gc
import os
import platform
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from mutants import replace_once
from onnx import TensorProto, helper, numpy_helper
from random_models import LIBRARY

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "kernels"
PROGRAM = ROOT / "tests" / "native" / "kernels_test.cpp"
JOBS = 2  # compilers at once
X86 = platform.machine() in ("x86_64", "AMD64")
AVX2 = ["-mavx2", "-mfma"]
# Working memory on the stack starts out as noise, so that sums which nobody set to zero show.
NOISE = ["-ftrivial-auto-var-init=pattern"]
SANITIZERS = ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

Array = np.ndarray[Any, np.dtype[Any]]


def build_setting(name: str) -> Any:
    """What setup.py assigns to that name."""
    for statement in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == [name]:
            return ast.literal_eval(statement.value)
    raise AssertionError(f"setup.py: no {name}")


def processor_has(flags: Iterable[str]) -> bool:
    """Whether this processor runs what is compiled with those -m flags."""
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return not flags
    return all(flag.removeprefix("-m") in described for flag in flags)


# ---- The kernels, by tests/native/kernels_test.cpp.


@dataclass(frozen=True)
class Compiler:
    """The compiler that setup.py uses."""

    command: list[str]
    folder: Path

    def run(self, *arguments: str | Path) -> None:
        done = subprocess.run([*self.command, *map(str, arguments)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def program(self, name: str, flags: list[str], kernels: Path = KERNELS) -> Path:
        """The test program without the kernels."""
        out = self.folder / f"{name}.o"
        define = "-DLATENTLOOP_KERNELS=kernels_tested"
        self.run("-std=c++17", *flags, f"-I{kernels}", define, "-c", PROGRAM, "-o", out)
        return out

    def kernels(self, name: str, size: int, flags: list[str], kernels: Path = KERNELS) -> Path:
        """The kernels for vectors of ``size`` bytes."""
        out = self.folder / f"{name}.o"
        defines = [f"-DLATENTLOOP_VECTOR_BYTES={size}", "-DLATENTLOOP_KERNELS=kernels_tested"]
        source = kernels / "instruction_set.cpp"
        self.run("-std=c++17", *flags, *defines, f'-DLATENTLOOP_NAME="{name}"', "-c", source, "-o", out)
        return out

    def link(self, name: str, objects: Iterable[Path], flags: Iterable[str] = ()) -> Path:
        out = self.folder / name
        self.run(*flags, *objects, "-o", out, "-pthread")
        return out


def run_program(program: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *tests], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    command = shlex.split(sysconfig.get_config_var("CXX") or "g++")[:1]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no compiler {command[0]}")
    return Compiler(command, tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def jobs() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(JOBS) as pool:
        yield pool


# Vectors of 64 bytes without AVX-512: the compiler splits them, so wide panels are tested on every processor.
WIDTHS = {16: [], 32: AVX2 if X86 else [], 64: ["-Wno-psabi"]}


@pytest.fixture(scope="module")
def sanitized(compiler: Compiler, jobs: ThreadPoolExecutor) -> dict[int, Future[Path]]:
    """The test program (at 0), and the kernels for every width, all being compiled with sanitizers."""
    probe = compiler.folder / "probe.cpp"
    probe.write_text("int main() {}\n")
    try:
        compiler.run(*SANITIZERS, *NOISE, probe, "-o", compiler.folder / "probe")
    except AssertionError as error:
        pytest.skip(f"the compiler has no sanitizers: {error}")
    assert run_program(compiler.folder / "probe").returncode == 0
    compiled = {0: jobs.submit(compiler.program, "sanitized", SANITIZERS)}
    for size, flags in WIDTHS.items():
        name = f"sanitized-{size}"
        compiled[size] = jobs.submit(compiler.kernels, name, size, [*SANITIZERS, *NOISE, *flags])
    return compiled


@pytest.mark.slow
@pytest.mark.parametrize("size", WIDTHS)
def test_kernels_equal_plain_loops(size: int, compiler: Compiler, sanitized: dict[int, Future[Path]]) -> None:
    if not processor_has(flag for flag in WIDTHS[size] if flag.startswith("-m")):
        pytest.skip("this processor has no AVX2")
    program = compiler.link(f"test-{size}", [sanitized[0].result(), sanitized[size].result()], SANITIZERS)
    done = run_program(program)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def plain_program(compiler: Compiler, jobs: ThreadPoolExecutor) -> Future[Path]:
    return jobs.submit(compiler.program, "plain", ["-O1"])


BUILT = {name: (size, flags) for name, size, flags in build_setting("PORTABLE") + build_setting("X86") * X86}


@pytest.fixture(scope="module")
def as_built(compiler: Compiler, jobs: ThreadPoolExecutor) -> dict[str, Future[Path]]:
    """The kernels of every instruction set, being compiled with the flags of setup.py; warnings are errors."""
    compiled = {}
    for name, (size, flags) in BUILT.items():
        # GCC 12's own AVX-512 headers use values that were never set.
        known = ["-Wno-error=uninitialized", "-Wno-error=maybe-uninitialized"] if name == "avx512" else []
        all_flags = [*build_setting("FLAGS"), "-Werror", *known, *flags]
        compiled[name] = jobs.submit(compiler.kernels, name, size, all_flags)
    return compiled


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
def test_kernels_as_built(
    name: str, compiler: Compiler, plain_program: Future[Path], as_built: dict[str, Future[Path]]
) -> None:
    """Optimised: more is fused and reordered than where the sanitizers look."""
    kernels = as_built[name].result()
    if not processor_has(BUILT[name][1]):
        pytest.skip(f"compiled, but this processor has no {name}")
    done = run_program(compiler.link(f"test-{name}", [plain_program.result(), kernels]))
    assert done.returncode == 0, done.stdout


@dataclass(frozen=True)
class Mutant:
    """A fault, and which test of the program must find it."""

    fault: str
    test: str
    file: str
    text: str
    replacement: str


MUTANTS = [
    Mutant("a tap is dropped", "left", "causal_conv/left.h", "tap < t.taps;", "tap + 1 < t.taps;"),
    Mutant("sums start anywhere", "left", "causal_conv/left.h", "++s) sums[s] = 0;", "++s) (void)sums[s];"),
    Mutant("the tail is short", "left", "causal_conv/left.h", "v < width; ++v) out", "v + 1 < width; ++v) out"),
    Mutant("no scale", "left", "causal_conv/left.h", "if (t.weights.bytes != 4) scale", "if (false) scale"),
    Mutant("ELU without the 1", "left", "gemm/vector.h", "(x > zero ? zero : x) - 1.0f;", "(x > zero ? zero : x);"),
    Mutant("all parts read the first", "left", "gemm/tile.h", "x[begin + m] + first;", "x[begin + m];"),
    Mutant(
        "weights are cut off",
        "left",
        "gemm/packing.h",
        "std::nearbyint(value[o] * inverse[o])",
        "value[o] * inverse[o]",
    ),
    Mutant("a sign", "above", "causal_conv/packing.h", "{3, 2, 1, -1, 1, -1}", "{3, 2, 1, -1, 1, 1}"),
    Mutant(
        "a column less",
        "above",
        "causal_conv/above.h",
        "const int columns = t.width",
        "const int columns = -1 + t.width",
    ),
    Mutant("groups share sums", "above", "causal_conv/above.h", "if (is_both) clear(", "if (is_both && g == 2) clear("),
    Mutant("an entry that is not seen", "attention", "blocks/attention.h", "t.mask[entry] >= 0", "entry > 0"),
    Mutant("the void entry's keys", "attention", "blocks/attention.h", "t.keys + entry *", "t.keys + (entry - 1) *"),
    Mutant(
        "the void entry's values", "attention", "blocks/attention.h", "t.values + entry *", "t.values + (entry - 1) *"
    ),
    Mutant(
        "the first label for all",
        "attention",
        "blocks/dense.h",
        "p.label[static_cast<size_t>(first + r)",
        "p.label[static_cast<size_t>(first)",
    ),
    Mutant("nothing from above", "mix", "blocks/mix.h", "+ above[c];", "+ 0 * above[c];"),
    Mutant("one temperature for all", "draw", "blocks/draw.h", "t.temperature[first + r]", "t.temperature[first]"),
    *(
        Mutant(fault, "nearest", f"nearest_codebook/{file}", text, replacement)
        for fault, file, text, replacement in (
            (
                "scores start at 0",
                "cpu/search.h",
                "score[m][v] = load(half_norms + v * kLanes);",
                "score[m][v] = Floats{};",
            ),
            ("the last of equal scores", "cpu/search.h", "score[m][v] > best;", "score[m][v] >= best;"),
            ("any of the equal lanes", "cpu/search.h", "index[lane] < index[best]", "index[lane] > index[best]"),
            (
                "a panel less",
                "cpu/search.h",
                "p < panels(t.codewords); ++p, panel",
                "p + 1 < panels(t.codewords); ++p, panel",
            ),
            ("bfloat16 taken for exact", "cpu/coarse.h", "z * e / 256", "0"),
            ("the last panel is not read", "cpu/coarse.h", "for (; p < all; ++p)", "for (; p + 1 < all; ++p)"),
            ("vectors that are not finite", "cpu/search.h", "norm[v] < __builtin_inff();", "norm[v] == norm[v];"),
            (
                "images share their positions",
                "cpu/search.h",
                "image * t.dimensions * t.positions",
                "image * t.positions",
            ),
            (
                "norms off by a unit in the last place",
                "cpu/codebook.h",
                "static_cast<float>(-squares / 2)",
                "std::nextafter(static_cast<float>(-squares / 2), 0.0f)",
            ),
            ("halves of the distance", "cpu/search.h", "sum += difference * difference;", "sum += difference;"),
            ("a codeword of the next lane", "cpu/search.h", "panel + index % kPanel", "panel + (index + 1) % kPanel"),
        )
    ),
]


@pytest.mark.slow
def test_kernels_that_are_wrong_are_found(
    compiler: Compiler, jobs: ThreadPoolExecutor, plain_program: Future[Path], tmp_path: Path
) -> None:
    plain = plain_program.result()
    size, flags = (32, AVX2) if X86 and processor_has(AVX2) else (16, [])

    def survives(index: int, mutant: Mutant) -> str | None:
        folder = tmp_path / str(index)
        shutil.copytree(KERNELS, folder, ignore=shutil.ignore_patterns("*.py", "*.so", "__pycache__"))
        replace_once(folder / mutant.file, mutant.text, mutant.replacement)
        own = Compiler(compiler.command, folder)
        # Packing is compiled into the program.
        in_program = mutant.file.endswith(("packing.h", "codebook.h"))
        program = own.program("program", ["-O0"], folder) if in_program else plain
        kernels = own.kernels("kernels", size, ["-O0", "-w", *NOISE, *flags], folder)
        done = run_program(own.link("test", [program, kernels]), mutant.test)
        found = done.returncode == 1 and done.stdout.startswith(f"{mutant.test}: ")
        return None if found else f"status {done.returncode}: {done.stdout}"

    running = {mutant.fault: jobs.submit(survives, index, mutant) for index, mutant in enumerate(MUTANTS)}
    survivors = {fault: found for fault, done in running.items() if (found := done.result()) is not None}
    assert not survivors


# ---- The ABI.


def test_abi_is_that_of_the_official_header(compiler: Compiler, tmp_path: Path) -> None:
    include = os.environ.get("ONNXRUNTIME_INCLUDE")
    if not include:
        pytest.skip("ONNXRUNTIME_INCLUDE names no folder with onnxruntime_c_api.h")
    ours = (KERNELS / "onnxruntime_abi.h").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", (Path(include) / "onnxruntime_c_api.h").read_text(encoding="utf-8")))
    official = {word.replace("_", "").lower(): word for word in words if "_" in word}  # KernelContext_GetInput
    positions = re.findall(r"using (\w+) = Function<(\d+),", ours)
    table = re.search(r"struct OrtCustomOp \{(.*?)\n\};", ours, re.DOTALL)
    assert table is not None
    fields = ["version", *re.findall(r"\(\*(\w+)\)\(", table[1])]
    assert len(positions) == ours.count("= Function<")
    assert len(fields) == len(table[1].strip().splitlines())

    # The two headers give the same names to different things, so each is compiled by itself.
    entries = [
        f"static_assert(offsetof(OrtApi, {official.get(name.lower(), name)}) == {position} * sizeof(void*));"
        for name, position in positions
    ]
    custom = [f"static_assert(offsetof(OrtCustomOp, {name}) == {i} * sizeof(void*));" for i, name in enumerate(fields)]
    enumerators = {
        "kFloat": "ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT",
        "kFloat16": "ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16",
        "kUint8": "ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8",
        "kInt8": "ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8",
        "kInt64": "ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64",
        "kRequired": "INPUT_OUTPUT_REQUIRED",
        "kOptional": "INPUT_OUTPUT_OPTIONAL",
        "kVariadic": "INPUT_OUTPUT_VARIADIC",
        "kFail": "ORT_FAIL",
        "kInvalidArgument": "ORT_INVALID_ARGUMENT",
    }
    enumerated = dict(re.findall(r"\b(k\w+) = (\d+)", ours))
    assert enumerated.keys() == enumerators.keys()
    numbers = [f"static_assert({enumerators[name]} == {value});" for name, value in enumerated.items()]
    version = re.search(r"kApiVersion\{(\d+)\}", ours)
    assert version is not None
    numbers.append(f"static_assert({version[1]} <= ORT_API_VERSION);")
    base = ["static_assert(offsetof(OrtApiBase, GetApi) == 0);"]
    for name, header, lines in (
        ("official", f"{include}/onnxruntime_c_api.h", [*entries, *custom, *base, *numbers]),
        ("ours", f"{KERNELS}/onnxruntime_abi.h", [*custom, *base]),
    ):
        source = tmp_path / f"{name}.cpp"
        source.write_text("\n".join(["#include <cstddef>", f'#include "{header}"', *lines, ""]), encoding="utf-8")
        compiler.run("-std=c++17", "-fsyntax-only", source)


# ---- The operators in ONNX Runtime.

needs_library = pytest.mark.skipif(LIBRARY is None, reason="no library built")
RNG = np.random.default_rng(0)


def values(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Node:
    """One operator's inputs by name, those of them that are constants, and its attributes."""

    inputs: dict[str, Array]
    constants: frozenset[str]
    attributes: dict[str, int]
    outputs: tuple[int, ...] = (TensorProto.FLOAT,)

    def session(self, kind: str) -> onnxruntime.InferenceSession:
        typed = {name: (helper.np_dtype_to_tensor_dtype(of.dtype), of.shape) for name, of in self.inputs.items()}
        outputs = [helper.make_tensor_value_info(f"out.{i}", of, None) for i, of in enumerate(self.outputs)]
        given: dict[str, Any] = {"domain": "latentloop", **self.attributes}
        node = helper.make_node(kind, list(self.inputs), [of.name for of in outputs], **given)
        graph = helper.make_graph(
            [node],
            "graph",
            [helper.make_tensor_value_info(name, *typed[name]) for name in typed if name not in self.constants],
            outputs,
            [numpy_helper.from_array(self.inputs[name], name) for name in self.constants],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("latentloop", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 2
        options.register_custom_ops_library(str(LIBRARY))
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, session: onnxruntime.InferenceSession) -> list[Array]:
        given = {name: value for name, value in self.inputs.items() if name not in self.constants}
        found: list[Array] = session.run(None, given)
        return found


def attention(own: int = 0) -> Node:
    """Two samples, a block of one layer, 3 channels, 2 heads of 2, rows of 5 columns; the column after ``own``."""
    inputs = {
        "x": values(2, 3),
        "gated": values(own + 1, own + 1, 2, 3),
        "background": values(own + 1, 2, 2),
        "history_mask": np.array([-1e30, 0], np.float32).reshape(2, 1, 1, 1, 1),
        "keys": values(2, 2, 2, 2, 5),
        "values": values(2, 2, 2, 5, 2),
        "row_keys": values(5, 2, 4),
        "row_values": values(5, 2, 4),
        "column": np.array([[3]], np.float32),
    }
    if own:
        inputs |= {"own_keys": values(own, 2, 4), "own_values": values(own, 2, 4)}
    given = set(inputs)
    for part, width, other in (("key", 8, 0), ("query", 5, 0), ("out", 3, 4)):
        inputs |= {f"{part}.conv1": values(width, 6), f"{part}.conv1_bias": values(6)}
        if other:
            inputs[f"{part}.auxiliary"] = values(other, 6)
        inputs |= {f"{part}.conv2": values(6, 2 * width), f"{part}.conv2_bias": values(2 * width)}
    for part, width in (("query", 5), ("key", 8), ("value", 8)):
        inputs |= {f"{part}_map": values(width, 4), f"{part}_map_bias": values(4)}
    attributes = {"bits": 32, "column": own, "first_layer": own, "layers": 1, "labels": 0}
    return Node(inputs, frozenset(inputs.keys() - given), attributes, (TensorProto.FLOAT,) * 4)


LEFT = Node(
    {"x": values(3, 2, 1, 5), "above": values(2, 2, 1, 60), "weight": values(2, 2, 5, 60)},
    frozenset({"weight"}),
    {"bits": 32},
)
ROWS = {"row.0": values(7, 2, 1, 3), "row.1": values(7, 2, 1, 3)}
ABOVE = Node(
    {**ROWS, "bias": values(2, 4), "weight.0": values(18, 4), "weight.1": values(18, 4)},
    frozenset({"bias", "weight.0", "weight.1"}),
    {"bits": 32, "kernel": 3},
)
PAIRS = Node(
    {
        **{f"row.{row}": values(9, 1, 1, 3) for row in range(4)},
        "bias": values(1, 4),
        "partial": values(5, 1, 1, 4),
        "row": np.zeros(1, np.float32),
        "weight": values(60, 4),
    },
    frozenset({"bias", "weight"}),
    {"bits": 32, "kernel": 5},
    (TensorProto.FLOAT,) * 2,
)
MIX = Node(
    {
        "x": values(2, 4),
        "gated": values(1, 2, 2, 4),
        "mix_above": values(1, 2, 1, 4),
        "weight.0": values(4, 4),
        "weight.1": values(4, 4),
    },
    frozenset({"weight.0", "weight.1"}),
    {"bits": 32, "column": 0},
    (TensorProto.FLOAT,) * 2,
)
DRAW = Node(
    {
        "x": values(2, 4),
        "weight": values(4, 7),
        "bias": values(7),
        "uniform": np.zeros((1, 2), np.float32),
        "temperature": np.ones(2, np.float32),
        "forced": np.full((1, 2), -1, np.int64),
    },
    frozenset({"weight", "bias"}),
    {"bits": 32, "column": 0},
    (TensorProto.INT64, TensorProto.FLOAT),
)
NEAREST = Node(
    {"z": values(2, 5, 3), "codebook": values(7, 5)},
    frozenset({"codebook"}),
    {"channels_first": 1},
    (TensorProto.INT64,),
)
NODES = {
    "CausalLeftElu": LEFT,
    "CausalLeftGated": LEFT,
    "CausalAbove": ABOVE,
    "CausalAbovePairs": PAIRS,
    "MixChain": MIX,
    "AttentionBlock": attention(),
    "AttentionBlockAfter1": attention(1),
    "MixChainInplace": MIX,
    "AttentionBlockInplace": attention(),
    "AttentionBlockInplaceAfter1": attention(1),
    "DrawCode": DRAW,
    "NearestCodebook": NEAREST,
}


def refusal(kind: str, node: Node) -> str:
    """The text of the exception with which the operator refuses to be made, or to run."""
    with pytest.raises(Exception, match=f"{kind}: ") as caught:
        node.run(node.session(kind))
    return str(caught.value)


def with_inputs(node: Node, **inputs: Array) -> Node:
    return Node({**node.inputs, **inputs}, node.constants, node.attributes, node.outputs)


def with_attributes(node: Node, **attributes: int) -> Node:
    return Node(node.inputs, node.constants, {**node.attributes, **attributes}, node.outputs)


@needs_library
@pytest.mark.parametrize("kind", NODES)
def test_operators_run_alone(kind: str) -> None:
    node = NODES[kind]
    assert all(np.isfinite(out).all() for out in node.run(node.session(kind)))


@needs_library
@pytest.mark.parametrize("kind", NODES)
def test_weights_must_be_constant(kind: str) -> None:
    node = NODES[kind]
    for name in node.constants:
        known = node.constants - {name}
        index = list(node.inputs).index(name)
        message = refusal(kind, Node(node.inputs, known, node.attributes, node.outputs))
        assert f"input {index} must be a constant weight" in message


@needs_library
@pytest.mark.parametrize("kind", NODES)
def test_attributes_must_be_there(kind: str) -> None:
    node = NODES[kind]
    for name in node.attributes:
        rest = {key: value for key, value in node.attributes.items() if key != name}
        assert name in refusal(kind, Node(node.inputs, node.constants, rest, node.outputs)).partition(f"{kind}: ")[2]


@needs_library
@pytest.mark.parametrize(
    ("kind", "node", "reason"),
    [
        ("CausalLeftElu", with_attributes(LEFT, bits=16), "bits must be 8 or 32"),
        ("CausalAbove", with_attributes(ABOVE, kernel=4), "kernel must be odd, 3 to 31"),
        ("CausalAbovePairs", with_attributes(PAIRS, kernel=3), "pairs of rows need a kernel of 5"),
        ("MixChain", with_attributes(MIX, column=1), "gated has the shape [1, 2, 2, 4]"),
        ("DrawCode", with_attributes(DRAW, column=1), "uniform or forced has the shape [1, 2]"),
        ("AttentionBlock", with_attributes(attention(), first_layer=1), "gated has the shape [1, 1, 2, 3]"),
        ("AttentionBlock", with_attributes(attention(), labels=1), "found 28 inputs"),
        ("NearestCodebook", with_attributes(NEAREST, channels_first=2), "channels_first must be 0 or 1"),
    ],
)
def test_wrong_attributes_are_refused(kind: str, node: Node, reason: str) -> None:
    assert reason in refusal(kind, node)


@needs_library
@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("CausalLeftElu", {"weight": (2, 5, 60)}),
        ("CausalLeftElu", {"x": (3, 2, 1, 4)}),
        ("CausalLeftElu", {"x": (2, 2, 1, 5)}),
        ("CausalLeftElu", {"above": (2, 2, 1, 59)}),
        ("CausalLeftElu", {"above": (0, 2, 1, 60), "x": (1, 2, 1, 5)}),
        ("CausalLeftGated", {"weight": (2, 2, 5, 59)}),
        ("CausalLeftGated", {"x": (3, 2, 2, 5)}),
        ("CausalAbove", {"bias": (1, 4)}),
        ("CausalAbove", {"weight.1": (18, 5)}),
        ("CausalAbove", {"weight.1": (36, 4)}),
        ("CausalAbove", {"weight.0": (17, 4)}),
        ("CausalAbove", {"row.0": (2, 2, 1, 3), "row.1": (2, 2, 1, 3)}),
        ("CausalAbove", {"row.1": (8, 2, 1, 3)}),
        ("CausalAbovePairs", {"partial": (4, 1, 1, 4)}),
        ("CausalAbovePairs", {"row": (2,)}),
        ("MixChain", {"x": (2, 5)}),
        ("MixChain", {"gated": (1, 3, 2, 4)}),
        ("MixChain", {"mix_above": (1, 1, 1, 4)}),
        ("MixChain", {"weight.1": (4, 5)}),
        ("AttentionBlock", {"x": (2, 4)}),
        ("AttentionBlock", {"background": (1, 2, 3)}),
        ("AttentionBlock", {"history_mask": (2, 1, 1, 1)}),
        ("AttentionBlock", {"history_mask": (3, 1, 1, 1, 1)}),
        ("AttentionBlock", {"keys": (2, 2, 1, 2, 5)}),
        ("AttentionBlock", {"keys": (0, 2, 2, 2, 5)}),
        ("AttentionBlock", {"values": (1, 2, 2, 5, 2)}),
        ("AttentionBlock", {"row_keys": (6, 2, 4)}),
        ("AttentionBlock", {"row_values": (5, 1, 4)}),
        ("AttentionBlock", {"column": (1,)}),
        ("AttentionBlockAfter1", {"own_keys": (2, 2, 4)}),
        ("AttentionBlockAfter1", {"own_values": (1, 1, 4)}),
        ("AttentionBlock", {"key.conv2": (6, 15), "key.conv2_bias": (15,)}),
        ("DrawCode", {"x": (2, 5)}),
        ("DrawCode", {"weight": (4, 0), "bias": (0,)}),
        ("DrawCode", {"bias": (6,)}),
        ("DrawCode", {"temperature": (1,)}),
        ("DrawCode", {"uniform": (1, 3)}),
        ("NearestCodebook", {"z": (2, 3, 5)}),
        ("NearestCodebook", {"z": (5,)}),
        ("NearestCodebook", {"codebook": (0, 5)}),
        ("NearestCodebook", {"codebook": (7, 513)}),
        ("NearestCodebook", {"codebook": (5,)}),
    ],
)
def test_wrong_shapes_are_refused(kind: str, inputs: dict[str, tuple[int, ...]]) -> None:
    node = NODES[kind]
    changed = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
    message = refusal(kind, with_inputs(node, **changed))
    assert "has the shape [" in message


@needs_library
@pytest.mark.parametrize("column", [-1, 5, np.nan])
def test_a_column_outside_the_row_is_refused(column: float) -> None:
    node = with_inputs(attention(), column=np.array([[column]], np.float32))
    assert "AttentionBlock: column " in refusal("AttentionBlock", node)


@needs_library
@pytest.mark.parametrize(
    ("kind", "name"),
    [("MixChain", "column"), ("DrawCode", "column"), ("AttentionBlock", "column"), ("AttentionBlock", "first_layer")],
)
def test_negative_attributes_are_refused(kind: str, name: str) -> None:
    assert name in refusal(kind, with_attributes(NODES[kind], **{name: -1})).partition(f"{kind}: ")[2]


@needs_library
def test_sessions_share_weights_that_outlive_the_first() -> None:
    for kind, node in NODES.items():
        first, second = node.session(kind), node.session(kind)  # each registers the library
        expected = node.run(first)
        del first
        gc.collect()
        for found, once in zip(node.run(second), expected, strict=True):
            np.testing.assert_array_equal(found, once)


@needs_library
def test_the_instruction_set_is_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed weights are shared within a process: another set's kernels would read them as panels of another size."""
    first = LEFT.session("CausalLeftElu")
    monkeypatch.setenv("LATENTLOOP_INSTRUCTION_SET", "portable")
    second = LEFT.session("CausalLeftElu")
    np.testing.assert_allclose(LEFT.run(second)[0], LEFT.run(first)[0], rtol=1e-5, atol=1e-5)
