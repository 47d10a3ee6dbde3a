"""The Flask server of the page."""

from __future__ import annotations

import ipaddress
import logging
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import werkzeug.serving
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from ivy_models.demo.models import Answer, Models
from ivy_models.demo.strokes import draw_silhouette, draw_strokes
from ivy_models.errors import InputError, IvyModelsError
from ivy_models.interpret.looking import heat_map, png_url
from ivy_models.models.presets import PRESETS
from ivy_models.tasks.identification import name_of_language

MAX_FILE = 20 << 20
"""Maximum size of an image in bytes."""

MAX_STROKES = 1 << 20
"""Maximum size of a drawing in bytes."""

DRAWINGS = {"perceiver_io_fashion": draw_silhouette}
"""How drawn lines become an image, by model; for the others it is as for digits."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_server(
    listening: socket.socket, names: Sequence[str], backend: str, device: str | None
) -> werkzeug.serving.BaseWSGIServer:
    """Make the server for a listening socket.

    Parameters
    ----------
    listening
        The socket.
    names
        Models. The first is selected when the page opens. Names that are not presets are folders.
    backend
        The backend that is selected when the page opens.
    device
        Device of the weights.
    """
    host, port = listening.getsockname()[:2]
    models = Models([name for name in names if name not in PRESETS], device)
    app = make_app(models, {"model": names[0], "backend": backend})
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        # Reject foreign Host headers (DNS rebinding).
        app.config["TRUSTED_HOSTS"] = [host, "localhost"] if address.is_loopback else [host]
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line for each request
    return werkzeug.serving.make_server(host, port, app, threaded=True, fd=listening.fileno())


def make_app(models: Models, chosen: dict[str, str]) -> Flask:
    """Make the Flask application: the page and its requests.

    Parameters
    ----------
    models
        The models that the page offers.
    chosen
        "model" and "backend" that are selected when the page opens.
    """
    app = Flask(__name__, static_folder="page", static_url_path="")

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/choices")
    def choices() -> dict[str, Any]:
        return {
            "models": models.descriptions,
            "backends": models.backends,
            "chosen": chosen,
            "max_file": MAX_FILE,
        }

    def refused() -> Any:
        """The answer to a request of another site, or None."""
        # Browsers send Sec-Fetch-Site only to HTTPS or local pages, and Origin with every POST.
        site = request.headers.get("Sec-Fetch-Site", "none")
        origin = request.headers.get("Origin", request.host_url).rstrip("/")
        if site not in ("same-origin", "none") or origin != request.host_url.rstrip("/"):
            return {"error": "Requests from other sites are refused."}, 403
        return None

    @app.post("/language")
    def language() -> Any:
        if (refusal := refused()) is not None:
            return refusal
        request.max_content_length = MAX_STROKES
        text = request.get_json()
        if not isinstance(text, str):
            raise InputError(f"Expected a text, got {type(text).__name__}.")
        found, seconds, letters, shares = models.language(request.args.get("backend", ""), text)
        return {
            "language": found.language,
            "name": name_of_language(found.language),
            "candidates": [
                {"language": code, "name": name_of_language(code), "probability": probability}
                for code, probability in found.candidates
            ],
            "seconds": seconds,
            "letters": letters,
            "shares": shares.tolist(),
        }

    @app.post("/answer")
    def answer() -> Any:
        if (refusal := refused()) is not None:
            return refusal
        request.max_content_length = MAX_STROKES if request.is_json else MAX_FILE
        model, backend = (request.args.get(name, "") for name in ("model", "backend"))
        look = request.args.get("look") == "true"
        if request.is_json:
            image = DRAWINGS.get(model, draw_strokes)(request.get_json())
            return _as_json(models.answer(model, backend, image, look))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image"
            path.write_bytes(request.get_data())
            try:
                return _as_json(models.answer(model, backend, path, look))
            except InputError as error:
                raise InputError(str(error).replace(str(path), "The file")) from error

    @app.errorhandler(Exception)
    def failed(error: Exception) -> tuple[dict[str, str], int]:
        if isinstance(error, IvyModelsError):
            return {"error": str(error)}, 400
        if isinstance(error, HTTPException):
            sentence = str(error.description)
            limit = request.max_content_length
            if isinstance(error, RequestEntityTooLarge) and limit is not None:
                sentence = f"This is more than {limit >> 20} MiB."
            return {"error": sentence}, error.code or 500
        app.logger.exception("The answer failed.")
        return {"error": f"This failed: {type(error).__name__}: {error}"}, 500

    @app.after_request
    def with_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    return app


def _as_json(answer: Answer) -> dict[str, Any]:
    return {
        "predictions": [prediction._asdict() for prediction in answer.predictions],
        "seconds": answer.seconds,
        "seen": png_url(answer.seen),
        "looked": None if answer.looked is None else png_url(heat_map(answer.looked)),
    }
