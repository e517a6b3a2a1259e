"""The review page's server: on this machine only, behind a secret, one JSON answer a question.

No cookie is ever set: the secret travels in the address behind ``#``, which browsers send to nobody, and then as a
header, which another site's page cannot add. So no other page can act in the reader's name (OWASP, Cross-Site Request
Forgery Prevention). The host name is checked as well, against names that are made to point here (DNS rebinding).
"""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from screener.domain.verdict import Diagnosis, Opinion, SelectionReason
from screener.errors import AuditLogError, ScreenerError, UsageError
from screener.messages import RECOMMENDATION
from screener.report.console import against_threshold, safe
from screener.report.messages import REASON
from screener.review.page import markup, words
from screener.review.queue import hidden
from screener.review.verdicts import NOTE_LIMIT
from screener.study_store import StudyItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from screener.domain.verdict import Verdict
    from screener.finding_store import Item
    from screener.messages import Language
    from screener.review.queue import Case, ReviewQueue, StudySlice
    from screener.review.viewer import Viewer

HOST = "127.0.0.1"
TOKEN_HEADER = "x-screener-token"  # noqa: S105 - the name of the header, not what it holds
_MOST_BYTES = 64 << 10
_LONGEST = 24 * 3600.0
"""Seconds spent on one slice beyond which the page lay open unattended."""
_REQUEST_LIMIT = 64
_SCRIPT, _STYLE = "review.js", "review.css"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def new_token() -> str:
    """Return a fresh secret of 256 bits."""
    return secrets.token_urlsafe(32)


def listen(port: int) -> socket.socket:
    """Take a port of this machine; 0 takes any that is free.

    Raises
    ------
    UsageError
        It is taken, or not ours to take.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, port))
        taken.listen()
    except OSError as error:
        taken.close()
        raise UsageError(
            f"port {port} cannot be used: {error.strerror}", "leave --port out, and a free one is taken"
        ) from None
    return taken


class Server:
    """Answers the page's questions.

    Parameters
    ----------
    queue : ReviewQueue
    viewer : Viewer
    doctor : str
    lang : {"en", "fr"}
    token : str
    """

    def __init__(self, queue: ReviewQueue, viewer: Viewer, *, doctor: str, lang: Language, token: str) -> None:
        self.queue, self.viewer, self.doctor, self.lang, self._token = queue, viewer, doctor, lang, token

    def app(self) -> Starlette:
        """Return the ASGI application."""
        answers: dict[str, Callable[[Request], Any]] = {
            "/api/progress": self._progress,
            "/api/next": self._next,
            "/api/neighbour/{result}": self._neighbour,
            "/api/case/{result}": self._case,
            "/api/picture/{result}": self._picture,
            "/api/heat/{result}": self._heat,
            "/api/refresh": self._refresh,
        }
        routes = [Route("/", self._page), Route(f"/{_SCRIPT}", _asset), Route(f"/{_STYLE}", _asset)]
        routes += [Route(path, self._guarded(answer)) for path, answer in answers.items()]
        routes.append(Route("/api/verdict", self._guarded(self._verdict), methods=["POST"]))
        trusted = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)
        return Starlette(routes=routes, middleware=[trusted])

    def _guarded(self, answer: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
        """Check the secret, keep blocking work off the loop, and turn failures into sentences."""

        async def guarded(request: Request) -> Response:
            given = request.headers.get(TOKEN_HEADER, "")
            if not secrets.compare_digest(given.encode(), self._token.encode()):
                return _error(403, words(self.lang)["wrong_token"])
            try:
                request.state.body = await _body(request) if request.method == "POST" else None
                found = await run_in_threadpool(answer, request)
            except AuditLogError as error:
                return _error(500, f"{error} {error.hint}")
            except ScreenerError as error:
                return _error(404, f"{error}: {error.hint}")
            except ValueError as error:
                return _error(400, str(error))
            return found if isinstance(found, Response) else JSONResponse(found, headers=_HEADERS)

        return guarded

    async def _page(self, _: Request) -> Response:
        return Response(markup(self.lang), media_type="text/html", headers=_HEADERS)

    def _progress(self, _: Request) -> dict[str, Any]:
        problem = self.queue.problem
        return {
            **asdict(self.queue.progress()),
            "doctor": safe(self.doctor),
            "blind": self.queue.blind,
            "problem": None if problem is None else safe(f"{problem} {problem.hint}"),
        }

    def _refresh(self, request: Request) -> dict[str, Any]:
        self.queue.refresh()
        return self._progress(request)

    def _next(self, request: Request) -> dict[str, Any]:
        return self._case_json(self.queue.next_unread(request.query_params.get("after")))

    def _neighbour(self, request: Request) -> dict[str, Any]:
        step = -1 if request.query_params.get("step") == "-1" else 1
        return self._case_json(self.queue.neighbour(request.path_params["result"], step))

    def _case(self, request: Request) -> dict[str, Any]:
        return self._case_json(self.queue.case(request.path_params["result"]))

    def _picture(self, request: Request) -> Response:
        found = self.viewer.slice_png(self._slice(request)[1])
        if isinstance(found, str):
            return _error(404, words(self.lang)[found])
        return Response(found, media_type="image/png", headers=_HEADERS)

    def _heat(self, request: Request) -> Response:
        case, item = self._slice(request)
        if hidden(case, blind=self.queue.blind):
            return _error(403, words(self.lang)["hidden"])
        found = self.viewer.heat_png(item)
        if found is None:
            return _error(404, words(self.lang)["no_heat"])
        return Response(found, media_type="image/png", headers=_HEADERS)

    def _verdict(self, request: Request) -> dict[str, Any]:
        result, opinion = _opinion(request.state.body, self.doctor)
        digest = self.queue.record(result, opinion)
        case = self.queue.case(result)
        shown = case if case.study is None else self.queue.case(case.study.result)
        return {"recorded": digest, **self._case_json(shown), "progress": self._progress(request)}

    def _case_json(self, case: Case | None) -> dict[str, Any]:
        """Return what the page may know of a case: in blind mode nothing of the tool's opinion before the reader's."""
        if case is None:
            return {"case": None}
        item, unseen = case.item, hidden(case, blind=self.queue.blind)
        earlier = item.earlier_verdict if isinstance(item, StudyItem) else None
        shown: dict[str, Any] = {
            "result": item.result,
            "level": item.finding.level,
            "path": safe(item.finding.path),
            "patient": safe(item.finding.patient_id or ""),
            "judged": item.judged[:16].replace("T", " "),
            **_verdict_json("verdict", item.verdict),
            **_verdict_json("earlier", earlier),
            "opinion": None if unseen else self._opinion_of_tool(case),
            "slices": [_slice_json(one, hide_key=unseen) for one in self.queue.slices(case)],
        }
        return {"case": shown}

    def _opinion_of_tool(self, case: Case) -> dict[str, Any]:
        finding = case.item.finding
        return {
            "urgency": finding.urgency.value,
            "recommendation": RECOMMENDATION[self.lang][finding.urgency],
            "probability": None if finding.probability is None else against_threshold(finding, self.lang),
            "reason": None if finding.reason is None else REASON[self.lang][finding.reason],
            "model": safe(finding.model),
            "sampled": case.selection is SelectionReason.SAMPLE,
        }

    def _slice(self, request: Request) -> tuple[Case, Item]:
        """Return the slice that a picture is asked of.

        Raises
        ------
        UsageError
            The log holds no such slice.
        """
        case = self.queue.case(request.path_params["result"])
        if isinstance(case.item, StudyItem):
            raise UsageError("a study has no picture of its own", "name one of its slices")
        return case, case.item


def _verdict_json(name: str, verdict: Verdict | None) -> dict[str, str | None]:
    if verdict is None:
        return {name: None, f"{name}_doctor": None}
    return {name: verdict.final_diagnosis, f"{name}_doctor": safe(verdict.doctor_id)}


def _slice_json(one: StudySlice, *, hide_key: bool) -> dict[str, Any]:
    finding = one.item.finding
    return {
        "result": one.item.result,
        "path": safe(finding.path),
        "series": safe(finding.series_id or finding.sequence or ""),
        "key": None if hide_key else one.key,
        "verdict": None if one.item.verdict is None else one.item.verdict.final_diagnosis,
    }


def _opinion(body: Any, doctor: str) -> tuple[str, Opinion]:  # noqa: ANN401 - whatever was sent
    """Read a verdict as the page sends it.

    Raises
    ------
    ValueError
        It is no verdict.
    """
    if not isinstance(body, dict):
        raise ValueError("a verdict is a JSON object")  # noqa: TRY004 - one kind of failure, one answer
    texts = {name: body.get(name, "") for name in ("result", "diagnosis", "note", "request")}
    if not all(isinstance(value, str) for value in texts.values()):
        raise ValueError("result, diagnosis, note and request are text")
    if len(texts["note"]) > NOTE_LIMIT or len(texts["request"]) > _REQUEST_LIMIT:
        raise ValueError(f"a note has at most {NOTE_LIMIT} letters")
    seconds = body.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST:
        raise ValueError("seconds is a number from 0 to a day")
    diagnosis = Diagnosis(texts["diagnosis"])
    return texts["result"], Opinion(diagnosis, doctor, texts["note"], float(seconds), request=texts["request"])


async def _body(request: Request) -> Any:  # noqa: ANN401 - whatever was sent
    """Read a JSON body of bounded size."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ValueError("send application/json")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_BYTES:
            raise ValueError(f"a verdict has at most {_MOST_BYTES} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("the body is no JSON") from None


def _error(status: int, sentence: str) -> Response:
    return JSONResponse({"error": safe(sentence)}, status_code=status, headers=_HEADERS)


async def _asset(request: Request) -> Response:
    name = request.url.path.lstrip("/")
    content = (files("screener.review") / "assets" / name).read_bytes()
    return Response(content, media_type="text/css" if name == _STYLE else "text/javascript", headers=_HEADERS)
