"""Errors planted in the lines that compute the backward equations, which every check must catch."""

import inspect

from charrnn import layers
from charrnn.layers import dense, dropout, elementwise, gru, inputs, lstm, recurrence, reset
from charrnn.model import sampling, segments

# A line of a backward function, and wrong lines that are planted in its place: a dropped term, a sign,
# a transposed factor, an off-by-one in time, a factor of 1 + 1e-9, and more where a line can go wrong
# in a way of its own. Lines without a tag of their own are the equation's as well.
# ruff: noqa: E501
PLANTED = {
    "B1": (elementwise, "cross_entropy_backward", {
        "dlogits /= T * B": ["pass", "dlogits /= -T * B", "dlogits /= T", "dlogits /= B", "dlogits[:B] = 0; dlogits /= T * B", "dlogits /= T * B * (1 + 1e-9)"],
        "] -= 1": ["] -= 0", "] += 1", "] -= 1 + 1e-9"],
        "y.reshape(-1)]": ["np.roll(y, 1, axis=0).reshape(-1)]"],
    }),
    "B2": (dense, "dense_backward", {
        "np.matmul(a.reshape(-1, H).T, rows, out=dW_ya)": ["dW_ya[...] = 0", "np.matmul(-a.reshape(-1, H).T, rows, out=dW_ya)", "np.matmul(np.roll(a, 1, axis=0).reshape(-1, H).T, rows, out=dW_ya)", "np.matmul(a[1:].reshape(-1, H).T, rows[B:], out=dW_ya)", "np.matmul(a.reshape(-1, H).T, rows, out=dW_ya); dW_ya *= 1 + 1e-9"],
        "kernels.sum_rows(rows, db_y)": ["db_y[...] = 0", "kernels.sum_rows(-rows, db_y)", "kernels.sum_rows(rows[B:], db_y)", "np.mean(rows, axis=0, out=db_y)", "kernels.sum_rows(rows, db_y); db_y *= 1 + 1e-9"],
    }),
    "B3": (dense, "dense_backward", {
        "np.matmul(rows, W_ya.T, out=da.reshape(-1, H))": ["da[...] = 0", "np.matmul(-rows, W_ya.T, out=da.reshape(-1, H))", "np.matmul(np.roll(rows, B, axis=0), W_ya.T, out=da.reshape(-1, H))", "np.matmul(rows, W_ya.T, out=da.reshape(-1, H)); da[:-1] = 0", "np.matmul(rows, W_ya.T, out=da.reshape(-1, H)); da *= 1 + 1e-9"],
    }),
    "B3 future": (elementwise, "tanh_backward", {
        "da += future  # (B3)": ["pass", "da -= future", "da[...] = future", "da += future * (1 + 1e-9)", "da += np.roll(future, 1, axis=0)"],
    }),
    "B3 in time": (recurrence, "recurrence_backward", {
        "np.matmul(dz[t], W_aaT, out=future)": ["np.matmul(dz[t], W_aa, out=future)", "np.matmul(dz[T - 1], W_aaT, out=future)", "np.matmul(da[t], W_aaT, out=future)", "np.matmul(dz[t], W_aaT, out=future) if t < T - 1 else 0"],
        "future = np.zeros((B, H), da.dtype)": ["future = da[-1].copy()"],
    }),
    "B4": (elementwise, "tanh_backward", {
        "dz *= da  # (B4)": ["dz[...] = da", "dz *= -da", "pass", "dz *= np.roll(da, 1, axis=0)", "dz *= da * (1 + 1e-9)"],
        "np.multiply(a, a, out=dz)": ["dz[...] = a", "np.multiply(a, np.roll(a, 1, axis=0), out=dz)", "dz[...] = 0"],
    }),
    "B5": (recurrence, "recurrence_backward_weights", {
        "np.matmul(past.T, rows, out=dW_aa)": ["dW_aa[...] = 0", "np.matmul(-past.T, rows, out=dW_aa)", "np.matmul(rows.T, past, out=dW_aa)", "np.matmul(past[1:].T, rows[1:], out=dW_aa)", "np.matmul(past.T, rows, out=dW_aa); dW_aa *= 1 + 1e-9"],
        "a[:-1].reshape": ["a[1:].reshape"],
    }),
    "B6": (elementwise, "sum_by_character", {
        "np.add.reduce(rows[i:j], axis=0, out=dW_ax[token])": ["pass", "np.add.reduce(-rows[i:j], axis=0, out=dW_ax[token])", "np.add.reduce(rows[j - 1 : j], axis=0, out=dW_ax[token])", "np.add.reduce(rows[i:j], axis=0, out=dW_ax[token - 1])", "np.add.reduce(rows[i:j], axis=0, out=dW_ax[token]); dW_ax[token] *= 1 + 1e-9"],
        "tokens, H = x.reshape(-1)": ["tokens, H = np.roll(x, 1, axis=0).reshape(-1)", "tokens, H = x.T.reshape(-1)"],
        "dW_ax[...] = 0": ["dW_ax[...] = 1"],
    }),
    "B6 of rows": (inputs, "inputs_backward", {
        "np.matmul(x.reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax)": ["dW_ax[...] = 0", "np.matmul(-x.reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax)", "np.matmul(np.roll(x, 1, axis=0).reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax)", "np.matmul(x[1:].reshape(-1, x.shape[-1]).T, dz[1:].reshape(-1, H), out=dW_ax)", "np.matmul(x.reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax); dW_ax *= 1 + 1e-9"],
    }),
    "B7": (recurrence, "recurrence_backward_weights", {
        "kernels.sum_rows(rows, db_a)": ["db_a[...] = 0", "kernels.sum_rows(-rows, db_a)", "kernels.sum_rows(dz[1:].reshape(-1, dz.shape[-1]), db_a)", "kernels.sum_rows(dz[0], db_a)", "np.mean(rows, axis=0, out=db_a)", "kernels.sum_rows(rows, db_a); db_a *= 1 + 1e-9"],
    }),
    "B8": (inputs, "inputs_backward_x", {
        "np.matmul(dz.reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))": ["dx[...] = 0", "np.matmul(-dz.reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))", "np.matmul(dz[::-1].reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))", "np.matmul(np.roll(dz, 1, axis=0).reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))", "np.matmul(dz.reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1)); dx *= 1 + 1e-9"],
    }),
    "B9": (recurrence, "recurrence_backward", {
        "return dz, future": ["return dz, 0 * future", "return dz, -future", "return dz, da[0]", "return dz, np.matmul(dz[-1], W_aaT)", "return dz, future * (1 + 1e-9)"],
    }),
    "DB1": (dropout, "dropout_backward", {
        "dd *= m": ["pass", "dd *= -m", "dd *= m[::-1]", "dd *= m > 0", "dd *= m * (1 + 1e-9)"],
    }),
    "RB1": (recurrence, "recurrence_backward", {
        "reset_backward(future, rho, t)": ["pass", "reset_backward(future, rho, t - 1)", "reset_backward(future, rho, T - 1)"],
    }),
    "RB1 of the GRU": (gru, "gru_backward", {
        "reset_backward(future, rho, t)": ["pass", "reset_backward(future, rho, t - 1)"],
        "reset_backward(after, rho, t)": ["pass", "reset_backward(after, rho, t - 1)"],
    }),
    "RB1 of the LSTM": (lstm, "lstm_backward", {
        "reset_backward(future, rho, t)": ["pass", "reset_backward(future, rho, t - 1)"],
    }),
    "RB2": (lstm, "lstm_backward", {
        "reset_backward(after, rho, t)": ["pass", "reset_backward(after, rho, t - 1)"],
        "reset_past(c, rho)": ["pass"],
    }),
    "RB3": (recurrence, "recurrence_backward", {
        "reset_backward(future, rho, t)": ["t and reset_backward(future, rho, t)"],
    }),
    "RB3 of the GRU": (gru, "gru_backward", {
        "reset_backward(future, rho, t)": ["t and reset_backward(future, rho, t)"],
        "reset_backward(after, rho, t)": ["t and reset_backward(after, rho, t)"],
    }),
    "RB3 of the LSTM": (lstm, "lstm_backward", {
        "reset_backward(future, rho, t)": ["t and reset_backward(future, rho, t)"],
        "reset_backward(after, rho, t)": ["t and reset_backward(after, rho, t)"],
    }),
    "RB": (reset, "reset_backward", {
        "dp[~rho[t]] = 0": ["pass", "dp[rho[t]] = 0", "dp[~rho[t, ::-1]] = 0", "dp[~rho[t]] = 1e-9"],
    }),
    "RB4": (reset, "reset_past", {
        "a[:-1][~rho] = 0": ["pass", "a[1:][~rho] = 0", "a[:-1][rho] = 0", "a[:-1][~rho] = 1e-9"],
    }),
    "GB1": (elementwise, "gru_gates_backward", {
        "da += future\n": ["da -= future\n", "da[...] = future\n"],
        "da += after  # (GB1)": ["pass", "da -= after", "da += after * u", "da += after * (1 + 1e-9)"],
        "np.multiply(da, u, out=after)": ["pass", "np.multiply(da, r, out=after)", "np.multiply(da, 1 - u, out=after)"],
    }),
    "GB1 in time": (gru, "gru_backward", {
        "np.matmul(dq[t], W_aaT, out=future)": ["future[...] = 0", "np.matmul(-dq[t], W_aaT, out=future)", "np.matmul(dq[T - 1], W_aaT, out=future)", "np.matmul(dq[t], np.concatenate(np.split(W_aa, 3, axis=1)), out=future)"],
    }),
    "GB2": (elementwise, "gru_gates_backward", {
        "dz_n *= da  # (GB2)": ["pass", "dz_n *= -da", "dz_n *= np.roll(da, 1, axis=0)", "dz_n *= da * (1 + 1e-9)"],
        "np.subtract(1, dz_n, out=dz_n)": ["pass"],
        "np.subtract(1, u, out=slope_n)": ["slope_n[...] = u"],
        "dz_n *= slope_n": ["pass"],
    }),
    "GB3": (elementwise, "gru_gates_backward", {
        "np.multiply(dz_n, r, out=dq_n)": ["dq_n[...] = dz_n", "np.multiply(dz_n, u, out=dq_n)", "np.multiply(-dz_n, r, out=dq_n)", "np.multiply(dz_n, r * (1 + 1e-9), out=dq_n)"],
    }),
    "GB4": (elementwise, "gru_gates_backward", {
        "slope_r *= q_n": ["pass", "slope_r *= n", "slope_r *= np.roll(q_n, 1, axis=0)"],
        "np.multiply(slope_r, dz_n, out=dq_r)": ["dq_r[...] = slope_r", "np.multiply(slope_r, -dz_n, out=dq_r)", "np.multiply(slope_r, da, out=dq_r)", "np.multiply(slope_r, dz_n * (1 + 1e-9), out=dq_r)"],
    }),
    "GB5": (elementwise, "gru_gates_backward", {
        "np.subtract(before, n, out=slope_n)": ["np.subtract(np.roll(before, 1, axis=0), n, out=slope_n)", "np.subtract(n, before, out=slope_n)", "slope_n[...] = before"],
        "slope_u *= slope_n": ["pass", "slope_u *= -slope_n"],
        "np.multiply(slope_u, da, out=dq_u)": ["dq_u[...] = slope_u", "np.multiply(slope_u, np.roll(da, 1, axis=0), out=dq_u)", "np.multiply(slope_u, da * (1 + 1e-9), out=dq_u)"],
        "np.subtract(k, slope, out=slope)  # r(1 − r)": ["pass  #"],
    }),
    "GB6": (gru, "gru_backward_weights", {
        "np.matmul(past.T, rows, out=dW_aa)": ["dW_aa[...] = 0", "np.matmul(-past.T, rows, out=dW_aa)", "np.matmul(past[1:].T, rows[1:], out=dW_aa)", "np.matmul(past.T, rows, out=dW_aa); dW_aa *= 1 + 1e-9"],
        "a[:-1].reshape": ["a[1:].reshape"],
    }),
    "GB7": (gru, "gru_backward_weights", {
        "db_n[...] = db_a[2 * H :]": ["db_n[...] = 0", "db_n[...] = -db_a[2 * H :]", "db_n[...] = db_a[:H]", "kernels.sum_rows(q_n.reshape(-1, H), db_n)", "db_n[...] = db_a[2 * H :] * (1 + 1e-9)"],
    }),
    "B7 of the GRU": (gru, "gru_backward_weights", {
        "kernels.sum_rows(q_n.reshape(-1, H), db_a[2 * H :])": ["pass", "db_a[...] = 0", "kernels.sum_rows(-q_n.reshape(-1, H), db_a[2 * H :])", "kernels.sum_rows(q_n.reshape(-1, H), db_a[2 * H :]); db_a *= 1 + 1e-9"],
        "dz[..., 2 * H :] = q_n": ["pass", "dz[..., 2 * H :] = -q_n", "dz[1:, ..., 2 * H :] = q_n[1:]"],
    }),
    "GB8": (gru, "gru_backward", {
        "future += after  # (GB8)": ["pass", "future -= after", "future += da[0]", "future = after", "future += after * (1 + 1e-9)"],
    }),
    "LB1": (elementwise, "lstm_gates_backward", {
        "da += future  # (LB1)": ["pass", "da -= future", "da[...] = future", "da += future * (1 + 1e-9)"],
    }),
    "LB1 in time": (lstm, "lstm_backward", {
        "np.matmul(dz[t], W_aaT, out=future)": ["future[...] = 0", "np.matmul(-dz[t], W_aaT, out=future)", "np.matmul(dz[T - 1], W_aaT, out=future)", "np.matmul(dz[t], np.concatenate(np.split(W_aa, 4, axis=1)), out=future)"],
    }),
    "LB2": (elementwise, "lstm_gates_backward", {
        "dc *= da": ["pass", "dc *= -da", "dc *= np.roll(da, 1, axis=0)"],
        "dc += after": ["pass", "dc -= after", "dc += after * (1 + 1e-9)"],
        "dc *= o": ["pass", "dc *= i"],
        "np.subtract(1, dc, out=dc)": ["pass"],
    }),
    "LB2 future": (elementwise, "lstm_gates_backward", {
        "np.multiply(dc, f, out=after)": ["pass", "np.multiply(dc, i, out=after)", "np.multiply(da, f, out=after)", "after += dc * f"],
    }),
    "LB3": (elementwise, "lstm_gates_backward", {
        "slope_i *= g": ["pass", "slope_i *= i"],
        "slope_f *= before": ["pass", "slope_f *= np.roll(before, 1, axis=0)"],
        "np.subtract(1, slope_g, out=slope_g)": ["pass"],
        "slope_g *= i": ["pass", "slope_g *= -i"],
        "np.subtract(k, slope, out=slope)  # k(1 − k)": ["pass  #"],
        "np.multiply(factors[:, :3], dc[:, np.newaxis], out=dz[:, :3])": ["dz[:, :3] = factors[:, :3]", "np.multiply(factors[:, :3], -dc[:, np.newaxis], out=dz[:, :3])", "np.multiply(factors[:, :3], da[:, np.newaxis], out=dz[:, :3])", "np.multiply(factors[:, 1:3], dc[:, np.newaxis], out=dz[:, 1:3])", "np.multiply(factors[:, :3], dc[:, np.newaxis] * (1 + 1e-9), out=dz[:, :3])"],
    }),
    "LB4": (elementwise, "lstm_gates_backward", {
        "slope_o *= dc": ["pass", "slope_o *= before"],
        "np.multiply(slope_o, da, out=dz[:, 3])": ["dz[:, 3] = slope_o", "np.multiply(slope_o, -da, out=dz[:, 3])", "np.multiply(slope_o, np.roll(da, 1, axis=0), out=dz[:, 3])", "np.multiply(slope_o, da * (1 + 1e-9), out=dz[:, 3])"],
    }),
    "LB5": (lstm, "lstm_backward", {
        "return dz, future, after": ["return dz, 0 * future, after", "return dz, da[0], after", "return dz, future, tanh_c[0]", "return dz, future, tanh_c[-1]", "return dz, future, after * (1 + 1e-9)"],
    }),
}  # fmt: skip
STACK = {"num_layers": 2, "dropout": 0.4}
ERRORS = [
    (tag, line, wrong)
    for tag, (_, _, lines) in PLANTED.items()
    for line, planted in lines.items()
    for wrong in planted
]


# The same for what computes a window's numbers in another way: in segments, and step by step for sampling.
# (the check that must fail, the module, the function, the network, its lines)
PATHS = [
    ("segments", segments, "loss_and_gradients", {}, {
        "share = (segment.stop - segment.start) / T": ["share = 1.0", "share = K / T", "share = 1 / len(segments)"],
        "future = network.backward(window, of_segment, future, share)": ["network.backward(window, of_segment, None, share); future = 0", "future = -network.backward(window, of_segment, future, share)", "future = network.backward(window, of_segment, future)"],
        "masks = draw_masks(segment) if draw_masks else None": ["masks = None", "masks = draw_masks(segments[0])[:, : len(y[segment])] if draw_masks else None", "masks = draw_masks(segment)[::, ::-1] if draw_masks else None"],
        "zip(reversed(segments), reversed(states), strict=True)": ["zip(segments, states, strict=True)", "zip(reversed(segments), states, strict=True)", "zip(segments, reversed(states), strict=True)"],
        "states.append(space.first(K).state)": ["states.append(state)", "states.insert(1, space.first(K).state)", "states.append(space.first(K).state * (1 + 1e-9))"],
        "x[segment], states[-1], space": ["x[segment], states[0], space"],
        "for t in range(0, T, K)]": ["for t in range(0, T - 1, K)]"],
        "if future is None:": ["if True:"],
        "total += share * float(loss)": ["total += float(loss)", "total = float(loss)"],
        "g.flat += of_segment.flat": ["g.flat[...] = of_segment.flat", "g.flat += of_segment.flat * (1 + 1e-9)"],
    }),
    ("segments", segments, "loss_and_gradients", {"num_layers": 2}, {
        "space.first(K), draw_masks and draw_masks(segment),": ["space.first(K), None,", "space.first(K), draw_masks and draw_masks(segments[0]),"],
    }),
    ("step", sampling, "stepper", {"num_layers": 3, "embedding_size": 4}, {
        'p["W_ex"] @ p["W_ax"] if': ['p["W_ex"] @ p["W_ax"] * 1.1 if'],
        'table = first + p["b_a"]': ["table = first", 'table = np.tanh(first + p["b_a"])'],
        'np.dot(states[0], w[layer]["W_ax"])': ['np.dot(states[0], w[1]["W_ax"])', 'np.dot(states[0], w[layer]["W_ax"].T)'],
        'xW += w[layer]["b_a"]': ["pass", 'xW += w[1]["b_a"]'],
        "cell.step(xW, before, w[layer])": ["cell.step(xW, network.states(state)[0], w[layer])"],
        "after += states": ["after = [*states, *after]"],
        "logits += b_y": ["pass", "logits += b_y if logits.ndim > 1 else 0", "logits += b_y if logits.ndim == 1 else 0"],
        "np.concatenate(after, axis=-1)": ["state", "np.concatenate(after, axis=-1) * (1 + 1e-9)"],
    }),
    ("step", sampling, "stepper", {"cell": "lstm", "num_layers": 2}, {
        "logits = np.dot(states[0], W_ya)": ["logits = np.dot(states[-1], W_ya)"],
        "np.dot(states[0], w[layer]": ["np.dot(states[-1], w[layer]"],
    }),
    ("step", recurrence, "recurrence_step", {}, {
        "z = np.dot(a, W_aa)": ["z = np.dot(a, W_aa.T)", "z = 0 * a"],
        "z += xW": ["z -= xW"],
        "return np.asarray(np.tanh(z, out=z))": ["return z"],
    }),
    ("step", gru, "gru_step", {"cell": "gru"}, {
        "ru += xW[..., : 2 * H]": ["pass"],
        "(q[..., 2 * H :] + b_n)": ["q[..., 2 * H :]"],
        "n + ru[..., H:] * (a - n)": ["n + ru[..., :H] * (a - n)", "a + ru[..., H:] * (n - a)"],
    }),
    ("step", lstm, "lstm_step", {"cell": "lstm"}, {
        "k += 1 - s": ["pass"],
        "c = f * c + i * g": ["c = i * c + f * g", "c = f * c + i"],
        "return o * np.tanh(c), c": ["return o * c, c", "return o * np.tanh(c), f * c"],
    }),
]  # fmt: skip
PATH_ERRORS = [
    (check, module, function, settings, line, wrong)
    for check, module, function, settings, lines in PATHS
    for line, planted in lines.items()
    for wrong in planted
]


def network(tag):
    """The settings of a network that computes the equation of a tag."""
    if tag[0] == "G" or tag.endswith(" of the GRU"):
        return {"cell": "gru"}
    if tag[0] == "L" or tag.endswith(" of the LSTM") or tag == "RB2":
        return {"cell": "lstm"}
    return STACK if tag in ("DB1", "B6 of rows") else {}


def in_the_modules(monkeypatch, **functions):
    """Put functions in place of those with their names, in every module that has them."""
    for name, function in functions.items():
        for module in (
            layers,
            dense,
            dropout,
            elementwise,
            gru,
            inputs,
            lstm,
            recurrence,
            reset,
            segments,
            sampling,
        ):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, function)


def plant(monkeypatch, tag, line, wrong):
    module, function, _ = PLANTED[tag]
    plant_in(monkeypatch, module, function, line, wrong)


def plant_in(monkeypatch, module, function, line, wrong):
    source = inspect.getsource(module)
    assert source.count(line) == 1, f"{line!r} is not one place in the source"
    namespace = {}
    exec(source.replace(line, wrong), namespace)
    in_the_modules(monkeypatch, **{function: namespace[function]})
