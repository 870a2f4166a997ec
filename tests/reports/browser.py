"""Headless Chromium through its debugging pipe: pages on a desk and on a phone, in light and dark, with what they report."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

MOST_SECONDS = 60.0
"""For one answer; a test does not wait by the clock, this only ends one that would hang."""

AXE = files("axe_core_python").joinpath("axe.min.js").read_text()
SERIOUS = """
axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).then(found => found.violations
  .filter(one => one.impact == "serious" || one.impact == "critical")
  .map(one => one.id + ": " + one.nodes.slice(0, 3).map(node => node.html.slice(0, 200)).join(" ")))
"""
WHEN = """
new Promise(done => {
  const look = () => { const found = (%s); if (found) { watch.disconnect(); done(found) } };
  const watch = new MutationObserver(look);
  watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  const found = (%s);
  if (found) { watch.disconnect(); done(found) }
})"""


class Browser:
    """One process; messages are JSON that ends in a zero byte, on its file descriptors 3 and 4."""

    def __init__(self, program: str, profile: Path) -> None:
        (its_input, ours), (mine, its_output) = os.pipe(), os.pipe()
        # above 9, so that making 3 and 4 of them overwrites neither
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (its_input, its_output)]
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += [f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash", program, *options],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (its_input, its_output, *ends):
            os.close(end)
        self.input, self.output = ours, mine
        self.numbers, self.waiting, self.events = count(1), b"", []

    def close(self) -> None:
        self.call("Browser.close")
        self.process.wait(MOST_SECONDS)
        os.close(self.input)
        os.close(self.output)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command, and give its answer; events that come before it are kept."""
        number = self._send(method, session, **parameters)
        while True:
            found = self._receive()
            if found.get("id") == number:
                assert "error" not in found, found
                return found["result"]
            self.events.append(found)

    def _send(self, method: str, session: str | None, **parameters: Any) -> int:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self.input, json.dumps(message).encode() + b"\0")
        return number

    def wait_for(self, method: str, session: str) -> None:
        """Until an event of this session has come."""
        while not any(one.get("method") == method and one.get("sessionId") == session for one in self.events):
            self.events.append(self._receive())

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.waiting:
            assert select.select([self.output], [], [], MOST_SECONDS)[0], "Chromium does not answer"
            more = os.read(self.output, 1 << 20)
            assert more, "Chromium is gone"
            self.waiting += more
        message, _, self.waiting = self.waiting.partition(b"\0")
        found = json.loads(message)
        if found.get("method") == "Page.javascriptDialogOpening":  # the page stands still until somebody answers
            self._send("Page.handleJavaScriptDialog", found["sessionId"], accept=False)
        return found

    def open(self, file: Path | str, *, width: int, height: int, dark: bool = False) -> Tab:
        """A file, or a URL, on a screen of this size; one under 600 pixels wide is a phone's."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", session, **screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", session, features=[scheme])
        self.call("Page.navigate", session, url=file if isinstance(file, str) else file.as_uri())
        self.wait_for("Page.loadEventFired", session)
        return Tab(self, session)


class Tab:
    """An open page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of what it promises."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self.browser.call("Runtime.evaluate", self.session, **asked)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def go(self, url: str) -> None:
        """Open another page in this tab."""
        self.browser.events.clear()
        self.browser.call("Page.navigate", self.session, url=url)
        self.browser.wait_for("Page.loadEventFired", self.session)

    def when(self, condition: str) -> Any:
        """The value of an expression once it is true: after changes of the page, not by the clock."""
        return self.evaluate(WHEN % (condition, condition))

    def serious(self) -> list[str]:
        """What axe-core finds of the rules of WCAG 2.1, A and AA, that is serious or critical."""
        self.evaluate(AXE)
        return self.evaluate(SERIOUS)

    def complaints(self) -> list[str]:
        """What the page wrote to the console, and what the browser said of it."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(one["params"]) for one in self._events() if one["method"] in kinds]

    def dialogs(self) -> list[str]:
        """What `alert` and its like said."""
        return [one["params"]["message"] for one in self._events() if one["method"] == "Page.javascriptDialogOpening"]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, its own among them."""
        return [
            one["params"]["request"]["url"] for one in self._events() if one["method"] == "Network.requestWillBeSent"
        ]

    def _events(self) -> list[dict[str, Any]]:
        self.evaluate("0")  # all events before this answer have come
        return [one for one in self.browser.events if one.get("sessionId") == self.session and "method" in one]
