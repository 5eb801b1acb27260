// The types of CUDA's runtime that TensorRT's headers mention, for builds on machines without CUDA.
#pragma once

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
