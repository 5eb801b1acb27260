"""The CUDA driver from Python, for precompiled kernels: devices, streams, memory, and arrays of other libraries.

Either of two packages can provide the driver, cuda-python or pycuda. Importing these modules needs neither.
"""

from latentloop.kernels.driver.borrowed_array import BorrowedArray, borrow
from latentloop.kernels.driver.device_array import DeviceArray
from latentloop.kernels.driver.device_memory import DeviceMemory
from latentloop.kernels.driver.driver import Driver, DriverError, MissingGpuError
from latentloop.kernels.driver.opening import open_driver
from latentloop.kernels.driver.stream import LEGACY, Stream, as_stream

__all__ = [
    "LEGACY",
    "BorrowedArray",
    "DeviceArray",
    "DeviceMemory",
    "Driver",
    "DriverError",
    "MissingGpuError",
    "Stream",
    "as_stream",
    "borrow",
    "open_driver",
]
