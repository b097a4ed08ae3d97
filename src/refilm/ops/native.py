"""The compiled CPU kernels, if this installation has them; why not, if it does not."""

import importlib
from types import ModuleType

module: ModuleType | None
reason: str  # why `module` is None; empty if it is not

try:
    module, reason = importlib.import_module("refilm._native"), ""
except ImportError as error:
    module, reason = None, str(error)

available = module is not None
