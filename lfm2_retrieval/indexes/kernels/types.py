"""Types of what kernels are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ids", "Numbers"]

Ids = NDArray[np.unsignedinteger[Any]]
"""Numbers of centroids or documents: uint16 or uint32."""
Numbers = NDArray[np.uint16] | NDArray[np.float32]
"""Vectors in float32, or the bits of their float16."""
