// The kernels by name, for launchers that load them as a module. In this order on one stream: prepare (once for a
// codebook, `largest` being 0 before), search, resolve. Blocks have kThreads threads; plan.h says how many blocks.
#include "exact.cuh"
#include "prepare.cuh"
#include "resolve.cuh"
#include "tensor.cuh"

using latentloop::nearest::Arguments;
using latentloop::nearest::Bfloat;
using latentloop::nearest::Half;

LATENTLOOP_KERNEL nearest_prepare_f32(const Arguments a) { latentloop::nearest::prepare<float>(a); }
LATENTLOOP_KERNEL nearest_prepare_f16(const Arguments a) { latentloop::nearest::prepare<Half>(a); }
LATENTLOOP_KERNEL nearest_prepare_bf16(const Arguments a) { latentloop::nearest::prepare<Bfloat>(a); }

LATENTLOOP_KERNEL nearest_search_f32(const Arguments a) { latentloop::nearest::search_exact<float>(a); }
LATENTLOOP_KERNEL nearest_search_f16(const Arguments a) { latentloop::nearest::search_exact<Half>(a); }
LATENTLOOP_KERNEL nearest_search_bf16(const Arguments a) { latentloop::nearest::search_exact<Bfloat>(a); }
LATENTLOOP_KERNEL nearest_search_tensor_f16(const Arguments a) { latentloop::nearest::search_tensor<Half>(a); }
LATENTLOOP_KERNEL nearest_search_tensor_bf16(const Arguments a) { latentloop::nearest::search_tensor<Bfloat>(a); }

LATENTLOOP_KERNEL nearest_resolve_f32(const Arguments a) { latentloop::nearest::resolve<float>(a); }
LATENTLOOP_KERNEL nearest_resolve_f16(const Arguments a) { latentloop::nearest::resolve<Half>(a); }
LATENTLOOP_KERNEL nearest_resolve_bf16(const Arguments a) { latentloop::nearest::resolve<Bfloat>(a); }
