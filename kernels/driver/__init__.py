"""CUDA from Python for kernels compiled ahead of time: drivers, streams, memory, and arrays of other libraries.

Two packages can drive the GPU, cuda-python and pycuda; neither is needed to import anything here.
"""

from latentloop.kernels.driver.array import DeviceArray
from latentloop.kernels.driver.borrowed import Borrowed, borrow
from latentloop.kernels.driver.driver import Driver, DriverError, MissingGpuError
from latentloop.kernels.driver.memory import Memory
from latentloop.kernels.driver.opening import open_driver
from latentloop.kernels.driver.stream import LEGACY, Stream, as_stream

__all__ = [
    "LEGACY",
    "Borrowed",
    "DeviceArray",
    "Driver",
    "DriverError",
    "Memory",
    "MissingGpuError",
    "Stream",
    "as_stream",
    "borrow",
    "open_driver",
]
