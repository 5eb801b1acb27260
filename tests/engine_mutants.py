"""Faults to insert into liblatentloop with engines, one at a time, and the tests that detect them."""

from __future__ import annotations

from typing import NamedTuple

from mutants import Mutant

RACE = "nothing orders the two"
LEAK = "not everything is freed"
PIXELS = "std::all_of(decoded_.begin(), decoded_.end(), [](float pixel) { return std::isfinite(pixel); })"
ADDRESS = "if (!execution_->setTensorAddress(…))"
UNSET_ADDRESS = "if (execution_->getTensorAddress(name.c_str()) == nullptr && !execution_->setTensorAddress(…))"
LOOPS = "std::map<size_t, std::unique_ptr<DeviceLoop>> loops;"


class Detected(NamedTuple):
    """A mutant, and a part of the tests' output; "" if many things can go wrong, depending on the order of work."""

    mutant: Mutant
    reason: str


def found(fault: str, function: str, code: str, replacement: str, reason: str = "") -> Detected:
    return Detected(Mutant(fault, function, code, replacement), reason)


def omitted(fault: str, function: str, code: str, reason: str = "") -> Detected:
    """A statement is left out."""
    return found(fault, function, code, f"if (false) {code}", reason)


# Not here, because no program can see them: waits before the destruction of loops and streams whose work the end of
# every call has waited for already, and a profile for more batch sizes than the narrowest one.
LOOP = {  # by pytest's -k
    "samples_are_the_cpus and 1": [
        found("one capture for all phases", "enqueue_row", "replay(step_, phase", "replay(step_, 0"),
        found("one capture for all rows", "enqueue_row", 'replay("row", i', 'replay("row", 0'),
        omitted("no run before a capture", "replay", "enqueue(runs.front());", "when stream is capturing"),
        found("a capture takes the place of a run", "replay", "(run); });", "(run); }); return;"),
        found("codes of the previous row", "enqueue_row", "buffers_.view(…, i, 0)", "buffers_.view(…, i - 1, 0)"),
        found("random numbers of the first row", "enqueue_row", "uniform_.row(i)", "uniform_.row(0)"),
        omitted("a ring keeps rows of the previous image", "DeviceLoop::begin", "buffers_.clear_rings();"),
        omitted("buffers without a fill", "DeviceStateBuffers::DeviceStateBuffers", "stream_.driver().fill(…);"),
        omitted("upper codes that are not copied", "DeviceLoop::begin", "buffers_.copy(*buffer, *upper);"),
        found("upper codes from the host, not drawn", "GpuBackend::draw", "upper = &loop.codes()", "upper = nullptr"),
        omitted("no condition", "DeviceLoop::begin", 'enqueue(prepare("condition", 0, 0));'),
        found(
            "inputs that are not aligned", "prepare", "if (view.is_aligned()) continue;", "continue;", "must be aligned"
        ),
        omitted("inputs that are not copied", "prepare", "run.copies_before.emplace_back(bound, view);"),
        omitted("outputs that are not copied", "prepare", "run.copies_after.emplace_back(view, bound);"),
        found("outputs that overlap an input", "prepare", "&& !overlaps", "", "overlap, and at least one"),
        found("outputs copied before the run", "DeviceLoop::enqueue", "run.copies_before", "run.copies_after"),
        omitted("labels of the previous batch", "send_constants", "staging.copy_in(*labels, inputs.labels);"),
        omitted("no wait for codes", "GpuBackend::draw", "work_->stream.synchronize();"),
        found("images of a batch are not waited for", "sample.finish", "wait();", "finished = drawn;"),
        omitted("no wait for images", "CodecRun::wait", "end_->synchronize();"),
        found("runs on the default stream", "Execution::enqueue", "enqueueV3(…)", "enqueueV3(nullptr)", RACE),
        found("no shapes", "Execution::enqueue", "input->second != tensor.shape", "false", "is not specified"),
        found("addresses of the first run", "Execution::enqueue", ADDRESS, UNSET_ADDRESS),
        omitted("engines outlive the runtime", "TensorRtEngines::~TensorRtEngines", "loaded_.clear();", "before its"),
        found(
            "a stream that ends before its loops",
            "Work",
            f"const cuda::Stream stream; … {LOOPS}",
            f"{LOOPS} const cuda::Stream stream; …",
            "stream was destroyed",
        ),
        found("memory of the GPU that leaks", "DeviceMemory", "driver_.free.status(…);", "", LEAK),
        found("events that leak", "Event::~Event", "driver_.destroy_event.status(…);", "", LEAK),
        found(
            "executables that leak", "CapturedGraph::~CapturedGraph", "driver_.destroy_executable.status(…);", "", LEAK
        ),
        found("graphs that leak", "CapturedGraph::finish", "driver_.destroy_graph.status(graph);", "", LEAK),
        found("page-locked memory that leaks", "PageLocked", "driver_.free_host.status(data_);", "", LEAK),
        found("streams that leak", "Stream::~Stream", "driver_.destroy_stream.status(handle_);", "", LEAK),
    ],
    "samples_are_the_cpus and 2": [
        found("the first profile", "narrowest_profile", "best - profiles.data()", "0", "Valid range for profile 0"),
    ],
    "settings_and_batch_sizes": [
        omitted("no codes are kept", "enqueue_row", 'buffers_.copy(buffers_["forced"], …);'),
        found("captures of steps without filters", "enqueue_row", "replay(step_", 'replay("step"'),
        found("the loop of another batch size", "GpuBackend::begin", "!loop || …)", "!loop)"),
    ],
    "encoder_decoder_likelihood": [
        omitted("rows that are not waited for", "GpuBackend::rows", "enqueued.end->synchronize();"),
        found("the codec of another batch size", "DeviceCodec::prepare", "each->batch == n", "n > 0"),
    ],
}
CALLS = {
    "progress_and_cancelling": [
        omitted("a row that is reported too early", "enqueue_level", "previous->synchronize();", "assert"),
        omitted("a cancelled run's batch that is not counted", "sample", "wait(); } catch (const Error&)", "== 1"),
    ],
    "cancelled_run_ends": [omitted("cancelled after the level", "enqueue_level", "callbacks.check();", "assert")],
    "host_waits_once": [
        found("a capture for every row", "replay", "if (!captured)", "", "cuGraphInstantiate"),
        found("copies from the caller's memory", "Staging::copy_in", "send(tensor, prepared)", "send(tensor, values)"),
        omitted("buffers are not returned", "GpuBackend::draw", "staging.release();", "cuEventSynchronize"),
        omitted("buffers of codecs are not returned", "CodecRun::wait", "staging_.release();", "cuEventSynchronize"),
    ],
    "decoded_while_the_next": [
        found(
            "images are waited for at once",
            "sample",
            "decoding = decode_batch(…);",
            "{ decoding = decode_batch(…); decoding->wait(); }",
            "assert",
        ),
    ],
    "samplers_share": [found("engines of its own", "LoadedEngines::get", "kept.lock()", "nullptr", "== 7")],
    "engines_of_two": [
        found("engines of another context", "LoadedEngines::get", "context->handle()", "nullptr"),
    ],
    "works_again": [
        omitted("values are freed before their copy", "Staging::~Staging", "stream_.synchronize_quietly();"),
        found("captures that go on after a failure", "CapturedGraph::abandon", "if (…)", "if (false)"),
        omitted("loops that are kept after a failure", "with_loops", "forget_loops(); throw; } catch (...)"),
    ],
    "other_bindings": [omitted("bindings are not compared", "TensorRtEngines::engine", "check_bindings(file, *made);")],
    "finite": [
        omitted("codes that are not checked", "GpuBackend::draw", "check_drawn(…);"),
        found("pixels that are not checked", "wait", f"!{PIXELS}", "false"),
    ],
}
STREAMS = {
    "arrays_on_the_gpu and 0": [
        omitted(
            "the caller's work is not waited for",
            "DeviceCodec::run",
            "cuda::Event(stream_.driver(), callers).delay(…);",
            RACE,
        ),
        omitted("the caller does not wait", "DeviceCodec::run", "run->end_->delay(callers);", RACE),
        found("the host waits for decoded images", "GpuBackend::decode", "waits = …;", "waits = true;"),
        found("the host waits for codes", "GpuBackend::encode", "if (on_host(input) || …)", ""),
    ],
    "arrays_on_the_gpu and 8": [
        omitted("arrays that are not copied", "DeviceCodec::enqueue", "driver.copy(own.pointer, …);"),
        omitted("results that are not copied", "DeviceCodec::enqueue", "copies.emplace_back(theirs, own);"),
    ],
    "samples_into_memory and 2": [
        found(
            "more images than wanted",
            "DeviceCodec::enqueue",
            "theirs.is_aligned() && output.count == prepared.batch",
            "theirs.is_aligned()",
        ),
        omitted(
            "a copy before the caller's work", "GpuBackend::copy", "cuda::Event(driver, callers_).delay(stream);", RACE
        ),
        omitted("a copy that is not waited for", "GpuBackend::copy", "work_->stream.synchronize();"),
        found("codes of every batch at the start", "sample", "output.codes[l] + …,", "output.codes[l],"),
        found("images of the padding", "decode_batch", "batch.n", "batch.size"),
        found("codes of the first sample", "HostArray", "array_ + first, copied_", "array_, copied_"),
    ],
    "likelihood_and_classes": [
        found("codes on the GPU are not checked", "check_range", "&& !also_on_gpu", "", "Regex pattern did not match"),
    ],
    "other_sizes": [
        omitted("a codec that ends during its run", "DeviceCodec::prepare", "stream_.synchronize();"),
        found("the sampler ends during a run", "DeviceCodec", "{ stream_.synchronize_quietly(); }", "{}"),
    ],
    "callers_context": [
        found("our context during callbacks", "Suspended::Suspended", "driver_.pop_context(…);", ""),
        found("the callback's context is kept", "Suspended::~Suspended", "driver_.push_context.status(context_);", ""),
        found(
            "always the primary context", "GpuContext::GpuContext", "handle_ != nullptr && current", "false && current"
        ),
        omitted("arrays of another context", "GpuBackend::array", "check_callers_stream();"),
        found("a stream of another context", "set_stream", "of_stream != context_->handle()", "false"),
        found("a context that is not made current", "Current::Current", "driver_.push_context(…);", ""),
    ],
    "primary_one": [
        found("our context stays current", "Current::~Current", "driver_.pop_context.status(…);", ""),
        found("a primary context is kept", "GpuContext::~GpuContext", "if (is_primary_)", "if (false)", LEAK),
    ],
    "program or capture_mode": [
        found(
            "a capture for the whole program",
            "CapturedGraph::begin",
            "status(stream, kCaptureThreadLocal)",
            "status(stream, 0)",
        ),
        found("captures of others end", "Current::Current", "driver_.exchange_capture_mode.status(…);", ""),
        found(
            "another mode of the caller's thread", "Current::~Current", "driver_.exchange_capture_mode.status(…);", ""
        ),
    ],
}
EAGER = {  # on a GPU that works as soon as it can
    "encoder_decoder_likelihood": [
        found("copies of rows share memory", "GpuBackend::rows", "Enqueued next{", "copies->release(); Enqueued next{"),
    ],
}
VERSIONS = [  # by a library of another version
    found("a version that is not compared", "TensorRt::load_from", "if (!is_compatible(major, minor))", "if (false)"),
    found("an earlier minor version", "is_compatible", "minor >= NV_TENSORRT_MINOR", "true"),
]
MUTANTS: dict[str, list[Detected]] = {**LOOP, **CALLS, **STREAMS}
