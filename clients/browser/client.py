"""client.py MODEL.onnx INPUT.bin: the page of this directory in a Chromium without a window; prints what it prints.

ORT_WEB names the directory that holds the files of onnxruntime-web; CHROMIUM the program, where it is not `chromium`.
"""

import functools
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Quiet(SimpleHTTPRequestHandler):
    """Serve files without a line for each."""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def page(folder: str, query: str) -> str:
    """Serve a directory, open its page, and return the page as it is when all is done."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [os.environ.get("CHROMIUM", "chromium"), "--headless", "--disable-gpu", "--dump-dom"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []  # as root, as in containers, Chromium wants it
    address = f"http://127.0.0.1:{server.server_port}/index.html?{query}"
    profile = f"--user-data-dir={folder}/profile"
    done = subprocess.run(
        [*command, profile, "--virtual-time-budget=20000", address],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    server.shutdown()
    return done.stdout


def main() -> None:
    """Put the page beside the model and read what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        for file in [
            Path(__file__).parent / "index.html",
            *(Path(os.environ["ORT_WEB"]) / f"ort{rest}" for rest in (".wasm.min.js", "-wasm-simd-threaded.mjs")),
            Path(os.environ["ORT_WEB"]) / "ort-wasm-simd-threaded.wasm",
            Path(sys.argv[1]),
            Path(sys.argv[2]),
        ]:
            shutil.copy(file, folder)
        text = page(folder, f"model={Path(sys.argv[1]).name}&input={Path(sys.argv[2]).name}")
    found = re.search(r'<pre id="lines">(.*?)</pre>', text, re.DOTALL)
    lines = html.unescape(found.group(1)) if found else ""
    if not lines or lines.startswith("error"):
        sys.exit(lines or "The page printed nothing.")
    print(lines)


if __name__ == "__main__":
    main()
