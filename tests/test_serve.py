"""scripts/serve.py: what the page asks is answered, what is wrong gets a sentence, nothing else is served."""

from __future__ import annotations

import asyncio
import base64
import http.client
import inspect
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from helper_networks import PALETTE, write_export
from helper_servers import ROOT, SCRIPT, served
from linewash.coloring.model_loader import Network, load
from linewash.samples.sketches import (
    draw,
    encode_image,
    hint_strokes,
    home,
    on_black,
    on_white,
    pet,
    sea,
    simulate_photo,
)
from linewash.serving import app, cli, limits, service
from linewash.serving.cli import main
from linewash.serving.service import FINEST, Question, colorings
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from training.cli import install_command

WIDTH, HEIGHT = 400, 300


@pytest.fixture(scope="module")
def hinted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "hinted", hints=True)


@pytest.fixture(scope="module")
def network(hinted: Path) -> Network:
    return load(hinted)


@pytest.fixture(scope="module")
def client(network: Network) -> TestClient:
    return TestClient(app.make_app(network), base_url="http://localhost")


@pytest.fixture(scope="module")
def page() -> bytes:
    return encode_image(on_white(draw(home, WIDTH, HEIGHT, 2, seed=1)))


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
    assert ask(client, encode_image(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))) == []


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
        (encode_image(on_black(draw(sea, 820, 640, 4, seed=1))), 820),
        (
            encode_image(simulate_photo(on_white(draw(sea, 2000, 1500, 7, seed=4)), 0), "JPEG"),
            service.PAGE_SIDE,
        ),
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
    ink = pixels(client.post("/lines?source=photo", content=encode_image(photo, "JPEG")).content, "RGBA")
    assert ink.shape[1] == service.PAGE_SIDE
    drawn = np.flatnonzero((ink[..., 3] > 128).any(1)) / len(ink)
    assert drawn.size
    assert 0.57 < drawn.min() <= drawn.max() < 0.63  # where sky and meadow meet, and nowhere else


@pytest.mark.parametrize("name", service.EXAMPLES)
def test_examples_are_drawings_that_can_be_coloured(client: TestClient, name: str) -> None:
    answer = client.get(f"/examples/{name}")
    assert answer.headers["content-type"] == "image/png"
    assert len(ask(client, answer.content)) == 1


# ---- what is refused -------------------------------------------------------------------------------


def header_of_a_bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels: 3.6 billion."""
    data = bytearray(encode_image(np.zeros((16, 16, 3), np.uint8)))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["empty"]),
        (b"%PDF-1.7 hello", ["no picture", "PNG"]),
        (encode_image(np.zeros((40, 40, 3), np.uint8))[:60], ["damaged"]),
        (encode_image(np.zeros((8, 8, 3), np.uint8)), ["8 x 8", "16"]),
        (header_of_a_bomb(), ["pixels", "smaller"]),
        (encode_image(np.zeros((5200, 5200), np.uint8)), ["5200 x 5200", "25,000,000"]),
        (encode_image(np.full((64, 64, 3), 250, np.uint8)), ["no lines"]),
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
    refused(client.post("/color", content=b"x" * (app.QUESTION_BYTES + 1)), 413, "6 MB")


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
    assert service.about(plain)["hints"] is False
    client = TestClient(app.make_app(plain), base_url="http://localhost")
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
    for path, (name, _) in app.PAGE.items():
        answer = client.get(path)
        assert answer.content == (ROOT / "scripts/linewash/serving/static" / name).read_bytes()
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
    drawings = [encode_image(on_white(draw(scenes[i % 3], 200 + i, 160, 2, seed=i))) for i in range(10)]
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
    monkeypatch.setattr(app, "available_cores", lambda: 1)
    with (
        TestClient(app.make_app(network, most_waiting=1), base_url="http://localhost") as client,
        ThreadPoolExecutor(12) as pool,
    ):
        question = json.dumps({"drawing": text(page)})
        found = list(pool.map(lambda _: client.post("/color", content=question), range(12)))
    statuses = [answer.status_code for answer in found]
    assert set(statuses) == {200, 503}
    refused(next(answer for answer in found if answer.status_code == 503), 503, "try again")
    assert len({answer.content for answer in found if answer.status_code == 200}) == 1


def held(
    application: Starlette, path: str, headers: dict[str, str], body: Callable[[], Any]
) -> tuple[int, str]:
    """Status and sentence of a POST whose body is asked for with `body`: a function of no arguments."""
    return asyncio.run(posted(application, path, headers, body))


async def posted(
    application: Starlette, path: str, headers: dict[str, str], body: Callable[[], Any]
) -> tuple[int, str]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await body()

    async def send(message: Any) -> None:
        sent.append(message)

    given = [
        (name.lower().encode(), value.encode()) for name, value in ({"Host": "localhost"} | headers).items()
    ]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": given, "http_version": "1.1", "scheme": "http", "server": ("localhost", 80),
    }  # fmt: skip
    await application(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]


async def never_read() -> Any:
    raise AssertionError("the body was read")


POSTS = ["/lines", "/color", "/download"]


@pytest.mark.parametrize("path", POSTS)
def test_a_full_queue_turns_away_before_a_body_is_read(
    network: Network, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(app, "available_cores", lambda: 1)
    application = app.make_app(network, most_waiting=1)

    async def ask_three_times() -> None:
        came, end = asyncio.Semaphore(0), asyncio.Event()

        async def slow() -> Any:
            came.release()
            await end.wait()
            return {"type": "http.disconnect"}

        both = [asyncio.create_task(posted(application, path, {}, slow)) for _ in range(2)]
        for _ in both:  # both bodies are under way: all places are taken
            await came.acquire()
        assert await posted(application, path, {}, never_read) == (503, TOO_MANY)
        end.set()
        assert [status for status, _ in await asyncio.gather(*both)] == [400, 400]
        came_again = asyncio.create_task(posted(application, path, {}, slow))  # there is room again
        await came.acquire()
        await came_again

    asyncio.run(ask_three_times())


TOO_MANY = "too many drawings are waiting: try again in a few seconds"


@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_says_it_is_too_large_is_not_read(network: Network, path: str) -> None:
    status, sentence = held(
        app.make_app(network), path, {"Content-Length": str(app.FILE_BYTES + 1)}, never_read
    )
    assert (status, "make it smaller" in sentence) == (413, True)


# ---- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "localhost.evil.example", "8.8.8.8"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_is_not_the_pages_gets_the_flag_that_makes_it_one(
    client: TestClient, host: str, method: str
) -> None:
    answer = client.request(method, "/" if method == "GET" else "/color", headers={"Host": host})
    refused(answer, 400, f"--allowed-host {host.partition(':')[0]}")


@pytest.mark.parametrize("host", ["", "a b", "a/b", "user@localhost", "[::1", "localhost:x", "<script>"])
def test_what_is_no_name_is_refused(client: TestClient, host: str) -> None:
    refused(client.get("/", headers={"Host": host}), 400, "name")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:8765", "[::1]:8765", "[::1]"])
def test_the_page_is_asked_for_by_this_machines_names(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


OURS, FORWARDED = "localhost:8765", "draw.example.org"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost:8765.evil.example"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8765"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://draw.example.org"},
        {"Sec-Fetch-Site": "nonsense"},
    ],
    ids=str,
)
def test_another_sites_page_may_not_ask(network: Network, path: str, headers: dict[str, str]) -> None:
    application = app.make_app(network, forwarded=[FORWARDED])
    status, sentence = held(application, path, {"Host": OURS} | headers, never_read)
    assert status == 403
    assert "--allowed-host" in sentence


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8765"},
        {"Origin": "HTTP://LOCALHOST:8765", "Sec-Fetch-Site": "same-origin"},
        {"Host": "localhost", "Origin": "http://localhost"},
        {"Host": "localhost:80", "Origin": "http://localhost"},
        {"Host": FORWARDED, "Origin": f"https://{FORWARDED}", "Sec-Fetch-Site": "same-origin"},
        {"Origin": f"https://{FORWARDED}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_the_pages_own_requests_and_other_programs_may_ask(network: Network, headers: dict[str, str]) -> None:
    application = app.make_app(network, forwarded=[FORWARDED])
    client = TestClient(application, base_url="http://localhost")
    assert client.post("/color", content=b"", headers={"Host": OURS} | headers).status_code == 400
    assert client.get("/", headers={"Host": OURS} | headers).status_code == 200


def test_listening_everywhere_every_name_is_right_but_not_every_site(network: Network) -> None:
    client = TestClient(app.make_app(network, [app.ANY]), base_url="http://localhost")
    assert client.get("/", headers={"Host": "studio.lan:8765"}).status_code == 200
    foreign = {"Host": "studio.lan:8765", "Origin": "http://evil.example"}
    refused(client.post("/color", content=b"", headers=foreign), 403, "another site")


# ---- what a connection may cost --------------------------------------------------------------------


@pytest.fixture
def port(network: Network, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The page, served by a thread of this process; it takes three connections."""
    monkeypatch.setattr(limits, "MOST_CONNECTIONS", 3)
    listens = threading.Event()
    with cli._listening("127.0.0.1", 0) as listener:
        running = cli._server(network, "127.0.0.1", [], listens.set)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            assert listens.wait(60)
            yield listener.getsockname()[1]
        finally:
            running.should_exit = running.force_exit = True
            thread.join(60)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests must arrive within 0.4 seconds."""
    monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.4)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    found = b""
    with suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            found += data
    return found


def reply(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer; the connection stays open."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


HEAD = b"POST /color HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "begun", [b"PO", HEAD, HEAD + b"Content-Length: 100\r\n\r\n", HEAD + b"Content-Length: 9\r\n\r\n{"]
)
def test_a_request_that_does_not_arrive_is_ended_with_a_sentence(port: int, begun: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(begun)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.4 seconds" in answer


def dribble(connection: socket.socket) -> None:
    """Sends a byte at a time, for as long as the server takes them."""
    while True:
        connection.sendall(b"x")
        threading.Event().wait(0.02)


@pytest.mark.usefixtures("impatient")
def test_a_body_that_dribbles_is_ended(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        with pytest.raises(ConnectionError):  # it would go on if the clock began anew with each byte
            dribble(connection)


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    with connect(port) as connection:
        assert rest(connection) == b""


@pytest.mark.usefixtures("impatient")
def test_a_request_that_was_refused_early_still_has_to_end(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 99999999\r\n\r\n")
        assert reply(connection)[0] == 413
        assert rest(connection) == b""


def test_one_connection_more_is_refused_with_a_sentence(port: int) -> None:
    get = b"GET /about HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(port) as first, connect(port) as second, connect(port) as third:
        for connection in (first, second, third):
            connection.sendall(get)
            assert reply(connection)[0] == 200
        with connect(port) as fourth:
            fourth.sendall(get)
            answer = rest(fourth)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"too many connections" in answer
        first.sendall(get)
        assert reply(first)[0] == 200


def test_long_heads_are_refused_with_a_sentence(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"X: " + b"x" * limits.HEAD_BYTES)  # which is not its end
        status, sentence = reply(connection)
    assert status == 400
    assert b"16 KB" in sentence


def test_uvicorn_still_has_what_the_limits_rest_on() -> None:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

    wanted = {
        H11Protocol: [
            "connection_made", "data_received", "on_response_complete", "connection_lost",
            "send_400_response", "conn", "connections", "cycle", "loop", "transport",
        ],
        RequestResponseCycle: ["response_started", "response_complete"],
        uvicorn.Server: ["startup", "capture_signals", "should_exit", "force_exit"],
    }  # fmt: skip
    missing = [
        f"{kind.__name__}.{name}"
        for kind, names in wanted.items()
        for name in names
        if not hasattr(kind, name) and name not in inspect.getsource(kind)
    ]
    assert not missing, (
        f"uvicorn {uvicorn.__version__} has no {missing}: see scripts/linewash/serving/limits.py"
    )


# ---- the command -----------------------------------------------------------------------------------


def started(hinted: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, "--port", "0", "--run", hinted],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_just_after_the_address_ends_it(hinted: Path, number: int, code: int) -> None:
    process = started(hinted)
    assert process.stdout
    assert "draw at http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(number)
    _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (code, "")


def test_a_signal_while_the_network_is_loaded_ends_it(hinted: Path, tmp_path: Path) -> None:
    """The network's file is a pipe: the command waits there until it is told to end."""
    slow = tmp_path / "slow"
    slow.mkdir()
    os.mkfifo(slow / "export.json")
    code = f"import sys; sys.argv[1:] = ['--port', '0', '--run', {str(slow)!r}]\n"
    code += "from pathlib import Path\nPath.is_file = lambda self: True\n"
    code += f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with (slow / "export.json").open("w"):  # opens when the command does
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)
    assert (process.returncode, *said) == (130, "", "")


class Ending:
    """A server, as far as signals go."""

    should_exit = force_exit = False


@pytest.mark.parametrize("number", cli.SIGNALS)
def test_signals_end_the_server_and_a_second_one_at_once(number: int) -> None:
    ending, before = Ending(), signal.getsignal(number)
    with cli.Signals() as signals:
        signals.end_server(ending)  # type: ignore[arg-type]
        signal.raise_signal(number)
        assert (ending.should_exit, ending.force_exit) == (True, False)
        signal.raise_signal(number)
        assert (ending.should_exit, ending.force_exit) == (True, True)
    assert signals.arrived == [number, number]
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", cli.SIGNALS)
def test_before_anything_is_served_a_signal_ends_the_process(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    with cli.Signals() as signals:
        signals.end_server = None  # type: ignore[assignment]
        with suppress(AttributeError):  # as os._exit returns, which it does not do
            signal.raise_signal(number)
    assert codes == [128 + number]


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli.Signals() as signals:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
        assert signals.arrived == []
    finally:
        signal.signal(signal.SIGHUP, before)


BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from linewash.serving.cli import main
sys.exit(main(["--port", "0"]))
"""


@pytest.mark.parametrize(
    "package", ["anyio", "cv2", "msgspec", "numpy", "onnxruntime", "PIL", "starlette", "uvicorn"]
)
def test_a_missing_package_is_a_sentence_with_the_command_that_installs_it(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, package], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    for word in (package, install_command("demo")):
        assert word in done.stderr


@pytest.mark.parametrize("host", ["nowhere.invalid", "8.8.8.8", "a" * 80, "::1::", "", "1.2.3.4.5"])
def test_a_host_that_is_no_address_is_a_sentence(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", host, "--port", "0"]) == 2
    sentence = capsys.readouterr().err
    assert len(sentence.splitlines()) == 1
    assert f"--host {host}".strip() in sentence


@pytest.mark.parametrize("name", ["http://draw.example.org", "draw.example.org:80", "a b", "", "*"])
def test_a_name_that_is_none_is_a_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--allowed-host", name]) == 2
    assert "--allowed-host" in capsys.readouterr().err


@pytest.mark.parametrize(
    "opened", [lambda address: False, lambda address: (_ for _ in ()).throw(OSError("no display"))]
)
def test_where_there_is_no_browser_the_address_is_said(
    opened: Callable[[str], bool], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", opened)
    cli._open("http://127.0.0.1:8765")
    said = capsys.readouterr().err
    assert "no browser" in said
    assert "http://127.0.0.1:8765" in said


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--allowed-host NAME" in capsys.readouterr().out


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
