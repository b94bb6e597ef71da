"""Which functions a run takes, or a drawing of a text: NumPy's, or those that numba compiles."""

from typing import TypeVar

import numpy as np

from charrnn import layers
from charrnn.config import LONG_TEXT, ModelConfig, SampleConfig, WindowConfig
from charrnn.errors import ConfigError, setting
from charrnn.model.network import Network

S = TypeVar("S", bound=WindowConfig)


def choose_kernels(config: S, *, resumed: bool = False) -> S:
    """The settings, with ``kernels`` as one of numpy and numba; for ``auto`` numba where it can be imported.

    Arguments:
        resumed: the run has begun with these kernels.

    Raises:
        ConfigError: numba is asked for and cannot be imported.
    """
    return config.model_copy(update={"kernels": choose(config.kernels, resumed=resumed)})


def choose_for_text(config: SampleConfig) -> str:
    """What to draw one text with, ``numpy`` or ``numba``; for ``auto`` the latter if the text is long, too.

    Raises:
        ConfigError: as ``choose_kernels`` does.
    """
    return choose("numpy" if config.kernels == "auto" and config.length < LONG_TEXT else config.kernels)


def choose(kernels: str, *, resumed: bool = False) -> str:
    """``numpy`` or ``numba``, as asked for."""
    if kernels == "numpy":
        return kernels
    try:
        layers.kernels("numba")
    except ImportError as error:
        if kernels == "auto":
            return "numpy"
        asked = f"{setting('kernels')} numba: "
        begun = "this run began with numba, which" if resumed else "numba"
        way_out = (
            f". Or continue with {setting('kernels')} numpy, no longer to the same bits" if resumed else ""
        )
        raise ConfigError(
            f"{asked}{begun} cannot be imported ({error}): pip install 'charrnn-numpy[fast]'{way_out}"
        ) from None
    return "numba"


def compile_kernels(config: ModelConfig) -> None:
    """Compile the functions that such a network calls, or fetch them from where numba keeps them.

    So processes that start after it need not each compile them.
    """
    network = Network(ModelConfig(cell=config.cell, dtype=config.dtype, hidden_size=2), V=2)
    network.kernels = "numba"
    x, state = np.zeros((2, 2), np.intp), network.initial_state(2)
    _, window = network.forward(x, x, state)
    network.backward(window, network.parameters.like())
