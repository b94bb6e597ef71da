"""Long windows: keep the state of every K-th step, and compute the activations between again on the way back.

A window of T steps then takes the memory of K + T/K, for about a third more time (Gruslys et al. 2016).
"""

from collections.abc import Callable

from charrnn.layers import Array
from charrnn.model.network import Network
from charrnn.model.parameters import Parameters
from charrnn.model.window import Space

Masks = Callable[[slice], Array]  # the dropout masks (L, …, B, H) of some of a window's steps


def loss_and_gradients(
    network: Network,
    x: Array,  # (T, B) integers
    y: Array,  # (T, B) integers
    state: Array,  # (B, S)
    g: Parameters,  # written
    *,
    masks: Masks | None = None,
    recompute_every: int = 0,
    space: Space | None = None,  # for K steps or more
) -> tuple[float, Array]:
    """The loss of a window and the state after it; in ``g`` the gradient of every parameter.

    With ``recompute_every`` K, from 1 to T − 1, in segments of K steps; otherwise as a whole.
    """
    T, K = len(y), recompute_every
    if not 0 < K < T:
        loss, window = network.forward(x, y, state, space, masks(slice(0, T)) if masks else None)
        network.backward(window, g)
        return float(loss), window.state
    if space is None:
        space = network.space(K, y.shape[1], dropout=masks is not None)
    segments = [slice(t, min(t + K, T)) for t in range(0, T, K)]
    kept = [state]
    for segment in segments[:-1]:  # all of K steps
        network.activations(x[segment], kept[-1], space.first(K), masks(segment) if masks else None)
        kept.append(space.first(K).state)
    total, future, after, part = 0.0, None, state, g.like()
    g.flat[...] = 0
    for segment, before in zip(reversed(segments), reversed(kept), strict=True):
        mask = masks(segment) if masks else None
        loss, window = network.forward(x[segment], y[segment], before, space, mask)
        if future is None:
            after = window.state
        share = (segment.stop - segment.start) / T
        future = network.backward(window, part, future, share)
        total += share * float(loss)
        g.flat += part.flat
    return total, after
