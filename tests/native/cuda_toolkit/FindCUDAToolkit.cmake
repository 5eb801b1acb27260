# Instead of NVIDIA's toolkit: a runtime that calls the driver of the simulated GPU, in the folder FAKE_CUDA.
set(CUDAToolkit_FOUND TRUE)
add_library(CUDA::cudart_static INTERFACE IMPORTED)
set_target_properties(
  CUDA::cudart_static PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}"
                                 INTERFACE_LINK_LIBRARIES "${FAKE_CUDA}/libcuda.so.1")
