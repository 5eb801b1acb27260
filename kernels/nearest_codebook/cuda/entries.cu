// The kernels' entry points, by name, for launchers that load them as a module. Launch order on one stream: prepare
// (once per codebook; set `largest` to 0 before), search, resolve. Blocks have kThreads threads; plan.h computes the
// grids.
#include "prepare.cuh"
#include "resolve.cuh"
#include "search_fma.cuh"
#include "search_tensor_cores.cuh"

using latentloop::nearest::Arguments;
using latentloop::nearest::Bfloat;
using latentloop::nearest::Half;

LATENTLOOP_KERNEL nearest_prepare_f32(const Arguments a) { latentloop::nearest::prepare<float>(a); }
LATENTLOOP_KERNEL nearest_prepare_f16(const Arguments a) { latentloop::nearest::prepare<Half>(a); }
LATENTLOOP_KERNEL nearest_prepare_bf16(const Arguments a) { latentloop::nearest::prepare<Bfloat>(a); }

LATENTLOOP_KERNEL nearest_search_f32(const Arguments a) { latentloop::nearest::search_fma<float>(a); }
LATENTLOOP_KERNEL nearest_search_f16(const Arguments a) { latentloop::nearest::search_fma<Half>(a); }
LATENTLOOP_KERNEL nearest_search_bf16(const Arguments a) { latentloop::nearest::search_fma<Bfloat>(a); }
LATENTLOOP_KERNEL nearest_search_tensor_f16(const Arguments a) { latentloop::nearest::search_tensor_cores<Half>(a); }
LATENTLOOP_KERNEL nearest_search_tensor_bf16(const Arguments a) { latentloop::nearest::search_tensor_cores<Bfloat>(a); }

LATENTLOOP_KERNEL nearest_resolve_f32(const Arguments a) { latentloop::nearest::resolve<float>(a); }
LATENTLOOP_KERNEL nearest_resolve_f16(const Arguments a) { latentloop::nearest::resolve<Half>(a); }
LATENTLOOP_KERNEL nearest_resolve_bf16(const Arguments a) { latentloop::nearest::resolve<Bfloat>(a); }
