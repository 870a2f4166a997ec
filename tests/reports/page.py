"""A report as an HTML parser sees it."""

from __future__ import annotations

from html.parser import HTMLParser

from curate.reports.report import build_report

LONG = "many words that make a text which no filter drops at all"
VOID = {"meta", "br", "img", "link", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Checks that every element is closed where it should be, and collects what is asked for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.elements, self.texts, self.anchors = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag not in ("bdi", "code", "mark", "span", "strong"):
            self.texts.append(" ")

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(project, folder, name="report.html") -> str:
    return build_report(project.store, project.version, folder / name).read_text(encoding="utf-8")
