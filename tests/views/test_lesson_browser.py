"""The lesson in a real Chromium."""

import json

import numpy as np
import pytest

from charrnn import layers
from charrnn.cli import main
from charrnn.proofs.window import forward, gradients
from charrnn.views.lesson import lesson_data

ANSWERS = {
    "db_a": "dz.sum(axis=(0, 1))",
    "dW_aa": "dz2 = (dlogits[1] @ W_ya.T) * (1 - a[2] ** 2)\n"
    "da1 = dlogits[0] @ W_ya.T + dz2 @ W_aa.T  # B3\n"
    "a[0].T @ (da1 * (1 - a[1]**2)) + a[1].T @ dz2",
    "tied": "sum(x.swapaxes(1, 2) @ dz, axis=0) + (dlogits.swapaxes(-1, -2) @ a[:, :]).sum(0)",
    "temperature": "e = np.exp(logits / tau)\ny_hat = e / e.sum(axis=-1, keepdims=True)\n"
    "return (y_hat - y) / tau, -((y_hat - y) * logits).sum() / tau ** 2",
    "smoothed": "y_hat - (1 - epsilon) * y - epsilon / y.shape[-1]",
    "leaky": "dz = alpha * da * (1 - np.tanh(z)**2)\ndz, (1 - alpha) * da + dz @ W_aa.T",
    "reset": "back = dz_n @ W_n.T\nback * past * r * (1 - r), back * r, (r * past).T @ dz_n",
    "peephole": "g = da * tanh(c) * o * (1 - o)\nda * o * (1 - tanh(c)**2) + g * p, (g * c).sum(axis=0)",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    out = tmp_path_factory.mktemp("lesson") / "lesson.html"
    assert main(["derive", "--page", str(out)]) == 0
    return out.as_uri()


@pytest.fixture
def page(browser, url):
    """The page as it opens; and nothing wrong in the console, and no request, at the end."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(url)
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [address for address in asked if not address.startswith(("file:", "data:", "about:"))] == []


def ask(browser, expression, *arguments):
    return browser.execute_script(f"return {expression}", *arguments)


def nested(array):
    """What JavaScript gives back of an array."""
    return np.array(array["values"]).reshape(array["shape"])


@pytest.mark.parametrize("scale", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_windows_are_those_of_the_layers(page, cell, scale):
    w = lesson_data()["windows"][cell]
    p = {name: np.array(array) for name, array in w["p"].items()} | {"x": np.array(w["x"])}
    p |= {name: np.array(state) for name, state in zip(("a0", "c0"), w["before"], strict=False)}
    p["W_aa"] = p["W_aa"] * scale
    y = np.array(w["y"]).argmax(axis=-1)
    loss, _, _ = forward(layers, cell, p, y)
    expected = gradients(layers, cell, p, y)
    script = """const { g, loss, m } = run(lesson.windows[arguments[0]], arguments[1]);
        const plain = (a) => ({ shape: a.shape, values: [...a.values] });
        return [loss, { ...Object.fromEntries(Object.entries(g).map(([k, a]) => [k, plain(a)])),
            a0: plain(m.da[0]), ...(m.dc[0] ? { c0: plain(m.dc[0]) } : {}) }]"""
    found_loss, found = page.execute_script(script, cell, scale)
    assert found_loss == pytest.approx(float(loss), rel=1e-12)
    assert set(found) == set(expected) - {"x"}
    for name, array in found.items():
        np.testing.assert_allclose(nested(array), expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_every_equation_is_shown_once_or_at_each_step(page, cell):
    shown = ask(page, "run(lesson.windows[arguments[0]]).steps.map(({ tag, t }) => [tag, t])", cell)
    assert len({(tag, t) for tag, t in shown}) == len(shown)
    own = {"rnn": ("F1", "F2", "B3", "B4", "B5", "B9"), "gru": ("GF", "GB"), "lstm": ("LF", "LB", "B5")}[cell]
    common = ("F3", "F4", "B1", "B2", "B6", "B7", "B8")
    equations = lesson_data()["equations"]
    expected = {tag for tag in equations if tag.startswith(own) or tag in common}
    assert {tag for tag, _ in shown} == expected


def test_gradients_vanish_and_explode(page):
    ratio = "(({ m }) => norm(m.da[1]) / norm(m.da[40]))(run(lesson.flows.rnn, arguments[0], true))"
    assert ask(page, ratio, 0.5) < 1e-9
    assert ask(page, ratio, 3) > 1e2


def test_the_stages_of_the_tensor_end_in_the_gradient(page):
    for rule in ("columns", "rows"):
        page.execute_script("document.querySelector(`[name=rule][value=${arguments[0]}]`).click()", rule)
        last = ask(page, "blocks(lesson.rules[arguments[0]], 3)[0][0][1]", rule)
        np.testing.assert_allclose(nested(last), lesson_data()["rules"][rule]["dW"], rtol=1e-12)
        summed = ask(page, "blocks(lesson.rules[arguments[0]], 2).flat().map(([, a]) => a)", rule)
        np.testing.assert_allclose(sum(map(nested, summed)), nested(last), rtol=1e-12)


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_marked(page, name):
    assert ask(page, "mark(lesson.exercises[arguments[0]], arguments[1])", name, ANSWERS[name]) == "right"
    wrong = (
        ANSWERS[name]
        .replace(".T", "")
        .replace("**2", "**3")
        .replace("(0, 1)", "0")
        .replace("sum(0)", "sum(1)")
    )
    wrong = wrong.replace("tau ** 2", "tau").replace("(1 - epsilon)", "(1 + epsilon)")
    assert wrong != ANSWERS[name]
    assert ask(page, "mark(lesson.exercises[arguments[0]], arguments[1])", name, wrong) != "right"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "nothing is written yet"),
        ("dz +", "ends too early"),
        ("dz.sum(axis=7)", "no such axis"),
        ("dz @ nothing", "nothing is not known here"),
        ("dz dz", "is not understood"),
        ("(dz", ") expected"),
        ("dz, dz", "2 given, 1 expected"),
        ("dz", "the shape is (4, 3, 5), expected (5,)"),
        ("2 * dz.sum(axis=(0, 1))", "the first wrong element is at (0,)"),
        ("dz[9]", "outside"),
        ("constructor", "not known"),
        ("dz / 0 * 0 + dz.sum(axis=(0, 1))", "the shape is"),
        ("dz.sum(axis=(0, 1)) / 0", "wrong element"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(page, written, said):
    page.execute_script(
        "document.querySelector('[data-exercise=db_a] textarea').value = arguments[0]", written
    )
    page.execute_script("document.querySelector('[data-exercise=db_a] button').click()")
    assert said in ask(page, "document.querySelector('[data-exercise=db_a] output').textContent")


SEEN = "document.querySelector('main').innerText"
CONTROLS = {
    "stage": "set('stage', 2)",
    "rows": "document.querySelector('[name=rule][value=rows]').click()",
    "entry": "document.querySelectorAll('#dW button')[4].click()",
    "sizes": "set('sizes', 3)",
    "cell": "document.querySelector('[name=cell][value=lstm]').click()",
    "next": "document.getElementById('next').click()",
    "backward": "document.getElementById('backward').click()",
    "place": "set('place', 20)",
    "scale": "set('scale', 2)",
    "play": "document.getElementById('play').click()",
    "arrow": "document.getElementById('unrolled').dispatchEvent("
    "new KeyboardEvent('keydown', { key: 'ArrowRight' }))",
}
SET = """const set = (id, value) => { const field = document.getElementById(id);
    field.value = value; field.dispatchEvent(new Event('input')); };"""


@pytest.mark.parametrize("control", CONTROLS)
def test_every_control_does_something_and_the_address_keeps_it(page, control):
    before = ask(page, SEEN)
    page.execute_script(SET + CONTROLS[control])
    after = ask(page, SEEN)
    assert after != before
    if control != "play":
        link = ask(page, "location.href")
        page.get("about:blank")
        page.get(link)
        assert ask(page, SEEN) == after


def test_a_strange_address_is_no_harm(page):
    for link in (
        "#rule=constructor&cell=toString&step=-4",
        "#step=1e9&scale=NaN&stage=9&H=99",
        "#%",
        "#entry=9,9",
    ):
        page.execute_script("location.hash = arguments[0]", link)
        page.refresh()
        assert ask(page, "document.getElementById('equation').textContent.length") > 10


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_is_wider_than_the_window_and_every_control_has_a_name(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    for cell in ("rnn", "gru", "lstm"):
        page.execute_script(f"document.querySelector('[name=cell][value={cell}]').click()")
        assert ask(page, "document.documentElement.scrollWidth") <= width
    nameless = """[...document.querySelectorAll('button, input, textarea')].filter((e) =>
        !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).length"""
    assert ask(page, nameless) == 0
    overlapping = """(() => { const boxes = [...document.querySelectorAll('.controls > *, .terms > figure')]
        .filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect());
        return boxes.filter((a, i) => boxes.some((b, j) => j > i && a.left < b.right - 1
            && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length })()"""
    assert ask(page, overlapping) == 0
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
