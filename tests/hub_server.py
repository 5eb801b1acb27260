"""A local model hub: an HTTP server with as much of the repositories' interface as huggingface_hub calls."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

LARGE = 4096  # bytes; larger files are served from another address, by their SHA-256


@dataclass
class Repository:
    """Files by path of each commit, and commits by the names of branches and tags."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    error: tuple[int, str] | None = None  # status and code that answer every request, or, if gated, those of files

    def commit(self, files: dict[str, bytes], *names: str) -> str:
        """Adds a commit, to which ``names`` then lead, and returns its name."""
        content = json.dumps({path: hashlib.sha256(data).hexdigest() for path, data in files.items()})
        commit = hashlib.sha1(f"{len(self.commits)}{content}".encode()).hexdigest()
        self.commits[commit] = files
        self.names.update(dict.fromkeys(names, commit))
        return commit


class Hub:
    """The hub's repositories by owner/name, and what it was asked: methods and paths of files."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.agents: set[str] = set()
        self.tokens: set[str | None] = set()
        self.cut: dict[str, int] = {}  # bytes after which the connection drops once, by path
        self.failing: dict[str, int] = {}  # status that answers requests of a file's content, by path
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.store = self.url.replace("127.0.0.1", "localhost")  # large files are on another host

    def add(
        self,
        name: str,
        bundle: Path,
        folder: str = "",
        *,
        names: Sequence[str] = ("main",),
        others: Mapping[str, bytes] | None = None,
    ) -> str:
        """Publishes a bundle in a folder of the repository ``name``, and ``others``; returns the commit."""
        prefix = f"{folder}/" if folder else ""
        files = [path for path in sorted(bundle.rglob("*")) if path.is_file()]
        contents = {prefix + path.relative_to(bundle).as_posix(): path.read_bytes() for path in files}
        repository = self.repositories.setdefault(name, Repository())
        return repository.commit({**contents, **(others or {})}, *names)

    def downloads(self) -> list[str]:
        """Returns the paths of the files whose content was asked for since the last call."""
        asked = [path for method, path in self.requests if method == "GET"]
        self.requests.clear()
        return asked

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def _answer(self) -> None:
                hub.agents.add(self.headers["User-Agent"] or "")
                hub.tokens.add(self.headers["Authorization"])
                parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
                if parts[0] == "cdn":
                    return self._send_file(
                        "/".join(parts[5:]), hub.repositories["/".join(parts[1:3])].commits[parts[4]]
                    )
                is_api = parts[:2] == ["api", "models"]
                name, *rest = ("/".join(parts[2:4]), *parts[4:]) if is_api else ("/".join(parts[:2]), *parts[2:])
                repository = hub.repositories.get(name)
                if repository is None:
                    return self._fail(401, "RepoNotFound")
                if repository.error and (repository.error[1] != "GatedRepo" or not is_api):
                    return self._fail(*repository.error)
                kind, revision = rest[0] if rest else "revision", rest[1] if len(rest) > 1 else "main"
                commit = repository.names.get(revision, revision)
                files = repository.commits.get(commit)
                if files is None:
                    return self._fail(404, "RevisionNotFound")
                if kind == "revision":
                    siblings = [{"rfilename": path} for path in files]
                    return self._send_json({"id": name, "modelId": name, "sha": commit, "siblings": siblings})
                if kind == "tree":
                    return self._send_json([_entry(path, data) for path, data in files.items()])
                path = "/".join(rest[2:])
                if path not in files:
                    return self._fail(404, "EntryNotFound", commit)
                if len(files[path]) <= LARGE:
                    return self._send_file(path, files, commit)
                self.send_response(302)
                self.send_header("Location", f"{hub.store}/cdn/{name}/at/{commit}/{path}")
                self.send_header("X-Repo-Commit", commit)
                self.send_header("X-Linked-ETag", f'"{hashlib.sha256(files[path]).hexdigest()}"')
                self.send_header("X-Linked-Size", str(len(files[path])))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _send_file(self, path: str, files: dict[str, bytes], commit: str = "") -> None:
                data = files[path]
                hub.requests.append((self.command, path))
                if self.command == "GET" and path in hub.failing:
                    return self._fail(hub.failing[path], "")
                start = 0
                if wanted := self.headers["Range"]:
                    hub.ranges.append(wanted)
                    start = int(wanted.removeprefix("bytes=").partition("-")[0])
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
                if commit:
                    self.send_header("X-Repo-Commit", commit)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                if self.command == "GET":
                    end = hub.cut.pop(path, None)
                    self.wfile.write(data[start:end])
                    if end is not None:
                        self.close_connection = True

            def _send_json(self, value: object) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            def _fail(self, status: int, code: str, commit: str = "") -> None:
                self.send_response(status)
                if code:
                    self.send_header("X-Error-Code", code)
                if commit:
                    self.send_header("X-Repo-Commit", commit)
                self.send_header("Content-Length", "0")
                self.end_headers()

        return Handler


def _entry(path: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if len(data) > LARGE:
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Yields a hub that serves requests."""
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()


def use_hub(url: str, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes huggingface_hub in this process use a hub and a cache, as HF_ENDPOINT and HF_HOME did at its import."""
    from huggingface_hub import constants

    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
