"""The compiled twins beside their definitions, over all numbers, and with errors planted in them."""

import inspect
import platform
import re
import sys
from itertools import combinations
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from charrnn import layers
from charrnn.config import ModelConfig
from charrnn.layers import elementwise
from charrnn.model import Network

KERNELS = {
    "tanh_forward": "a recurrent b_a",
    "tanh_backward": "da future a dz",
    "gru_gates": "k q b_a b_n before q_n a",
    "gru_gates_backward": "da future after before k q_n",
    "lstm_gates": "k recurrent b_a before c tanh_c a",
    "lstm_gates_backward": "da future after k before dc",
    "cross_entropy_forward": "logits y out b_y",
    "cross_entropy_backward": "y_hat y",
    "sum_rows": "rows out",
    "sum_by_character": "dz x dW_ax",
}
OF_A_WINDOW = [name for name in KERNELS if name.startswith(("cross", "sum"))]
COLUMNS = {"gru": {"k": 3, "q": 3, "b_a": 3, "dq": 3}, "lstm": {"k": 4, "recurrent": 4, "b_a": 4, "dz": 4}}
SCALES = [1e-3, 1.0, 30.0, 1e18]
DTYPES = [np.float32, np.float64]
SOURCE = Path(elementwise.__file__).with_name("compiled.py").read_text("utf-8")


def arguments(name, dtype, draw, B=3, H=19):
    """Arrays for a kernel, by ``draw(shape)``; H is no multiple of what one instruction takes."""
    T, V = 4, H
    if name in OF_A_WINDOW:
        integers = np.random.default_rng(1).integers(0, V, (T, B))
        shapes = {
            "logits": (T, B, V),
            "y_hat": (T, B, V),
            "dz": (T, B, H),
            "dW_ax": (V, H),
            "rows": (T * B, H),
        }
        shapes |= {"b_y": (V,), "out": (H,)}
        given = {
            word: integers if word in ("x", "y") else draw(shapes[word]).astype(dtype)
            for word in KERNELS[name].split()
        }
        if "logits" in given:
            given["out"] = given["logits"]
        return given
    columns = COLUMNS.get(name.partition("_")[0], {})
    shapes = {word: columns.get(word, 1) * H for word in KERNELS[name].split()}
    return {
        word: draw((width,) if word in ("b_a", "b_n") else (B, width)).astype(dtype)
        for word, width in shapes.items()
    }


def results(function, given):
    """Every array after the call, and what is returned."""
    arrays = {word: None if array is None else array.copy() for word, array in given.items()}
    if "logits" in arrays:
        arrays["out"] = arrays["logits"]
    with np.errstate(all="ignore"):
        returned = function(*arrays.values())
    if isinstance(returned, tuple):
        arrays["loss"] = np.asarray(returned[0])
    return {word: array for word, array in arrays.items() if array is not None}


def assert_near(found, expected, bound):
    """Equal where not finite, else within ``bound`` of the largest finite entry of the array."""
    for word, right in expected.items():
        finite = np.isfinite(right)
        np.testing.assert_array_equal(found[word][~finite], right[~finite], err_msg=word)
        largest = np.abs(right[finite]).max(initial=0)
        if np.isfinite(largest * 2):
            assert np.abs(found[word][finite] - right[finite]).max(initial=0) <= bound * largest, word


def normal(scale, seed=0):
    rng = np.random.default_rng(seed)
    return lambda shape: scale * rng.standard_normal(shape)


@pytest.fixture(scope="module")
def compiled():
    pytest.importorskip("numba", reason="the compiled kernels need numba: pip install '.[fast]'")
    from charrnn.layers import compiled

    return compiled


def test_each_definition_has_a_twin_with_its_arguments():
    for name, words in KERNELS.items():
        assert list(inspect.signature(getattr(elementwise, name)).parameters) == words.split()
        (found,) = re.findall(rf"^@kernel\ndef {name}\((.*?)\) -> ", SOURCE, re.M | re.S)
        assert re.findall(r"(\w+): Array", found) == words.split()
    assert set(re.findall(r"^@kernel\ndef (\w+)", SOURCE, re.M)) == set(KERNELS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_the_twin_computes_what_the_definition_does(compiled, name, dtype):
    for scale in SCALES:
        given = arguments(name, dtype, normal(scale))
        if "backward" in name:  # of gates and activations as they come: between −1 and 1
            given |= {word: np.tanh(given[word]) for word in ("k", "a", "dc", "before") if word in given}
        expected = results(getattr(elementwise, name), given)
        assert_near(results(getattr(compiled, name), given), expected, 30 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_over_the_whole_range(compiled, dtype):
    info = np.finfo(dtype)
    low, high = np.log2(np.longdouble([info.smallest_subnormal, info.max]))
    x = 2 ** np.linspace(low, high, 100_001).clip(None, high * (1 - 1e-7))
    x = np.concatenate([x, np.linspace(0, 50, 200_001, dtype=dtype), [0, np.inf, np.nan]]).astype(dtype)
    zeros = np.zeros(len(x), dtype)

    def tanh(x):
        a = x[np.newaxis].copy()
        compiled.tanh_forward(a, zeros[np.newaxis], zeros)
        return a[0]

    found, exact = tanh(x), np.tanh(x.astype(np.longdouble))
    np.testing.assert_array_equal(tanh(-x), -found)
    assert np.isnan(found[-1])
    assert np.nanmax(np.abs(found - exact)) <= (9e-8 if dtype == np.float32 else 2e-16)
    with np.errstate(invalid="ignore"):
        assert np.nanmax(np.abs(found - exact) / np.maximum(exact, info.tiny)) <= 2.5 * info.eps
    assert found[x > 20].max() == found[x > 20].min() == np.nanmax(found) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 0.0, -0.0, "subnormal", "max"])
def test_what_is_not_finite_stays_so(compiled, name, dtype, special):
    """Each argument in turn holds the special number in every other place."""
    info = np.finfo(dtype)
    number = {"subnormal": info.smallest_subnormal * 3, "max": info.max}.get(special, special)
    for word in KERNELS[name].split():
        given = arguments(name, dtype, normal(0.5, seed=1))
        if word in ("x", "y"):
            continue
        given[word][..., ::2] = number
        expected = results(getattr(elementwise, name), given)
        found = results(getattr(compiled, name), given)
        for key, right in expected.items():
            with np.errstate(invalid="ignore", over="ignore"):
                near = np.abs(found[key] - right) <= 50 * info.eps * np.maximum(1, np.abs(right))
            bad = ~np.isfinite(right)
            assert (near | bad).all(), (word, key)
            assert not np.isfinite(found[key][bad]).any(), (word, key)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_over_the_whole_range(compiled, dtype):
    """As ŷ of two characters: exp x / (1 + exp x)."""
    info = np.finfo(dtype)
    lowest = np.log(info.smallest_subnormal) - 1
    x = np.concatenate([np.linspace(lowest, 0, 100_001), -np.logspace(-30, 3, 1000), [-np.inf]]).astype(dtype)
    logits = np.stack([x, np.zeros_like(x)], axis=1)[np.newaxis]
    y = np.ones(logits.shape[:2], np.intp)
    _, y_hat = compiled.cross_entropy_forward(logits, y, logits, np.zeros(2, dtype))
    with np.errstate(under="ignore"):
        exact = np.exp(x.astype(np.longdouble)) / (1 + np.exp(x.astype(np.longdouble)))
    wrong = np.abs(y_hat[0, :, 0] - exact)
    assert np.max(wrong / np.maximum(exact, info.tiny)) <= 3 * info.eps
    assert np.max(wrong[exact < info.tiny]) <= info.smallest_subnormal
    assert y_hat[0, -1, 0] == 0


def test_a_character_that_there_is_not_is_refused(compiled):
    """And nothing is read or written beside the arrays."""
    for character in (-1, 3):
        x = np.full((1, 1), character)
        with pytest.raises(IndexError):
            compiled.sum_by_character(np.zeros((1, 1, 2)), x, np.zeros((3, 2)))
        with pytest.raises(IndexError):
            compiled.cross_entropy_forward(np.zeros((1, 1, 3)), x, np.zeros((1, 1, 3)), np.zeros(3))


# -- that they compute several numbers at once --------------------------------------------------------

ON_X86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="counts instructions of x86-64"
)
# tanh of a number divides once, the softmax by the sum, what follows it by the number of losses
DIVISIONS = {"tanh_forward": 1, "gru_gates": 3, "lstm_gates": 5}
DIVISIONS |= {"cross_entropy_forward": 1, "cross_entropy_backward": 1}
ARITHMETIC = r"\bv?(?:fn?m(?:add|sub)\d+|mul|add|sub|div|max)"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="counts instructions of x86-64")
@pytest.mark.parametrize("name", KERNELS)
def test_each_kernel_computes_many_numbers_at_once(compiled, name):
    from numba import njit

    kernel = getattr(compiled, name)
    fresh = njit(kernel.py_func, error_model="numpy", fastmath=compiled.LIBERTIES)
    results(fresh, arguments(name, np.float32, normal(1.0)))
    (code,) = (fresh.inspect_asm(signature) for signature in fresh.signatures)
    assert len(re.findall(r"\bv?divps\b", code)) >= DIVISIONS.get(name, 0)
    packed, single = (len(re.findall(rf"{ARITHMETIC}{kind}\b", code)) for kind in ("ps", "s[sd]"))
    assert packed >= single / 5 > 0  # the loop over many, and that over what is left, which may be unrolled
    if name == "cross_entropy_forward":  # the largest logit, by the order of integers
        assert re.search(r"\bv?pmaxsd\b|\bv?pcmpgtd\b", code)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_no_kernel_is_given_arrays_that_overlap(monkeypatch, cell):
    """For then the loop over many numbers, which the code has, is passed by: it first looks for overlaps."""
    calls = []

    def spy(name):
        def kernel(*given):
            calls.append(name)
            arrays = [array for array in given if isinstance(array, np.ndarray)]
            for one, other in combinations(arrays, 2):
                assert one is other or not np.shares_memory(one, other), name
            return getattr(elementwise, name)(*given)

        return kernel

    monkeypatch.setattr(layers, "kernels", lambda _: SimpleNamespace(**{name: spy(name) for name in KERNELS}))
    network = Network(ModelConfig(cell=cell, num_layers=2, hidden_size=3, embedding_size=2), 5)
    x, y = np.random.default_rng(0).integers(0, 5, (2, 4, 3))
    rho = np.array([[True, False, True], [True, True, True], [False, True, True], [True, True, True]])
    masks = network.dropout_masks([np.random.default_rng(i) for i in range(3)], 0.5, 4)
    _, window = network.forward(x, y, network.initial_state(3), masks=masks, rho=rho)
    network.backward(window, network.parameters.like(), network.initial_state(3))
    own = {"rnn": "tanh", "gru": "gru", "lstm": "lstm"}[cell]
    assert set(calls) == {name for name in KERNELS if name.startswith((own, "cross", "sum"))}


# -- errors planted in the compiled file --------------------------------------------------------------


def planted():
    """(kernel, line, wrong line): in each line that computes, each sign, factor and name in turn."""
    found = []
    for name, body in re.findall(
        r"^@kernel\ndef (\w+)\([^@]*?\) -> [^@]*?:\n(.*?)(?=^@kernel|\Z)", SOURCE, re.M | re.S
    ):
        before, _, inner = body.partition("for j in range(")
        lines = re.findall(r".* [-+*/]= .*", before) + inner.splitlines()[1:]
        names = sorted(set(re.findall(r"\b\w+\[j\]", "\n".join(lines))))
        for line in lines:
            left, sign, right = re.fullmatch(r"(.*?)( [-+*/]?= |$)(.*)", line).groups()
            # (what is taken off all logits is no matter, as long as exp stays in its range)
            if not sign or re.match(r"\s*\w+,", left) or left.strip() in ("shift", "y_hat", "row"):
                continue
            wrongs = [
                left + sign + right.replace(" + ", " - ", 1),
                left + sign + right.replace(" - ", " + ", 1),
            ]
            wrongs += [left + sign + right.replace(" * ", " + ", 1), f"{left}{sign}-({right})"]
            wrongs += [f"{left}{sign}({right}) * (1 + 1e-9)", f"{left} = {right}"]
            for word in re.findall(r"\b\w+\[j\]", right):
                other = names[(names.index(word) + 1) % len(names)]
                wrongs.append(left + sign + right.replace(word, other, 1))
            found += [(name, line, wrong) for wrong in dict.fromkeys(wrongs) if wrong != line]
    return found


PLANTED = planted()


def as_python(source):
    """The kernels of the compiled file as they are before they are compiled; numba is not needed."""
    numba = ModuleType("numba")
    vars(numba).update(njit=lambda function, **_: function, types=SimpleNamespace(float32=None))
    extending = ModuleType("numba.extending")
    vars(extending)["overload"] = lambda _: lambda function: function
    before = {name: sys.modules.get(name) for name in ("numba", "numba.extending")}
    sys.modules |= {"numba": numba, "numba.extending": extending}
    try:
        namespace = {"__name__": "planted"}
        exec(source, namespace)
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    return namespace


def agrees(kernels, name):
    """Whether a kernel of float64 numbers agrees with its definition."""
    given = arguments(name, np.float64, normal(1.0, seed=2), B=2, H=3)
    expected = results(getattr(elementwise, name), given)
    try:
        assert_near(results(kernels[name], given), expected, 1e-13)
    except AssertionError:
        return False
    return True


def test_an_error_planted_in_a_compiled_kernel_is_caught():
    right = as_python(SOURCE)
    assert all(agrees(right, name) for name in KERNELS)
    assert len(PLANTED) >= 60
    for name, line, wrong in PLANTED:
        start = SOURCE.index(f"def {name}(")
        source = SOURCE[:start] + SOURCE[start:].replace(line, wrong, 1)
        assert not agrees(as_python(source), name), (name, wrong)
