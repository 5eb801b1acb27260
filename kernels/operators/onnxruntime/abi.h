// The part of ONNX Runtime's C ABI that the operator library and the C++ host need. It is declared here because no pip
// package contains the official header. ONNX Runtime only appends to these tables, so positions never change;
// tests/test_onnxruntime_abi.py compares them with the official header if ONNXRUNTIME_INCLUDE names its folder.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct OrtStatus;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;
struct OrtCustomOpDomain;
struct OrtMemoryInfo;
struct OrtAllocator;
struct OrtSessionOptions;
struct OrtEnv;
struct OrtSession;
struct OrtRunOptions;
struct OrtIoBinding;
struct OrtTypeInfo;
struct OrtCustomOp;

struct OrtApi {
  void* entry[280];  // function pointers, at the positions listed below
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// The fields of the official header, up to API version 20.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, void*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
  size_t (*GetMayInplace)(int**, int**);
  void (*ReleaseMayInplace)(int*, int*);
  size_t (*GetAliasMap)(int**, int**);
  void (*ReleaseAliasMap)(int*, int*);
};

}  // extern "C"

namespace latentloop::ort {

constexpr uint32_t kApiVersion{20};  // of ONNX Runtime 1.20, the oldest that latentloop supports

enum ElementType { kUndefined = 0, kFloat = 1, kUint8 = 2, kInt8 = 3, kInt64 = 7, kFloat16 = 10 };
enum Characteristic { kRequired = 0, kOptional = 1, kVariadic = 2 };
enum ErrorCode { kFail = 1, kInvalidArgument = 2 };
enum LoggingLevel { kFatal = 4 };
enum Memory { kDeviceAllocator = 0, kDefaultMemory = 0 };

// The position and type of a function.
template <size_t Position, typename... Arguments>
struct Function {
  using Type = OrtStatus* (*)(Arguments...);
  static constexpr size_t kPosition{Position};
  static Type of(const OrtApi* api) { return reinterpret_cast<Type>(api->entry[Position]); }
};

// Those named Release… return nothing.
using CreateStatus = Function<0, int, const char*>;     // returns the new status
using GetErrorMessage = Function<2, const OrtStatus*>;  // returns a text, owned by the status
using CreateEnv = Function<3, int, const char*, OrtEnv**>;
using CreateSession = Function<7, const OrtEnv*, const char*, const OrtSessionOptions*, OrtSession**>;
using CreateSessionFromArray = Function<8, const OrtEnv*, const void*, size_t, const OrtSessionOptions*, OrtSession**>;
using CreateSessionOptions = Function<10, OrtSessionOptions**>;
using SetSessionLogSeverityLevel = Function<22, OrtSessionOptions*, int>;
using SetIntraOpNumThreads = Function<24, OrtSessionOptions*, int>;
using CreateCustomOpDomain = Function<26, const char*, OrtCustomOpDomain**>;
using CustomOpDomainAdd = Function<27, OrtCustomOpDomain*, const OrtCustomOp*>;
using AddCustomOpDomain = Function<28, OrtSessionOptions*, OrtCustomOpDomain*>;
using SessionGetInputCount = Function<30, const OrtSession*, size_t*>;
using SessionGetOutputCount = Function<31, const OrtSession*, size_t*>;
using SessionGetInputTypeInfo = Function<33, const OrtSession*, size_t, OrtTypeInfo**>;
using SessionGetOutputTypeInfo = Function<34, const OrtSession*, size_t, OrtTypeInfo**>;
using SessionGetInputName = Function<36, const OrtSession*, size_t, OrtAllocator*, char**>;
using SessionGetOutputName = Function<37, const OrtSession*, size_t, OrtAllocator*, char**>;
using CreateRunOptions = Function<39, OrtRunOptions**>;
using RunOptionsSetTerminate = Function<46, OrtRunOptions*>;
using RunOptionsUnsetTerminate = Function<47, OrtRunOptions*>;
using CreateTensorWithDataAsOrtValue =
    Function<49, const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t, int, OrtValue**>;
using GetTensorMutableData = Function<51, OrtValue*, void**>;
using CastTypeInfoToTensorInfo = Function<55, const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**>;
using GetTensorElementType = Function<60, const OrtTensorTypeAndShapeInfo*, int*>;
using GetDimensionsCount = Function<61, const OrtTensorTypeAndShapeInfo*, size_t*>;
using GetDimensions = Function<62, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t>;
using GetTensorTypeAndShape = Function<65, const OrtValue*, OrtTensorTypeAndShapeInfo**>;
using CreateMemoryInfo = Function<68, const char*, int, int, int, OrtMemoryInfo**>;
using CreateCpuMemoryInfo = Function<69, int, int, OrtMemoryInfo**>;
using AllocatorFree = Function<76, OrtAllocator*, void*>;
using GetAllocatorWithDefaultOptions = Function<78, OrtAllocator**>;  // owned by ONNX Runtime
using KernelInfoGetAttributeInt64 = Function<86, const OrtKernelInfo*, const char*, int64_t*>;
using KernelContextGetInputCount = Function<88, const OrtKernelContext*, size_t*>;
using KernelContextGetInput = Function<90, const OrtKernelContext*, size_t, const OrtValue**>;
using KernelContextGetOutput = Function<91, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**>;
using ReleaseStatus = Function<93, OrtStatus*>;
using ReleaseMemoryInfo = Function<94, OrtMemoryInfo*>;
using ReleaseSession = Function<95, OrtSession*>;
using ReleaseValue = Function<96, OrtValue*>;
using ReleaseRunOptions = Function<97, OrtRunOptions*>;
using ReleaseTypeInfo = Function<98, OrtTypeInfo*>;
using ReleaseTensorTypeAndShapeInfo = Function<99, OrtTensorTypeAndShapeInfo*>;
using ReleaseSessionOptions = Function<100, OrtSessionOptions*>;
using AddSessionConfigEntry = Function<130, OrtSessionOptions*, const char*, const char*>;
using ReleaseAllocator = Function<132, OrtAllocator*>;
using RunWithBinding = Function<133, OrtSession*, const OrtRunOptions*, const OrtIoBinding*>;
using CreateIoBinding = Function<134, OrtSession*, OrtIoBinding**>;
using ReleaseIoBinding = Function<135, OrtIoBinding*>;
using BindInput = Function<136, OrtIoBinding*, const char*, const OrtValue*>;
using BindOutput = Function<137, OrtIoBinding*, const char*, const OrtValue*>;
using KernelContextGetGPUComputeStream = Function<193, const OrtKernelContext*, void**>;
using KernelInfoGetInputCount = Function<230, const OrtKernelInfo*, size_t*>;
using KernelInfoGetConstantInputTensor = Function<249, const OrtKernelInfo*, size_t, int*, const OrtValue**>;
using KernelContextGetAllocator = Function<253, const OrtKernelContext*, const OrtMemoryInfo*, OrtAllocator**>;
using KernelContextParallelFor = Function<274, const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*>;
using KernelContextGetScratchBuffer = Function<277, const OrtKernelContext*, const OrtMemoryInfo*, size_t, void**>;
using AddExternalInitializersFromFilesInMemory =
    Function<279, OrtSessionOptions*, const char* const*, char* const*, const size_t*, size_t>;

}  // namespace latentloop::ort
