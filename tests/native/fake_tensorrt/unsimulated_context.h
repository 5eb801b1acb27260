// A context of which no function is simulated.
#ifndef LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_CONTEXT_H_
#define LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_CONTEXT_H_

#include <NvInferRuntime.h>

#include "not_simulated.h"

namespace fake_tensorrt {

using namespace nvinfer1;

class UnsimulatedContext : public apiv::VExecutionContext {
 public:
  NOT_SIMULATED(void, setDebugSync, (bool), )
  NOT_SIMULATED(bool, getDebugSync, (), const)
  NOT_SIMULATED(void, setProfiler, (IProfiler*), )
  NOT_SIMULATED(IProfiler*, getProfiler, (), const)
  NOT_SIMULATED(ICudaEngine const&, getEngine, (), const)
  NOT_SIMULATED(void, setName, (char const*), )
  NOT_SIMULATED(char const*, getName, (), const)
  NOT_SIMULATED(void, setDeviceMemory, (void*), )
  NOT_SIMULATED(int32_t, getOptimizationProfile, (), const)
  NOT_SIMULATED(bool, allInputDimensionsSpecified, (), const)
  NOT_SIMULATED(bool, allInputShapesSpecified, (), const)
  NOT_SIMULATED(void, setErrorRecorder, (IErrorRecorder*), )
  NOT_SIMULATED(IErrorRecorder*, getErrorRecorder, (), const)
  NOT_SIMULATED(bool, executeV2, (void* const*), )
  NOT_SIMULATED(bool, setOptimizationProfileAsync, (int32_t, cudaStream_t), )
  NOT_SIMULATED(void, setEnqueueEmitsProfile, (bool), )
  NOT_SIMULATED(bool, getEnqueueEmitsProfile, (), const)
  NOT_SIMULATED(bool, reportToProfiler, (), const)
  NOT_SIMULATED(bool, setInputShape, (char const*, Dims const&), )
  NOT_SIMULATED(Dims, getTensorShape, (char const*), const)
  NOT_SIMULATED(Dims, getTensorStrides, (char const*), const)
  NOT_SIMULATED(bool, setTensorAddress, (char const*, void*), )
  NOT_SIMULATED(void const*, getTensorAddress, (char const*), const)
  NOT_SIMULATED(bool, setInputTensorAddress, (char const*, void const*), )
  NOT_SIMULATED(bool, setOutputTensorAddress, (char const*, void*), )
  NOT_SIMULATED(int32_t, inferShapes, (int32_t, char const**), )
  NOT_SIMULATED(bool, setInputConsumedEvent, (cudaEvent_t), )
  NOT_SIMULATED(cudaEvent_t, getInputConsumedEvent, (), const)
  NOT_SIMULATED(void*, getOutputTensorAddress, (char const*), const)
  NOT_SIMULATED(bool, setOutputAllocator, (char const*, IOutputAllocator*), )
  NOT_SIMULATED(IOutputAllocator*, getOutputAllocator, (char const*), )
  NOT_SIMULATED(int64_t, getMaxOutputSize, (char const*), const)
  NOT_SIMULATED(bool, setTemporaryStorageAllocator, (IGpuAllocator*), )
  NOT_SIMULATED(IGpuAllocator*, getTemporaryStorageAllocator, (), const)
  NOT_SIMULATED(bool, enqueueV3, (cudaStream_t), )
  NOT_SIMULATED(void, setPersistentCacheLimit, (size_t), )
  NOT_SIMULATED(size_t, getPersistentCacheLimit, (), const)
  NOT_SIMULATED(bool, setNvtxVerbosity, (ProfilingVerbosity), )
  NOT_SIMULATED(ProfilingVerbosity, getNvtxVerbosity, (), const)
  NOT_SIMULATED(void, setAuxStreams, (cudaStream_t*, int32_t), )
  NOT_SIMULATED(bool, setDebugListener, (IDebugListener*), )
  NOT_SIMULATED(IDebugListener*, getDebugListener, (), )
  NOT_SIMULATED(bool, setTensorDebugState, (char const*, bool), )
  NOT_SIMULATED(bool, getDebugState, (char const*), const)
  NOT_SIMULATED(bool, setAllTensorsDebugState, (bool), )
  NOT_SIMULATED(size_t, updateDeviceMemorySizeForShapes, (), )
  NOT_SIMULATED(void, setDeviceMemoryV2, (void*, int64_t), )
  NOT_SIMULATED(IRuntimeConfig*, getRuntimeConfig, (), const)
  NOT_SIMULATED(bool, setUnfusedTensorsDebugState, (bool), )
  NOT_SIMULATED(bool, getUnfusedTensorsDebugState, (), const)
};

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_CONTEXT_H_
