// A runtime of which no function is simulated.
#ifndef LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_RUNTIME_H_
#define LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_RUNTIME_H_

#include <NvInferRuntime.h>

#include "not_simulated.h"

namespace fake_tensorrt {

using namespace nvinfer1;

class UnsimulatedRuntime : public apiv::VRuntime {
 public:
  NOT_SIMULATED(ICudaEngine*, deserializeCudaEngine, (void const*, std::size_t), )
  NOT_SIMULATED(ICudaEngine*, deserializeCudaEngine, (IStreamReader&), )
  NOT_SIMULATED(void, setDLACore, (int32_t), )
  NOT_SIMULATED(int32_t, getDLACore, (), const)
  NOT_SIMULATED(int32_t, getNbDLACores, (), const)
  NOT_SIMULATED(void, setGpuAllocator, (IGpuAllocator*), )
  NOT_SIMULATED(void, setErrorRecorder, (IErrorRecorder*), )
  NOT_SIMULATED(IErrorRecorder*, getErrorRecorder, (), const)
  NOT_SIMULATED(ILogger*, getLogger, (), const)
  NOT_SIMULATED(bool, setMaxThreads, (int32_t), )
  NOT_SIMULATED(int32_t, getMaxThreads, (), const)
  NOT_SIMULATED(void, setTemporaryDirectory, (char const*), )
  NOT_SIMULATED(char const*, getTemporaryDirectory, (), const)
  NOT_SIMULATED(void, setTempfileControlFlags, (TempfileControlFlags), )
  NOT_SIMULATED(TempfileControlFlags, getTempfileControlFlags, (), const)
  NOT_SIMULATED(IPluginRegistry&, getPluginRegistry, (), )
  NOT_SIMULATED(void, setPluginRegistryParent, (IPluginRegistry*), )
  NOT_SIMULATED(IRuntime*, loadRuntime, (char const*), )
  NOT_SIMULATED(void, setEngineHostCodeAllowed, (bool), )
  NOT_SIMULATED(bool, getEngineHostCodeAllowed, (), const)
  NOT_SIMULATED(ICudaEngine*, deserializeCudaEngineV2, (IStreamReaderV2&), )
};

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_UNSIMULATED_RUNTIME_H_
