"""Long windows: keep the state of every K-th step, and compute the activations between again on the way back.

A window of T steps then takes the memory of K + T/K, for about a third more time (Gruslys et al. 2016).
"""

from collections.abc import Callable

from charrnn.layers import Array
from charrnn.model.network import Network
from charrnn.model.parameters import Parameters
from charrnn.model.window import Space

DrawMasks = Callable[[slice], Array]  # draws the dropout masks (L, …, B, H) of some of a window's steps


def loss_and_gradients(
    network: Network,
    x: Array,  # (T, B) integers
    y: Array,  # (T, B) integers
    state: Array,  # (B, S)
    g: Parameters,  # written
    *,
    draw_masks: DrawMasks | None = None,
    recompute_every: int = 0,
    rho: Array | None = None,  # (T, B)
    space: Space | None = None,  # for K steps or more
) -> tuple[float, Array]:
    """The loss of a window and the state after it; in ``g`` the gradient of every parameter.

    With ``recompute_every`` K, from 1 to T − 1, in segments of K steps; otherwise as a whole.
    """
    T, K = len(y), recompute_every
    if not 0 < K < T:
        masks = draw_masks(slice(0, T)) if draw_masks else None
        loss, window = network.forward(x, y, state, space, masks, rho)
        network.backward(window, g)
        return float(loss), window.state
    if space is None:
        space = network.space(K, y.shape[1], dropout=draw_masks is not None)

    def rho_of(steps: slice) -> Array | None:
        return None if rho is None else rho[steps]

    segments = [slice(t, min(t + K, T)) for t in range(0, T, K)]
    states = [state]
    for segment in segments[:-1]:  # all of K steps
        network.activations(
            x[segment], states[-1], space.first(K), draw_masks and draw_masks(segment), rho_of(segment)
        )
        states.append(space.first(K).state)
    total, future, after, of_segment = 0.0, None, state, g.like()
    g.flat[...] = 0
    for segment, before in zip(reversed(segments), reversed(states), strict=True):
        masks = draw_masks(segment) if draw_masks else None
        loss, window = network.forward(x[segment], y[segment], before, space, masks, rho_of(segment))
        if future is None:
            after = window.state
        share = (segment.stop - segment.start) / T
        future = network.backward(window, of_segment, future, share)
        total += share * float(loss)
        g.flat += of_segment.flat
    return total, after
