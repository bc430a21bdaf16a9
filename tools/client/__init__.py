"""The test client: plays a device against cvmd, with a directory for its flash. README.md says how.

In the checkout `python -m tools.client`; installed, the package is `cvm_client` and the command `cvm-client`.
"""

from .device import Dialogue
from .flash import DirectoryFlash, Flash, MemoryFlash
from .options import DEVICE_CSR, OptionError, Options, read_token
from .outcome import Cut, Done, Exit, Failed, Outcome, Refused, pause_before_next
from .storage import DeviceStorage, Meta
from .vend import Result, Traffic, Watcher, vend

__all__ = [
    "DEVICE_CSR",
    "Cut",
    "DeviceStorage",
    "Dialogue",
    "DirectoryFlash",
    "Done",
    "Exit",
    "Failed",
    "Flash",
    "MemoryFlash",
    "Meta",
    "OptionError",
    "Options",
    "Outcome",
    "Refused",
    "Result",
    "Traffic",
    "Watcher",
    "pause_before_next",
    "read_token",
    "vend",
]
