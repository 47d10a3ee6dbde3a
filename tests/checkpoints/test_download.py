"""Downloads from a local server, with and without faults."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from helpers import heed_interrupts
from helpers.processes import LIMIT

from ivy_models.base.cache import CACHE_VARIABLE
from ivy_models.checkpoints.download import cache as download, http as transfer
from ivy_models.checkpoints.download.cache import PublishedFile
from ivy_models.errors import DownloadError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
HALF = len(CONTENT) // 2
KEPT = HALF // transfer._CHUNK * transfer._CHUNK
"""Bytes kept of half the content: whole chunks."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()

SCRIPT = """
import sys
import filelock, ivy_models.checkpoints.download.http
from ivy_models.checkpoints.download.cache import PublishedFile, download

class Lock(filelock.FileLock):
    def acquire(self, *arguments, **named):
        try:
            lock = super().acquire(timeout=0)
            print("holds", flush=True)
        except filelock.Timeout:
            print("waits", flush=True)
            lock = super().acquire(*arguments, **named)
        return lock

filelock.FileLock = Lock
print("ready", flush=True)
print(download(PublishedFile(sys.argv[1])))
"""
"""Downloads the file, and prints the result of the first attempt to lock it."""


class Handler(BaseHTTPRequestHandler):
    """Sends the content or the requested part of it, unless the test sets a fault."""

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        fault = server.faults.pop(0) if server.faults else server.always
        if isinstance(fault, int):
            return self.send_error(fault)
        if fault == "silent":
            return server.proceed.wait(LIMIT)
        start = int(asked[len("bytes=") : -1]) if asked else 0
        if self.headers.get("If-Range") not in server.validator.values() and fault != "careless":
            start = 0
        if fault == "ignores ranges":
            start = 0
        total = len(server.content)
        if start >= total:
            return self.send_error(416)
        if start and fault == "another range":
            start += 1
        body = server.content[start:]
        headers = {"Content-Length": len(body)} | server.validator
        if start:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        headers |= {
            "no length": {"Content-Length": None},
            "endless": {"Content-Length": None},
            "says too much": {"Content-Length": len(body) + 1000},
            "says too little": {"Content-Length": len(body) - 1000},
            "compressed": {"Content-Encoding": "gzip"},
        }.get(fault, {})
        self.send_response(206 if start else 200)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        if fault in ("dies", "stalls", "waits"):
            self.wfile.write(body[: HALF - start])
            self.wfile.flush()
            if fault != "dies":
                transfer.TIMEOUT_S = LIMIT  # for the next request, which is answered
                server.proceed.wait(LIMIT)
            if fault != "waits":
                return
            body = body[HALF - start :]
        try:
            while True:
                self.wfile.write(body)
                server.sent += len(body)
                if fault != "endless":
                    break
        except OSError:  # the client has closed the connection
            pass

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(download.OFFLINE_VARIABLE, raising=False)
    monkeypatch.setattr(transfer, "RETRY_DELAY_S", 0.001)
    monkeypatch.setattr(transfer, "TIMEOUT_S", LIMIT)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.content, server.validator = CONTENT, {"ETag": '"one"'}
        server.faults, server.always = [], None
        server.asked, server.sent = [], 0
        server.proceed = threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/weights.pystate"
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.proceed.set()
        server.shutdown()


@pytest.fixture
def impatient(server, monkeypatch):
    """Give up on a silent server after a few seconds."""
    monkeypatch.setattr(transfer, "TIMEOUT_S", 5)


@pytest.fixture
def cached(tmp_path):
    """Sizes of the cached files by name, without the lock file."""
    folder = tmp_path / "cache"
    return lambda: {p.name: p.stat().st_size for p in folder.glob("*") if p.suffix != ".lock"}


def check_complete(path, cached):
    assert path.read_bytes() == CONTENT
    assert cached() == {"weights.pystate": len(CONTENT)}


# Whole files


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_downloaded_once_with_a_progress_bar(server, tmp_path, cached, capfd, sha256):
    file = PublishedFile(server.url, sha256)
    path = download.download(file)
    assert path == tmp_path / "cache" / "weights.pystate"
    check_complete(path, cached)
    assert "100%" in capfd.readouterr().err
    assert download.download(file) == path
    assert server.asked == [None]


def test_a_file_put_into_the_cache_by_hand_is_used(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights.pystate").write_bytes(b"by hand")
    path = download.download(PublishedFile(server.url))
    assert path.read_bytes() == b"by hand"
    assert server.asked == []


def test_a_file_of_another_checksum_is_downloaded_again(server, tmp_path, cached):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights.pystate").write_bytes(b"another")
    check_complete(download.download(PublishedFile(server.url, SHA256)), cached)


def test_a_length_is_not_needed_where_the_checksum_is_known(server, cached):
    server.always = "no length"
    check_complete(download.download(PublishedFile(server.url, SHA256)), cached)


def test_the_cache_has_a_default(monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert download.cache_folder().name == "ivy_models"


# Broken connections


@pytest.mark.parametrize("fault", ["dies", "stalls"])
@pytest.mark.parametrize("validator", [{"ETag": '"one"'}, {"Last-Modified": "Mon, 1 Jan"}])
def test_a_broken_transfer_is_continued(server, cached, request, fault, validator):
    if fault == "stalls":
        request.getfixturevalue("impatient")
    server.faults, server.validator = [fault], validator
    check_complete(download.download(PublishedFile(server.url)), cached)
    assert server.asked == [None, f"bytes={KEPT}-"]
    assert server.sent == len(CONTENT) - KEPT


def test_the_next_call_continues(server, cached, capfd):
    server.faults = ["dies"]
    server.always = 500
    with pytest.raises(DownloadError, match="the server answered 500"):
        download.download(PublishedFile(server.url))
    assert len(server.asked) == 2 + transfer.RETRIES
    assert cached() == {"weights.pystate.part": KEPT, "weights.pystate.part.validator": 5}
    server.always = None
    server.asked.clear()
    capfd.readouterr()
    check_complete(download.download(PublishedFile(server.url, SHA256)), cached)
    assert server.asked == [f"bytes={KEPT}-"]
    assert re.findall(r"(\d+)%", capfd.readouterr().err)[0] == f"{100 * KEPT / len(CONTENT):.0f}"


def test_a_transfer_may_break_off_often_if_it_gets_further(server, cached, monkeypatch):
    monkeypatch.setattr(transfer, "RETRIES", 0)
    monkeypatch.setattr(transfer, "_CHUNK", 1000)
    monkeypatch.setattr(sys.modules[__name__], "HALF", 300_000)
    server.faults = ["dies"]
    server.always = "says too much"  # breaks off at the end, so nothing is left to resume
    with pytest.raises(DownloadError, match="IncompleteRead"):
        download.download(PublishedFile(server.url))
    assert server.asked == [None, "bytes=300000-", "bytes=1000000-", None]


@pytest.mark.parametrize("fault", ["ignores ranges", "another range", 416])
def test_wrong_continuations_are_not_appended(server, cached, fault):
    server.faults = ["dies", fault]
    check_complete(download.download(PublishedFile(server.url)), cached)


@pytest.mark.parametrize("fault", [None, "careless"])
def test_a_file_that_has_changed_is_started_anew(server, cached, fault):
    """Also by a server that gives the rest of another file than the one asked for."""
    server.faults, server.always = ["dies"], 404
    with pytest.raises(DownloadError, match="404"):
        download.download(PublishedFile(server.url))
    server.content, server.validator = CONTENT[::-1], {"ETag": '"two"'}
    server.always = fault
    path = download.download(PublishedFile(server.url))
    assert path.read_bytes() == CONTENT[::-1]
    assert cached() == {"weights.pystate": len(CONTENT)}


@pytest.mark.parametrize("validator", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_validator_nothing_is_continued(server, cached, validator):
    server.faults, server.validator = ["dies"] * 2, validator
    check_complete(download.download(PublishedFile(server.url)), cached)
    assert server.asked == [None] * 3
    server.always = "dies"
    (download.cache_folder() / "weights.pystate").unlink()
    with pytest.raises(DownloadError, match="could not be downloaded"):
        download.download(PublishedFile(server.url))
    assert cached() == {}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_does_not_block_others(server, cached, how):
    server.faults = ["waits"]
    with start(server) as process:
        wait_for(lambda: cached().get("weights.pystate.part") == KEPT)
        process.send_signal(how)
        process.wait(LIMIT)
        assert process.returncode != 0
    assert cached() == {"weights.pystate.part": KEPT, "weights.pystate.part.validator": 5}
    check_complete(download.download(PublishedFile(server.url)), cached)
    assert server.asked == [None, f"bytes={KEPT}-"]


def test_a_full_disk(server, cached):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(DownloadError, match="could not be downloaded .*File too large"):
            download.download(PublishedFile(server.url))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "weights.pystate" not in cached()
    check_complete(download.download(PublishedFile(server.url)), cached)
    assert server.asked == [None, "bytes=300000-"]


# Refusals


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (404, "the server answered 404 Not Found"),
        (500, "the server answered 500"),
        (206, "the server answered 206"),
        ("no length", "the server does not say how long it is"),
        ("compressed", "sent it compressed"),
    ],
)
def test_a_refused_download_leaves_nothing(server, cached, fault, message):
    server.always = fault
    with pytest.raises(DownloadError, match=message):
        download.download(PublishedFile(server.url))
    assert cached() == {}
    assert server.asked == [None]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers(server, cached):
    server.always = "silent"
    with pytest.raises(DownloadError, match="timed out"):
        download.download(PublishedFile(server.url))
    assert cached() == {}
    wait_for(lambda: server.asked)
    assert server.asked == [None]


@pytest.mark.parametrize("fault", [None, "says too little"])
def test_a_wrong_checksum_leaves_nothing(server, cached, fault):
    server.always = fault
    sha256 = SHA256 if fault else "0" * 64
    with pytest.raises(DownloadError, match=f"its SHA-256 is .*, expected {sha256}"):
        download.download(PublishedFile(server.url, sha256))
    assert cached() == {}


def test_a_file_never_exceeds_the_limit(server, cached, monkeypatch):
    monkeypatch.setattr(transfer, "MAX_BYTES", len(CONTENT) - 1)
    with pytest.raises(DownloadError, match="it has 1,000,000 bytes, more than the 999,999"):
        download.download(PublishedFile(server.url))
    server.always = "endless"
    with pytest.raises(DownloadError, match="more bytes than it announced or than are allowed"):
        download.download(PublishedFile(server.url, SHA256))
    assert cached() == {}


def test_offline_nothing_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    path = tmp_path / "cache" / "weights.pystate"
    with pytest.raises(DownloadError, match="IVY_MODELS_OFFLINE is set") as refusal:
        download.download(PublishedFile(server.url))
    assert server.url in str(refusal.value)
    assert str(path) in str(refusal.value)
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert download.download(PublishedFile(server.url, SHA256)) == path
    with pytest.raises(DownloadError, match="is set, and the file in the cache has another SHA"):
        download.download(PublishedFile(server.url, "0" * 64))
    assert path.read_bytes() == CONTENT
    assert server.asked == []


# Several downloads at once


def start(server):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts if os.name == "posix" else None,
    )


def wait_for(condition):
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_download_a_file_once(server, cached):
    server.faults = ["waits"]
    processes = [start(server) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
    locks = [process.stdout.readline() for process in processes]
    assert sorted(locks) == ["holds\n", *["waits\n"] * 3]
    server.proceed.set()
    outputs = {process.communicate(timeout=LIMIT)[0] for process in processes}
    path = download.cache_folder() / "weights.pystate"
    assert outputs == {f"{path}\n"}
    check_complete(path, cached)
    assert server.asked == [None]


def test_threads_download_a_file_once(server, cached):
    with ThreadPoolExecutor(8) as pool:
        (path,) = set(pool.map(download.download, [PublishedFile(server.url)] * 8))
    check_complete(path, cached)
    assert server.asked == [None]
