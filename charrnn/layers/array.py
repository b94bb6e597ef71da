"""The one type of array that the layers take."""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]  # float32, float64 or complex128; one dtype through a whole pass
