"""Names of weights in states of wrapped modules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_INNER = "_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module"
"""What torch.compile and torch's wrappers of inner modules add. DataParallel adds "module"."""

WRAPPERS = re.compile(rf"\b(module|{_INNER})\.")
"""What any wrapper adds to a name, of a model that has no module called "module" itself."""

_OUTER = re.compile(rf"^(module\.)+|\b({_INNER})\.(module\.)*")


def unwrapped(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Rename weights of wrapped modules, but none to a name that the file has too."""
    plain = {name: _OUTER.sub("", name) for name in arrays}
    return {name if plain[name] in arrays else plain[name]: array for name, array in arrays.items()}
