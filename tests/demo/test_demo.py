"""``ivy-models demo``: the answers of its server, and the page in a real browser."""

import base64
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import CHOSEN, ROOT, unset_backends
from helpers.processes import LIMIT
from PIL import Image

from ivy_models import attention_maps, attention_rollout, classify, create_model
import ivy

DIGITS = "perceiver_io_digits"
FASHION = "perceiver_io_fashion"
SEVEN = ROOT / "examples" / "seven.png"
LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
BROWSER = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",  # Chromium refuses to run as root without it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def arc(x, y, width, height, start, end):
    """Points of an arc of an ellipse, between angles in degrees; 0 is right, 90 is down."""
    angles = np.radians(np.linspace(start, end, 24))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], -1).tolist()


def drawn_digits():
    """Strokes of handwritten digits 0 to 9, all in the middle of the canvas."""
    return [
        [arc(0.5, 0.5, 0.2, 0.3, -90, 270)],
        [[[0.42, 0.32], [0.52, 0.2], [0.52, 0.8]]],
        [[*arc(0.5, 0.35, 0.17, 0.15, -170, 30), [0.33, 0.8], [0.7, 0.8]]],
        [arc(0.48, 0.35, 0.17, 0.15, -150, 90) + arc(0.48, 0.65, 0.19, 0.15, -90, 150)],
        [[[0.45, 0.2], [0.3, 0.55], [0.7, 0.55]], [[0.6, 0.35], [0.6, 0.82]]],
        [[[0.68, 0.2], [0.38, 0.2], [0.36, 0.46], *arc(0.48, 0.62, 0.18, 0.18, -130, 140)]],
        [[[0.6, 0.2], [0.42, 0.4], *arc(0.5, 0.64, 0.17, 0.17, -170, 190)]],
        [[[0.32, 0.22], [0.68, 0.22], [0.45, 0.8]]],
        [arc(0.5, 0.35, 0.14, 0.15, 90, 450) + arc(0.5, 0.65, 0.17, 0.15, -90, 270)],
        [[*arc(0.5, 0.37, 0.16, 0.16, 0, -360), [0.66, 0.5], [0.6, 0.8]]],
    ]


def drawn_clothing():
    """Outlines of clothing, by label: corners in hundredths of the canvas."""
    outlines = {
        "trouser": "35,10 65,10 68,90 54,90 50,35 46,90 32,90 35,10",
        "T-shirt": "38,15 44,20 56,20 62,15 85,32 76,46 68,40 68,85 32,85 32,40 24,46 15,32 38,15",
        "pullover": "38,12 62,12 76,22 90,80 78,84 68,45 68,86 32,86 32,45 22,84 10,80 24,22 38,12",
        "dress": "42,10 47,22 53,22 58,10 60,40 70,90 30,90 40,40 42,10",
        "bag": "20,45 80,45 80,85 20,85 20,45",
        "ankle boot": "40,10 64,10 66,62 66,88 22,88 12,82 14,72 38,58 40,10",
    }
    strokes = {
        label: [[[int(n) / 100 for n in corner.split(",")] for corner in corners.split()]]
        for label, corners in outlines.items()
    }
    strokes["bag"].append(arc(0.5, 0.45, 0.18, 0.25, -180, 0))
    return strokes


# The server, without a browser


@pytest.fixture
def client():
    pytest.importorskip("flask")
    from ivy_models.demo.models import Models
    from ivy_models.demo.server import make_app

    unset_backends()
    yield make_app(Models(), {"model": DIGITS, "backend": "numpy"}).test_client()
    unset_backends()


def ask(client, look=False, model=DIGITS, backend="numpy", **what):
    query = {"model": model, "backend": backend, "look": str(look).lower()}
    return client.post("/answer", query_string=query, **what)


def pixels(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_an_answer_is_that_of_classify_on_each_backend(client):
    expected = classify(create_model(DIGITS, pretrained=True), SEVEN, 5)
    for backend in [*CHOSEN, CHOSEN[0]]:
        response = ask(client, backend=backend, data=SEVEN.read_bytes())
        assert ivy.current_backend_str() == backend
        assert len(ivy.backend_stack) == 1
        predictions = response.json["predictions"]
        assert [p["label"] for p in predictions] == [p.label for p in expected]
        assert [p["probability"] for p in predictions] == pytest.approx(
            [p.probability for p in expected], abs=1e-4
        )
        assert response.json["looked"] is None


def test_the_language_of_a_text_and_its_letters(client):
    text = "Der Zug nach Hamburg hat heute leider Verspätung."
    answers = [
        client.post("/language", query_string={"backend": name}, json=text).json
        for name in (CHOSEN[0], CHOSEN[-1])
    ]
    for answer in answers:
        assert (answer["language"], answer["name"]) == ("de", "German")
        assert answer["candidates"][0] == pytest.approx(answers[0]["candidates"][0], abs=1e-4)
        assert answer["letters"] == f" {text.lower()} "
        assert sum(answer["shares"]) == pytest.approx(1, abs=1e-4)
    for given, sentence in (("12 345", "has no letters"), ([], "Expected a text, got list")):
        refused = client.post("/language", query_string={"backend": CHOSEN[0]}, json=given)
        assert refused.status_code == 400
        assert sentence in refused.json["error"]
    assert b"Which language?" in client.get("/language.html").data


class Turns:
    """A lock for the demo's models that reports who waits for it."""

    def __init__(self, arrive):
        self._lock, self._arrive = threading.Lock(), arrive

    def __enter__(self):
        if not self._lock.acquire(blocking=False):
            self._arrive()
            self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_visitors_with_different_backends_take_turns(monkeypatch):
    pytest.importorskip("flask")
    from ivy_models.demo import models
    from ivy_models.demo.server import make_app

    arrived = {"numpy": threading.Event(), "torch": threading.Event()}
    computed, visitor = {name: set() for name in arrived}, threading.local()

    def arrive():
        arrived[visitor.backend].set()

    def record(x, name):
        """Continue when the other visitor waits, or has changed the backend, which is a defect."""
        arrive()
        (other,) = arrived.keys() - {visitor.backend}
        assert arrived[other].wait(LIMIT)
        computed[visitor.backend].add(type(x.data).__module__)
        return numpy_of(x, name)

    numpy_of = models.to_numpy
    monkeypatch.setattr(models, "to_numpy", record)
    shown = models.Models()
    shown._lock = Turns(arrive)
    app = make_app(shown, {"model": DIGITS, "backend": "numpy"})

    def visit(backend):
        visitor.backend, line = backend, [[[0, 0], [0, 1]]]
        client = app.test_client()
        codes = {ask(client, True, backend=backend, json=line).status_code for _ in range(6)}
        arrive()  # finished before the other one began
        return codes

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(visit, ["numpy", "torch"])) == [{200}, {200}]
    assert computed == {"numpy": {"numpy"}, "torch": {"torch"}}
    unset_backends()


def test_where_it_looked_is_the_rollout(client):
    answer = ask(client, look=True, data=SEVEN.read_bytes()).json
    model = create_model(DIGITS, pretrained=True)
    data = model.preprocessing(SEVEN)
    share = ivy.to_numpy(attention_rollout(attention_maps(model, data[None])))[0, 0]
    looked = pixels(answer["looked"])
    np.testing.assert_array_equal(looked[..., 3], np.round(255 * share / share.max()))
    assert looked[..., 3].std() > 1
    np.testing.assert_allclose(pixels(answer["seen"]), 127.5 * data[..., 0] + 127.5, atol=1)


def test_drawn_digits_are_recognised_wherever_they_are_drawn(client):
    """Most of them: see docs/demo.rst."""
    for scale, moved in ((1, 0), (0.3, 0.6)):
        answers = [
            ask(client, json=[(scale * np.array(s) + moved).tolist() for s in strokes]).json
            for strokes in drawn_digits()
        ]
        right = [
            answer["predictions"][0]["label"] == label
            for answer, label in zip(answers, LABELS, strict=True)
        ]
        assert sum(right) >= 9
        for answer in answers:
            assert pixels(answer["seen"]).mean() / 255 == pytest.approx(0.305, abs=0.03)


def test_drawn_clothing_is_filled_and_recognised(client):
    """Most of it: see docs/demo.rst."""
    right = [
        ask(client, model=FASHION, json=strokes).json["predictions"][0]["label"] == label
        for label, strokes in drawn_clothing().items()
    ]
    assert sum(right) >= 5
    # A line that encloses nothing is not filled.
    seen = pixels(ask(client, model=FASHION, json=[[[0.2, 0.2], [0.8, 0.8]]]).json["seen"])
    assert seen.shape == (28, 28)
    assert (seen[0, -1], seen[-1, 0]) == (0, 0)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (
            {"data": b"no image"},
            "The file is not an image, or has a format that Pillow cannot read.",
        ),
        ({"data": SEVEN.read_bytes()[:300]}, "The file cannot be read as an image"),
        ({"data": b""}, "The file is not an image"),
        ({"json": []}, "Nothing is drawn."),
        ({"json": {"a": 1}}, "Nothing is drawn."),
        ({"json": [[]]}, "A stroke must be a list of points"),
        ({"json": [[[0.5, 2]]]}, "A stroke must be a list of points"),
        ({"json": [[[0.5, float("nan")]]]}, "A stroke must be a list of points"),
        ({"json": [[["a", 0.1]]]}, "A stroke must be a list of points"),
        ({"json": [[[0.5, 0.5], [0.5]]]}, "A stroke must be a list of points"),
        ({"json": [[[0.5, 0.5]] * 10_001]}, "The drawing has more than 10,000 points"),
        ({"data": SEVEN.read_bytes(), "model": "/etc"}, "There is no model '/etc' here"),
        ({"data": SEVEN.read_bytes(), "backend": "mxnet"}, "There is no backend 'mxnet' here"),
    ],
)
def test_wrong_requests_are_refused(client, what, sentence):
    response = ask(client, **what)
    assert response.status_code == 400
    assert response.json["error"].startswith(sentence)


def test_too_much_is_refused(client):
    from ivy_models.demo.server import MAX_FILE

    response = ask(client, data=bytes(MAX_FILE + 1))
    assert (response.status_code, response.json["error"]) == (413, "This is more than 20 MiB.")
    response = ask(client, json=[[[0.123456789, 0.5]] * 60_000])
    assert (response.status_code, response.json["error"]) == (413, "This is more than 1 MiB.")


@pytest.mark.parametrize("header", ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example"])
def test_requests_of_other_sites_are_refused(client, header):
    name, value = header.split(": ")
    response = ask(client, json=[[[0, 0]]], headers={name: value})
    assert response.status_code == 403
    assert client.post("/language", json="a text", headers={name: value}).status_code == 403
    assert "default-src 'none'" in client.get("/").headers["Content-Security-Policy"]


# The command


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "perceiver_io_language"], 2, "language is not an image classifier"),
        (["--model", "nonsense"], 2, "There is no model 'nonsense'"),
        (["--device", "cuda"], 1, "The numpy backend"),
    ],
)
def test_wrong_options_are_refused(run, arguments, code, message):
    pytest.importorskip("flask")
    result = run("demo", "--no-browser", *arguments)
    assert (result.exit_code, message in result.stderr) == (code, True)


def test_an_occupied_port_is_refused(run):
    pytest.importorskip("flask")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("demo", "--no-browser", "--port", str(port))
    assert result.exit_code == 1
    assert f"Cannot serve at 127.0.0.1, port {port}" in result.stderr


def test_without_flask(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "ivy_models.demo.server", raising=False)
    monkeypatch.setitem(sys.modules, "flask", None)
    result = run("demo", "--no-browser")
    assert result.exit_code == 1
    assert 'pip install ".[demo]"' in result.stderr


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of the real server, which also offers a saved model."""
    pytest.importorskip("flask")
    folder = tmp_path_factory.mktemp("demo") / "saved"
    create_model(DIGITS, pretrained=True).save_pretrained(folder)
    command = [sys.executable, "-m", "ivy_models", "demo", "--no-browser", "--port", "0"]
    command += ["--model", DIGITS, "--model", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    printed = server.stdout.readline()
    found = re.match(r"http://127\.0\.0\.1:\d+/", printed)
    assert found, printed
    yield found[0]
    server.terminate()
    server.wait()
    server.stdout.close()


def test_foreign_host_headers_are_refused(address):
    import requests

    assert requests.get(address).status_code == 200
    assert requests.get(address, headers={"Host": "evil.example"}).status_code == 400


# The page


@pytest.fixture
def page(address, tmp_path):
    """The page in Chromium. It must contact no other host and report no error."""
    if BROWSER is None:
        pytest.skip("needs a browser: Debian's package chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=BROWSER, args=FLAGS, chromium_sandbox=False
        )
        browser.set_default_timeout(1000 * LIMIT)
        page, wrong = browser.pages[0], []
        browser.on(
            "request",
            lambda r: r.url.startswith((address, "data:", "blob:")) or wrong.append(r.url),
        )
        page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#model option", state="attached")
        page.wrong = wrong
        yield page
        browser.close()
    assert wrong == []


def draw(page, strokes):
    box = page.locator("#canvas").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def wait_for(page, status):
    page.wait_for_function(
        "text => document.getElementById('status').textContent.startsWith(text)", arg=status
    )


def first_label(page):
    return page.locator("#labels li:first-child .name").inner_text()


def test_the_page_in_a_browser(page, address, tmp_path):
    assert page.locator("#model").input_value() == DIGITS
    assert page.locator("#backend").input_value() == "numpy"
    assert page.locator("#model option").count() == 6

    draw(page, drawn_digits()[3])
    wait_for(page, f"{DIGITS} on numpy: ")
    assert first_label(page) == "three"
    assert page.locator("#labels li").count() == 5
    page.wait_for_selector("#looked", state="visible")
    assert page.evaluate("document.getElementById('looked').naturalWidth") == 8
    page.get_by_label("Show where it looked").uncheck()
    page.wait_for_selector("#looked", state="hidden")
    page.get_by_label("Show where it looked").check()
    page.wait_for_selector("#looked", state="visible")

    other = next((name for name in CHOSEN if name != "numpy"), "numpy")
    page.get_by_label("Backend").select_option(other)
    wait_for(page, f"{DIGITS} on {other}: ")
    assert first_label(page) == "three"

    saved = page.locator("#model option").first.get_attribute("value")
    page.get_by_label("Model").select_option(saved)
    wait_for(page, f"{saved} on {other}: ")
    assert first_label(page) == "three"

    page.get_by_role("button", name="Clear").click()
    wait_for(page, "Waiting for an image.")
    assert page.locator("#figure").is_hidden()

    page.locator("#file").set_input_files(SEVEN)
    page.wait_for_selector("#labels li")
    assert first_label(page) == "seven"

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    page.locator("#file").set_input_files(broken)
    page.wait_for_selector("#error", state="visible")
    text = page.locator("#error").inner_text()
    assert text == "The file is not an image, or has a format that Pillow cannot read."
    assert page.locator("#labels li").count() == 0
    # The browser itself reports the answer's status.
    assert len(page.wrong) == 1
    assert "400" in page.wrong.pop()

    dropped = page.evaluate_handle(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "seven.png", {type: "image/png"}));
            return data;
        }""",
        list(SEVEN.read_bytes()),
    )
    page.dispatch_event("#board", "drop", {"dataTransfer": dropped})
    page.wait_for_selector("#labels li")
    assert first_label(page) == "seven"
    assert page.locator("#error").is_hidden()


def test_the_page_fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    draw(page, drawn_digits()[0])
    page.wait_for_selector("#labels li")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
