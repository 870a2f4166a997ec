"""The routes: each page is facts, which are its JSON, and a template that shows them.

A page at `/x` has its facts at `/x.json`. What a user can solve is told with status 400 or 404; what breaks is told with 500
and no text of a document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from curate.errors import CurateError
from curate.reports.html import STYLE, environment
from curate.terminal import json_text
from curate.workbench import comparing, documents, overview, thresholds
from curate.workbench.desk import Desk

if TYPE_CHECKING:
    from jinja2 import Environment
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["make_app"]

HERE = Path(__file__).parent
STATIC = {
    "reports.css": STYLE,
    "workbench.css": HERE / "static" / "workbench.css",
    "workbench.js": HERE / "static" / "workbench.js",
}
MEDIA = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

Facts = Callable[[Desk, Mapping[str, str], list[tuple[str, str]]], dict[str, Any]]
"""A page: the names in its path, and the keys and values of its address, to what it tells."""
PAGES: dict[str, tuple[Facts, str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "/": (overview.start, "start.html", dict),
    "/runs": (comparing.runs, "runs.html", comparing.drawn),
    "/v/{version}": (overview.funnel, "funnel.html", dict),
    "/v/{version}/documents": (documents.documents, "documents.html", documents.drawn),
    "/v/{version}/search": (documents.found, "search.html", dict),
    "/v/{version}/d/{place}": (documents.one, "document.html", dict),
    "/v/{version}/what-if": (thresholds.what_if, "what_if.html", thresholds.drawn),
    "/v/{version}/diff": (comparing.differences, "diff.html", dict),
}
"""By path: the facts, the template, and what is drawn of the facts."""
WAS = "was"
"""Key of an address that led from a version which is no more: that version."""


def make_app(desk: Desk) -> Starlette:
    """The application, without its guard."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    routes = [Route("/static/{name}", _static)]
    for path, page in PAGES.items():
        json_path = "/index.json" if path == "/" else f"{path}.json"
        routes.append(Route(json_path, partial(_as_json, desk, page), methods=["GET"]))
        routes.append(Route(path, partial(_as_page, desk, page), methods=["GET"]))
    for end in (".json", ""):
        routes.append(Route(f"/v/{{version}}/document{end}", partial(_found, desk, end), methods=["GET"]))
    routes.append(Route("/v/{version}/d/{place}/reveal", partial(_reveal, desk), methods=["POST"]))
    handlers: dict[Any, Any] = {CurateError: _told, HTTPException: _not_there, Exception: _broken}
    made = Starlette(routes=routes, exception_handlers=handlers)
    made.state.desk = desk
    return made


def _facts(desk: Desk, page: tuple[Facts, str, Any], request: Request) -> dict[str, Any]:
    """What a page tells; of a version that took the place of one that was asked for, that too."""
    desk.let_go()
    facts = page[0](desk, request.path_params, list(request.query_params.multi_items()))
    was = request.query_params.get(WAS)
    return {**facts, "instead_of": was} if was else facts


def _as_json(desk: Desk, page: tuple[Facts, str, Any], request: Request) -> Response:
    return _replaced(desk, request) or _json(
        {name: told for name, told in _facts(desk, page, request).items() if not name.startswith("_")}
    )


def _as_page(desk: Desk, page: tuple[Facts, str, Any], request: Request) -> Response:
    replaced = _replaced(desk, request)
    if replaced:
        return replaced
    facts = _facts(desk, page, request)
    where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    about = desk.about(request.path_params.get("version"), request.query_params.get(WAS))
    return _html(page[1], {**facts, **page[2](facts), **about}, asked=where, read_only=desk.read_only)


def _found(desk: Desk, end: str, request: Request) -> Response:
    version, asked = request.path_params["version"], request.query_params.get("id", "")
    place = documents.place_of(desk, version, asked)
    return _elsewhere(f"/v/{quote(version, safe='')}/d/{place}{end}")


def _elsewhere(address: str) -> Response:
    from starlette.responses import RedirectResponse

    return RedirectResponse(address, 303)


def _replaced(desk: Desk, request: Request) -> Response | None:
    """The way to the version that an erasure has put in the place of the one that is asked for; the page there says so."""
    asked = request.path_params.get("version", "")
    now = desk.replacing(asked) if asked else None
    if now is None:
        return None
    query = [pair for pair in request.query_params.multi_items() if pair[0] != WAS]
    path = str(request.scope["path"]).replace(f"/v/{asked}", f"/v/{now}", 1)
    return _elsewhere(quote(path, safe="/@") + link([*query, (WAS, asked)]))


def _reveal(desk: Desk, request: Request) -> Response:
    return _json(documents.revealed(desk, request.path_params, list(request.query_params.multi_items())))


def _static(request: Request) -> Response:
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    path = STATIC.get(request.path_params["name"])
    if path is None:
        raise HTTPException(404)
    return Response(path.read_bytes(), headers={"content-type": MEDIA[path.suffix]})


# ---- answers


def _html(template: str, facts: dict[str, Any], *, status: int = 200, **more: Any) -> Response:
    from starlette.responses import Response

    text = _templates().get_template(template).render(**facts, **more, link=link)
    return Response(text.encode("utf-8", "replace"), status, {"content-type": "text/html; charset=utf-8"})


@cache
def _templates() -> Environment:
    """The pages' templates, compiled once."""
    return environment(HERE / "templates")


def link(query: Sequence[tuple[str, str]], **more: str) -> str:
    """The end of an address: the keys and values of a query, and others."""
    return "?" + urlencode([*query, *more.items()], errors="surrogatepass")


def _json(facts: dict[str, Any], status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(json_text(facts).encode("utf-8", "replace"), status, {"content-type": "application/json"})


def _wants_json(request: Request) -> bool:
    return request.url.path.endswith(".json") or request.method == "POST"


def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, CurateError)
    missing = error.problem.startswith(("there is no ", "no document ")) or " has no tag or version " in error.problem
    status = 404 if missing else 400
    return _error(request, status, error.records())


def _not_there(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    hint = "the first page lists datasets and versions"
    return _error(request, status, [{"problem": "there is no such page", "where": None, "hint": hint}])


def _broken(request: Request, error: Exception) -> Response:
    problem = f"internal error: {type(error).__name__}"  # what it says may be of a document
    return _error(
        request, 500, [{"problem": problem, "where": None, "hint": "CURATE_DEBUG=1 shows it in the terminal"}]
    )


def _error(request: Request, status: int, errors: list[dict[str, str | None]]) -> Response:
    if _wants_json(request):
        return _json({"errors": errors}, status)
    return _html("error.html", {"errors": errors}, status=status, asked="", read_only=True)
