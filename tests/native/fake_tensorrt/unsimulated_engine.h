// A engine of which no function is simulated.
#ifndef LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_ENGINE_H_
#define LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_ENGINE_H_

#include <NvInferRuntime.h>

#include "not_simulated.h"

namespace fake_tensorrt {

using namespace nvinfer1;

class UnsimulatedEngine : public apiv::VCudaEngine {
 public:
  NOT_SIMULATED(int32_t, getNbLayers, (), const)
  NOT_SIMULATED(IHostMemory*, serialize, (), const)
  NOT_SIMULATED(IExecutionContext*, createExecutionContext, (ExecutionContextAllocationStrategy), )
  NOT_SIMULATED(IExecutionContext*, createExecutionContextWithoutDeviceMemory, (), )
  NOT_SIMULATED(size_t, getDeviceMemorySize, (), const)
  NOT_SIMULATED(bool, isRefittable, (), const)
  NOT_SIMULATED(char const*, getName, (), const)
  NOT_SIMULATED(int32_t, getNbOptimizationProfiles, (), const)
  NOT_SIMULATED(int32_t const*, getProfileTensorValues, (char const*, int32_t, OptProfileSelector), const)
  NOT_SIMULATED(EngineCapability, getEngineCapability, (), const)
  NOT_SIMULATED(void, setErrorRecorder, (IErrorRecorder*), )
  NOT_SIMULATED(IErrorRecorder*, getErrorRecorder, (), const)
  NOT_SIMULATED(bool, hasImplicitBatchDimension, (), const)
  NOT_SIMULATED(TacticSources, getTacticSources, (), const)
  NOT_SIMULATED(ProfilingVerbosity, getProfilingVerbosity, (), const)
  NOT_SIMULATED(IEngineInspector*, createEngineInspector, (), const)
  NOT_SIMULATED(Dims, getTensorShape, (char const*), const)
  NOT_SIMULATED(DataType, getTensorDataType, (char const*), const)
  NOT_SIMULATED(TensorLocation, getTensorLocation, (char const*), const)
  NOT_SIMULATED(bool, isShapeInferenceIO, (char const*), const)
  NOT_SIMULATED(TensorIOMode, getTensorIOMode, (char const*), const)
  NOT_SIMULATED(int32_t, getTensorBytesPerComponent, (char const*), const)
  NOT_SIMULATED(int32_t, getTensorComponentsPerElement, (char const*), const)
  NOT_SIMULATED(TensorFormat, getTensorFormat, (char const*), const)
  NOT_SIMULATED(char const*, getTensorFormatDesc, (char const*), const)
  NOT_SIMULATED(int32_t, getTensorVectorizedDim, (char const*), const)
  NOT_SIMULATED(Dims, getProfileShape, (char const*, int32_t, OptProfileSelector), const)
  NOT_SIMULATED(int32_t, getNbIOTensors, (), const)
  NOT_SIMULATED(char const*, getIOTensorName, (int32_t), const)
  NOT_SIMULATED(HardwareCompatibilityLevel, getHardwareCompatibilityLevel, (), const)
  NOT_SIMULATED(int32_t, getNbAuxStreams, (), const)
  NOT_SIMULATED(int32_t, getTensorBytesPerComponentV2, (char const*, int32_t), const)
  NOT_SIMULATED(int32_t, getTensorComponentsPerElementV2, (char const*, int32_t), const)
  NOT_SIMULATED(TensorFormat, getTensorFormatV2, (char const*, int32_t), const)
  NOT_SIMULATED(char const*, getTensorFormatDescV2, (char const*, int32_t), const)
  NOT_SIMULATED(int32_t, getTensorVectorizedDimV2, (char const*, int32_t), const)
  NOT_SIMULATED(ISerializationConfig*, createSerializationConfig, (), )
  NOT_SIMULATED(IHostMemory*, serializeWithConfig, (ISerializationConfig&), const)
  NOT_SIMULATED(size_t, getDeviceMemorySizeForProfile, (int32_t), const)
  NOT_SIMULATED(IRefitter*, createRefitter, (ILogger&), )
  NOT_SIMULATED(bool, setWeightStreamingBudget, (int64_t), )
  NOT_SIMULATED(int64_t, getWeightStreamingBudget, (), const)
  NOT_SIMULATED(int64_t, getMinimumWeightStreamingBudget, (), const)
  NOT_SIMULATED(int64_t, getStreamableWeightsSize, (), const)
  NOT_SIMULATED(bool, isDebugTensor, (char const*), const)
  NOT_SIMULATED(bool, setWeightStreamingBudgetV2, (int64_t), )
  NOT_SIMULATED(int64_t, getWeightStreamingBudgetV2, (), const)
  NOT_SIMULATED(int64_t, getWeightStreamingAutomaticBudget, (), const)
  NOT_SIMULATED(int64_t, getWeightStreamingScratchMemorySize, (), const)
  NOT_SIMULATED(int64_t, getDeviceMemorySizeV2, (), const)
  NOT_SIMULATED(int64_t, getDeviceMemorySizeForProfileV2, (int32_t), const)
  NOT_SIMULATED(int64_t const*, getProfileTensorValuesV2, (char const*, int32_t, OptProfileSelector), const)
  NOT_SIMULATED(IExecutionContext*, createExecutionContextWithRuntimeConfig, (IRuntimeConfig*), )
  NOT_SIMULATED(IRuntimeConfig*, createRuntimeConfig, (), )
  NOT_SIMULATED(int64_t, getEngineStat, (EngineStat), const)
};

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_ENGINE_H_
