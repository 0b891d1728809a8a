"""scripts/serve.py: what the page asks is answered, what is wrong gets a sentence, nothing else is served."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from coloring.network import Network, load
from coloring.sketches import draw, encoded, hint_strokes, home, on_black, on_white, pet, photographed, sea
from networks import PALETTE, write_export
from PIL import Image
from servers import ROOT, SCRIPT, served
from serving import answers, server
from serving.answers import FINEST, Question, colorings
from serving.command import main
from starlette.testclient import TestClient

WIDTH, HEIGHT = 400, 300


@pytest.fixture(scope="module")
def hinted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "hinted", hints=True)


@pytest.fixture(scope="module")
def network(hinted: Path) -> Network:
    return load(hinted)


@pytest.fixture(scope="module")
def client(network: Network) -> TestClient:
    return TestClient(server.make_app(network), base_url="http://localhost")


@pytest.fixture(scope="module")
def page() -> bytes:
    return encoded(on_white(draw(home, WIDTH, HEIGHT, 2, seed=1)))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask(client: TestClient | httpx.Client, drawing: bytes, **more: object) -> list[bytes]:
    """The pictures that the page would get."""
    answer = client.post("/color", content=json.dumps({"drawing": text(drawing), **more}))
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(picture) for picture in answer.json()["pictures"]]


def pixels(data: bytes, mode: str = "RGB") -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert(mode))


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    """The answer is one sentence of one line, with these words in it."""
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


# ---- colours ---------------------------------------------------------------------------------------


def test_a_drawing_gets_colourings_of_its_aspect_in_the_palettes_colours(
    client: TestClient, page: bytes
) -> None:
    found = ask(client, page, variants=3)
    assert 1 <= len(found) <= 3
    assert len(set(found)) == len(found)
    for picture in found:
        colors = pixels(picture)
        assert colors.shape == (FINEST * HEIGHT // WIDTH, FINEST, 3)
        assert {tuple(color) for color in colors.reshape(-1, 3)} <= set(PALETTE.colors)


def test_the_same_question_gets_the_same_answer(client: TestClient, page: bytes) -> None:
    assert ask(client, page, variants=4, seed=5) == ask(client, page, variants=4, seed=5)


def test_hints_decide_what_lies_under_them(client: TestClient, page: bytes) -> None:
    wish = PALETTE.colors[3]
    strokes = hint_strokes(WIDTH, HEIGHT, [("0.1,0.25 0.3,0.25", wish)])
    with_hints = pixels(ask(client, page, hints=text(strokes))[0])
    y, x = with_hints.shape[0] // 4, with_hints.shape[1] // 5
    assert tuple(with_hints[y, x]) == wish


def test_an_empty_page_has_no_colourings(client: TestClient) -> None:
    assert ask(client, encoded(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))) == []


@pytest.mark.parametrize("lines", [True, False])
def test_what_is_downloaded_is_what_was_seen_at_the_pages_own_size(
    client: TestClient, page: bytes, lines: bool
) -> None:
    seen = pixels(ask(client, page, variants=2, seed=1)[1])
    wish = {"drawing": text(page), "variants": 2, "seed": 1, "variant": 1, "lines": lines}
    answer = client.post("/download", content=json.dumps(wish))
    assert answer.headers["content-disposition"] == 'attachment; filename="drawing.png"'
    found = pixels(answer.content)
    assert found.shape == (HEIGHT, WIDTH, 3)
    smaller = cv2.resize(seen, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    same = (smaller == found).all(-1).mean()
    assert same > 0.97 if not lines else 0.8 < same < 0.97


def test_layers_are_downloaded_as_openraster(client: TestClient, page: bytes) -> None:
    answer = client.post("/download", content=json.dumps({"drawing": text(page), "format": "ora"}))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.read("mimetype") == b"image/openraster"
        assert pixels(archive.read("mergedimage.png")).shape == (HEIGHT, WIDTH, 3)


# ---- pictures that are dropped ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "most"),
    [
        (encoded(on_black(draw(sea, 820, 640, 4, seed=1))), 820),
        (encoded(photographed(on_white(draw(sea, 2000, 1500, 7, seed=4)), 0), "JPEG"), answers.PAGE_SIDE),
    ],
    ids=["light on black", "a phone's photo"],
)
def test_a_picture_becomes_ink_on_nothing(client: TestClient, file: bytes, most: int) -> None:
    answer = client.post("/lines", content=file)
    ink = pixels(answer.content, "RGBA")
    assert ink.shape[1] == most
    drawn = ink[..., 3] >= 128
    assert 0.005 < drawn.mean() < 0.2
    assert ink[drawn][:, :3].max() < 60  # whatever it was drawn with, the page's pen is dark


def test_a_photographs_lines_are_drawn(client: TestClient) -> None:
    photo = np.full((200, 300, 3), (90, 160, 220), np.uint8)
    photo[120:] = (30, 90, 30)
    ink = pixels(client.post("/lines?source=photo", content=encoded(photo, "JPEG")).content, "RGBA")
    assert ink.shape[1] == answers.PAGE_SIDE
    drawn = np.flatnonzero((ink[..., 3] > 128).any(1)) / len(ink)
    assert drawn.size
    assert 0.57 < drawn.min() <= drawn.max() < 0.63  # where sky and meadow meet, and nowhere else


@pytest.mark.parametrize("name", answers.EXAMPLES)
def test_examples_are_drawings_that_can_be_coloured(client: TestClient, name: str) -> None:
    answer = client.get(f"/examples/{name}")
    assert answer.headers["content-type"] == "image/png"
    assert len(ask(client, answer.content)) == 1


# ---- what is refused -------------------------------------------------------------------------------


def header_of_a_bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels: 3.6 billion."""
    data = bytearray(encoded(np.zeros((16, 16, 3), np.uint8)))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["empty"]),
        (b"%PDF-1.7 hello", ["no picture", "PNG"]),
        (encoded(np.zeros((40, 40, 3), np.uint8))[:60], ["damaged"]),
        (encoded(np.zeros((8, 8, 3), np.uint8)), ["8 x 8", "16"]),
        (header_of_a_bomb(), ["pixels", "smaller"]),
        (encoded(np.zeros((5200, 5200), np.uint8)), ["5200 x 5200", "25,000,000"]),
        (encoded(np.full((64, 64, 3), 250, np.uint8)), ["no lines"]),
    ],
    ids=["nothing", "a PDF", "half a PNG", "tiny", "a bomb", "too many pixels", "an empty page"],
)
def test_wrong_files_get_a_sentence(client: TestClient, data: bytes, words: list[str]) -> None:
    refused(client.post("/lines", content=data), 422, *words)


def test_too_large_files_are_refused_before_they_are_read_to_the_end(client: TestClient) -> None:
    sent = 0

    def chunks():
        nonlocal sent
        for _ in range(100):
            sent += 1 << 20
            yield b"x" * (1 << 20)

    refused(client.post("/lines", content=chunks()), 413, "24 MB")
    refused(client.post("/color", content=b"x" * (server.QUESTION_BYTES + 1)), 413, "6 MB")


@pytest.mark.parametrize(
    "question",
    [
        b"", b"[]", b"{", b'{"drawing": 3}', b'{"drawing": "%%%"}', b"[" * 200_000, b"\xff\xfe",
        b'{"drawing": "", "variants": 9}', b'{"drawing": "", "variants": 1e99}',
        b'{"drawing": "", "seed": -1}',
        b'{"drawing": "", "path": "/etc/passwd"}',
    ],
    ids=range(11),
)  # fmt: skip
def test_questions_that_the_page_would_not_ask(client: TestClient, question: bytes) -> None:
    refused(client.post("/color", content=question), 400, "load the page again")


def test_wrong_hints_are_refused(client: TestClient, page: bytes) -> None:
    def with_hints(data: bytes) -> httpx.Response:
        return client.post("/color", content=json.dumps({"drawing": text(page), "hints": text(data)}))

    refused(with_hints(b"nothing"), 422, "no picture")
    refused(with_hints(page), 422, "transparency")
    refused(with_hints(hint_strokes(300, 300, [("0.1,0.1 0.5,0.5", (1, 2, 3))])), 422, "300 x 300")


def test_a_network_without_hints_says_so(tmp_path: Path, page: bytes) -> None:
    plain = load(write_export(tmp_path / "plain"))
    assert answers.about(plain)["hints"] is False
    client = TestClient(server.make_app(plain), base_url="http://localhost")
    strokes = hint_strokes(WIDTH, HEIGHT, [("0.1,0.25 0.3,0.25", PALETTE.colors[3])])
    answer = client.post("/color", content=json.dumps({"drawing": text(page), "hints": text(strokes)}))
    refused(answer, 400, "takes no hints")


def test_other_variants_and_sources_than_there_are(client: TestClient, page: bytes) -> None:
    wish = {"drawing": text(page), "variants": 1, "variant": 3}
    refused(client.post("/download", content=json.dumps(wish)), 422, "choose another")
    refused(client.post("/lines?source=video", content=page), 400, "drawing or photo", "'video'")
    refused(client.get("/examples/castle"), 404, "castle", "home")
    refused(client.get("/color"), 405, "GET")


@pytest.mark.parametrize(
    "path",
    [
        "/page/index.html", "/../pyproject.toml", "/..%2f..%2fpyproject.toml", "/%2e%2e/server.py",
        "//etc/passwd", "/examples/..%2f..%2fserver.py", "/page.js/../../server.py", "/server.py",
    ],
)  # fmt: skip
def test_only_the_pages_own_files_are_served(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def test_the_page_asks_nobody_else(client: TestClient) -> None:
    for path, (name, _) in server.PAGE.items():
        answer = client.get(path)
        assert answer.content == (ROOT / "scripts" / "serving" / "page" / name).read_bytes()
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        links = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in links
        assert "https://" not in links


def test_other_sites_may_not_ask(client: TestClient, page: bytes) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    foreign = {"Sec-Fetch-Site": "cross-site"}
    refused(client.post("/lines", content=page, headers=foreign), 403, "another site")


# ---- many at once ----------------------------------------------------------------------------------


def test_fifty_questions_at_once_get_each_its_own_answer(hinted: Path, network: Network) -> None:
    scenes = [home, sea, pet]
    drawings = [encoded(on_white(draw(scenes[i % 3], 200 + i, 160, 2, seed=i))) for i in range(10)]
    alone = [colorings(Question(drawing, variants=2), network) for drawing in drawings]
    with served("--run", hinted) as address, httpx.Client(base_url=address, timeout=120) as client:
        together = threading.Barrier(50)

        def one(number: int) -> list[bytes]:
            together.wait(60)
            return ask(client, drawings[number % 10], variants=2)

        with ThreadPoolExecutor(50) as pool:
            found = list(pool.map(one, range(50)))
    assert found == [alone[number % 10] for number in range(50)]


def test_a_full_queue_turns_away_with_a_sentence(
    network: Network, page: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.server.available_cores", lambda: 1)
    with (
        TestClient(server.make_app(network, most_waiting=1), base_url="http://localhost") as client,
        ThreadPoolExecutor(12) as pool,
    ):
        question = json.dumps({"drawing": text(page)})
        found = list(pool.map(lambda _: client.post("/color", content=question), range(12)))
    statuses = [answer.status_code for answer in found]
    assert set(statuses) == {200, 503}
    refused(next(answer for answer in found if answer.status_code == 503), 503, "try again")
    assert len({answer.content for answer in found if answer.status_code == 200}) == 1


# ---- the command -----------------------------------------------------------------------------------


def test_ctrl_c_ends_it_with_130(hinted: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--port", "0", "--run", hinted],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert "draw at http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (130, "")


def test_wrong_usage_gets_a_sentence(
    hinted: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--run", str(hinted), "--port", str(port)]) == 1
        assert "type another --port" in capsys.readouterr().err
    assert main(["--port", "70000"]) == 2
    assert "0 to 65535" in capsys.readouterr().err
    assert main(["--port", "0", "--run", str(tmp_path / "none")]) == 2
    assert "there is no such directory" in capsys.readouterr().err
