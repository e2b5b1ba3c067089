"""The listening page in a headless Chromium, where there is one (on PATH, or named by CHROME)."""

import http.server
import json
import os
import queue
import shutil
import subprocess
import threading

import numpy as np
import pytest

from jaxsep.figures import Sound, plot_learning_curve
from jaxsep.report import PageTrack, listening_page

#: Uses the page as a listener would, and sends what happened to the server.
LISTENER = """
<script>
const errors = [], wait = ms => new Promise(done => setTimeout(done, ms));
addEventListener("error", e => errors.push(e.message));
addEventListener("load", async () => {
  const key = key => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  const sounds = [...document.querySelectorAll("audio")], articles = document.querySelectorAll("article");
  const ready = sounds.map(s => s.error === null && s.duration);
  key(" ");
  await wait(700);
  const first = {playing: !sounds[0].paused, at: sounds[0].currentTime};
  key("2");
  const second = {playing: !sounds[1].paused, at: sounds[1].currentTime, before: sounds[0].paused};
  articles[1].querySelector(".play").click();
  await wait(300);
  const other = {playing: !sounds[3].paused, before: sounds[1].paused};
  const pressed = [...document.querySelectorAll("[aria-pressed=true]")].map(b => b.textContent);
  const scores = JSON.parse(document.getElementById("scores").textContent);
  const cells = [...articles[0].querySelectorAll("td")].map(c => c.textContent);
  const wide = document.documentElement.scrollWidth > innerWidth;
  const pictures = [...document.images].map(i => i.naturalWidth > 0);
  const result = {errors, ready, first, second, other, pressed, scores, cells, wide, pictures};
  await fetch("result", {method: "POST", body: JSON.stringify(result)});
});
</script>
"""


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
    found = os.environ.get("CHROME") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no Chromium on PATH, and CHROME does not name one")
    return found


def visit(chromium, page, size, profile):
    """Serve ``page`` to a browser and return what it sends back."""
    answers = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode() if self.path == "/" else b"")

        def do_POST(self):
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [
            chromium,
            "--headless=shell",
            "--no-sandbox",
            "--no-zygote",
            "--disable-gpu",
            "--mute-audio",
        ]
        command += ["--single-process", "--in-process-gpu", "--autoplay-policy=no-user-gesture-required"]
        command += [f"--user-data-dir={profile}", f"--window-size={size}"]
        browser = subprocess.Popen(
            [*command, f"http://127.0.0.1:{server.server_port}/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return answers.get(timeout=60)
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()


@pytest.mark.parametrize("size", ["1280,900", "390,844"])
def test_the_page_loads_plays_switches_and_shows_the_scores(chromium, tmp_path, rng, size):
    noise = [0.1 * rng.standard_normal(24000).astype(np.float32) for _ in range(3)]
    sounds = [
        Sound(name, x) for name, x in zip(("mixture", "voice", "voice (reference)"), noise, strict=True)
    ]
    rows = [{"stem": "voice </script>", "sdr, dB": "12.34"}]
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "valid/score": 3.0}]
    tracks = [PageTrack(name, sounds, 8000, rows) for name in ("one & only", "two")]
    curve = plot_learning_curve(log)
    page = listening_page("Title", tracks, summary=rows, curve=curve, config='{"a": 1}')
    result = visit(chromium, page.replace("</head>", LISTENER + "</head>"), size, tmp_path / "profile")
    assert result["errors"] == []
    assert result["ready"] == [pytest.approx(3.0)] * 6
    assert all(result["pictures"])
    assert result["first"]["playing"]
    assert result["first"]["at"] > 0.1
    assert result["second"]["playing"]
    assert result["second"]["before"]
    assert abs(result["second"]["at"] - result["first"]["at"]) < 0.2
    assert result["other"] == {"playing": True, "before": True}
    assert result["pressed"] == ["voice", "mixture"]
    assert result["cells"] == list(rows[0].values())
    assert result["scores"]["tracks"]["two"] == rows
    assert not result["wide"]
