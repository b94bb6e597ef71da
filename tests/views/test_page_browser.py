"""The page in a real Chromium."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from charrnn import CharRNN, Corpus, load
from charrnn.cli import main
from charrnn.views.page import network_data
from charrnn.views.reach import reach

CORPUS = Corpus.from_text("the cat (sat) on the mat;\nhe sat. " * 20)
FORMS = {
    "rnn": {},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "two layers": {"cell": "gru", "num_layers": 2},
    "two layers of lstm": {"cell": "lstm", "num_layers": 2},
    "embedding": {"cell": "lstm", "embedding_size": 4},
}


@pytest.fixture(scope="module")
def url(run_folder, tmp_path_factory):
    """The page of a run of tanh and of one of an LSTM, as float32."""
    folder = tmp_path_factory.mktemp("page")
    text = folder / "text.txt"
    text.write_text('the hen said "no (not now) to me" and "yes" to him.\n\n' * 60)
    words = ["train", text, "--out", folder / "cells", "--cell", "lstm", "--hidden-size", 12, "--epochs", 2]
    words += ["--seq-length", 16, "--batch-size", 4, "--test-fraction", 0.1]
    assert main([str(word) for word in words]) == 0
    words = ["page", run_folder, folder / "cells", "--precision", "float32", "--out", folder / "page.html"]
    assert main([str(word) for word in words]) == 0
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def opened(browser, url):
    open_page(browser, url)
    return browser


@pytest.fixture
def page(opened):
    """The page, as the test before left it; and nothing wrong in the console at the end."""
    yield opened
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


def open_page(browser, url, link="#t=20"):
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(url + link)
    wait(browser, "document.getElementById('total').textContent")


def wait(browser, condition):
    """Wait until a JavaScript expression is true."""
    script = f"""const done = arguments[0];
        const look = () => ({condition}) ? done(true) : setTimeout(look, 10); look();"""
    browser.execute_async_script(script)


def ask(browser, expression, *arguments):
    return browser.execute_script(f"return {expression}", *arguments)


def model_of(form):
    model = CharRNN(CORPUS.vocabulary, 9, **FORMS[form])
    rng = np.random.default_rng(1)
    model.parameters.flat += 0.3 * rng.standard_normal(model.parameters.flat.size).astype(np.float32)
    return model


READ = """const network = new charrnn.Network(arguments[0]), steps = [];
    let state = network.begin();
    for (const x of arguments[1]) steps.push(state = network.step(x, state));
    return """


@pytest.mark.parametrize("form", FORMS)
def test_the_logits_are_those_of_python(page, form):
    model, tokens = model_of(form), CORPUS.tokens[:50]
    data, _ = network_data(model, "float32")
    found = page.execute_script(
        READ + "steps.map((layers) => Array.from(network.logits(layers)))", data, tokens.tolist()
    )
    expected, _ = model.logits(tokens[:, np.newaxis].astype(int), model.initial_state(1))
    assert np.abs(np.array(found) - expected[:, 0]).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_rounded_weights_are_read_as_they_were_rounded(page, precision):
    tokens = CORPUS.tokens[:20]
    data, model = network_data(model_of("two layers"), precision)
    found = page.execute_script(READ + "Array.from(network.logits(steps.at(-1)))", data, tokens.tolist())
    expected, _ = model.logits(tokens[:, np.newaxis].astype(int), model.initial_state(1))
    assert np.abs(np.array(found) - expected[-1, 0]).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("form", FORMS)
def test_the_reach_is_that_of_views(page, form):
    model, tokens = model_of(form), CORPUS.tokens[:41].astype(int)
    data, _ = network_data(model, "float32")
    found = page.execute_script(
        READ + "network.reach(steps, arguments[2])", data, tokens[:-1].tolist(), int(tokens[-1])
    )
    double = model.like(np.float64)
    double.parameters.flat[...] = model.parameters.flat
    expected = reach(double, tokens[:-1, np.newaxis], tokens[-1:])
    assert set(found) == ({"a"} if expected.c is None else {"a", "c"})
    for state, lengths in found.items():
        np.testing.assert_allclose(lengths[::-1], getattr(expected, state)[:, 0], rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32, 2**63 + 5, 2**200 + 7])
def test_chance_is_numpys(page, seed):
    script = "const random = charrnn.generator(BigInt(arguments[0])); return Array.from({length: 50}, random)"
    assert page.execute_script(script, str(seed)) == np.random.default_rng(seed).random(50).tolist()


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 2**60 + 1, "temperature": 1.0},
        {"seed": 4, "temperature": 0.6, "prime": "the hen"},
        {"seed": 5, "temperature": 1.5, "top_k": 5},
        {"seed": 6, "temperature": 1.2, "top_p": 0.8},
        {"seed": 7, "temperature": 0},
    ],
    ids=str,
)
def test_the_same_seed_writes_what_charrnn_sample_writes(page, run_folder, settings):
    fields = {"prime": "opening", "top_k": "top-k", "top_p": "top-p"}
    page.execute_script(
        "for (const field of document.querySelectorAll('#settings input')) field.value = field.defaultValue"
    )
    for name, value in settings.items():
        type_into(page, fields.get(name, name), value)
    written = page.execute_script(
        """const press = (id) => document.getElementById(id).click();
        press("restart");
        while (charrnn.writer.drawn < 300) press("step");
        return document.getElementById("written").textContent"""
    )
    assert written == load(run_folder).sample(length=300, **settings)
    assert f"--seed {settings['seed']}" in ask(page, text_of("command"))


def type_into(page, control, value):
    """Set the value of a control as a user's typing does."""
    page.execute_script(
        """const control = document.getElementById(arguments[0]);
        control.value = arguments[1];
        control.dispatchEvent(new Event("input", { bubbles: true }));
        control.dispatchEvent(new Event("change", { bubbles: true }));""",
        control,
        str(value),
    )


def test_it_moves_at_once_and_nothing_leaves_it(browser, url):
    asked = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        open_page(browser, url)
        wait(browser, "charrnn.writer.drawn > 20")
        requests = [
            message["params"]["request"]["url"]
            for entry in browser.get_log("performance")
            if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
        ]
        assert {request.split(":")[0] for request in requests} <= {"file", "data", "about"}
        blocked = browser.execute_async_script(
            """const [where, done] = arguments;
            const image = new Image();
            image.src = where + "image";
            navigator.sendBeacon?.(where + "beacon");
            fetch(where + "fetch").then(() => done(false), () => setTimeout(() => done(true), 200));""",
            f"http://127.0.0.1:{server.server_port}/",
        )
        assert blocked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        browser.get("about:blank")
        browser.get_log("browser")  # the three that were blocked
    assert asked == []


def text_of(*ids):
    return " + ".join(f"document.getElementById('{name}').textContent" for name in ids)


CONTROLS = [  # in this order: what is done, and what is different after it
    ("click #play", text_of("play")),
    ("click #step", "charrnn.writer.drawn"),
    ("set speed 1", text_of("speed-says")),
    ("set opening the", text_of("command")),
    ("set temperature 2", text_of("command")),
    ("set top-k 3", text_of("command")),
    ("set top-p 0.5", text_of("command")),
    ("set seed 9", text_of("command")),
    ("click #play", text_of("play")),
    ("click #restart", text_of("play")),
    ("set unit 3", text_of("caption") + "+ document.getElementById('text').innerHTML + location.hash"),
    ("click [value=surprise]", text_of("caption") + "+ document.getElementById('text').innerHTML"),
    ("click [value=reach]", text_of("caption") + "+ document.getElementById('text').innerHTML"),
    ("click [value=c]", text_of("caption") + "+ document.getElementById('reach').innerHTML + location.hash"),
    ("set cut 3", text_of("cut-share", "cut-says") + "+ document.getElementById('reach').innerHTML"),
    ("click #text span:nth-child(90)", text_of("letter", "cost", "guesses") + "+ location.hash"),
    ("key ArrowRight", text_of("letter")),
    ("key ArrowDown", text_of("letter")),
    ("key End", text_of("letter")),
    ("click [value=written]", text_of("text", "total")),
    ("click [value=own]", "document.getElementById('own-label').hidden"),
    ("set own see", text_of("text", "total")),
    ("set kind expects", text_of("table")),
    ("click [value=unit]", text_of("caption")),
    ("click #table tr:nth-child(2)", text_of("caption") + "+ location.hash"),
    (
        "click #runs label:nth-of-type(1) input",
        text_of("about", "units-about", "unnamed") + "+ location.hash",
    ),
]


def test_every_control_does_something(page, url):
    open_page(page, url, "#run=cells&t=40&unit=1")
    for act, seen in CONTROLS:
        kind, what = act.split(maxsplit=1)
        before = ask(page, seen)
        if kind == "click":
            page.execute_script("document.querySelector(arguments[0]).click()", what)
        elif kind == "set":
            type_into(page, *what.split())
        else:
            event = "new KeyboardEvent('keydown', { key: arguments[0] })"
            page.execute_script(f"document.getElementById('text').dispatchEvent({event})", what)
        wait(page, text_of("total"))
        assert ask(page, seen) != before, act


def test_a_link_brings_back_what_was_seen(page, url):
    open_page(page, url, "#run=cells&unit=7&lens=reach&by=c&text=the%20hen%20said%20no&t=6&T=5&seed=4")
    state = ask(page, "({...charrnn.page})")
    assert {name: state[name] for name in ("run", "unit", "lens", "state", "source", "text", "t", "cut")} == {
        "run": 1,
        "unit": 7,
        "lens": "reach",
        "state": "c",
        "source": "own",
        "text": "the hen said no",
        "t": 6,
        "cut": 5,
    }
    assert ask(page, "document.getElementById('letter').textContent") == "Letter 7: n"
    assert ask(page, "document.querySelector('[name=lens]:checked').value") == "reach"
    assert ask(page, "document.querySelector('#text .chosen').textContent") == "n"
    assert ask(page, "document.querySelectorAll('#text .reach').length") >= 3
    assert "seed=4" in ask(page, "location.hash")


@pytest.mark.parametrize(
    "link",
    ["#unit=99999&t=99999&T=0", "#unit=x&t=-1&lens=none&by=c&run=none", "#text=&t=5", "#%E0%A4%A&seed=1e9"],
)
def test_a_damaged_link_shows_the_page_all_the_same(browser, url, link):
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(url + link)
    wait(browser, "charrnn.writer.drawn > 3")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_nothing_moves_by_itself_for_those_who_ask_for_less_motion(page, url):
    reduced = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", reduced)
    try:
        open_page(page, url)
        assert ask(page, "[charrnn.writer.playing, charrnn.writer.drawn]") == [False, 600]
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_surprise_adds_up_to_the_loss(page, run_folder):
    total = ask(page, "document.getElementById('total').textContent")
    model = load(run_folder)
    shown = np.array(ask(page, "charrnn.data.runs[0].shown"))[:, np.newaxis]
    loss, _ = model.forward(shown[:-1], shown[1:], model.initial_state(1))
    assert f"{loss:.3f} nats, {loss / np.log(2):.3f} bits" in total


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_is_wider_than_the_screen_or_lies_on_its_neighbour(page, url, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_page(page, url, "#run=cells&lens=reach&text=the%20hen&t=3")
        page.execute_script("document.getElementById('settings').open = true")
        assert ask(page, "document.documentElement.scrollWidth") <= width
        overlapping = page.execute_script(
            """const boxes = [...document.querySelectorAll(
                "h1, h2, h3, p, button, label, legend, figcaption, summary, .plot, .scroll, select")]
                .filter((e) => e.offsetParent && !e.closest(".unseen, .scroll *"))
                .map((e) => [e, e.getBoundingClientRect()]);
            const names = [];
            for (const [one, a] of boxes) for (const [other, b] of boxes) {
                if (one === other || one.contains(other) || other.contains(one)) continue;
                const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                if (wide > 2 && high > 2) names.push(`${one.textContent} / ${other.textContent}`);
            }
            return names"""
        )
        assert overlapping == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_has_a_name_for_those_who_cannot_see_it(page):
    page.execute_script("document.getElementById('settings').open = true")
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "radio", "slider", "spinbutton", "textbox", "combobox", "image", "region", "group"}
    controls = [node for node in nodes if node.get("role", {}).get("value") in roles]
    assert len(controls) > 25
    assert [
        (node["role"]["value"], node.get("description"), node.get("properties"))
        for node in controls
        if not node.get("name", {}).get("value") and node["role"]["value"] != "group"
    ] == []
