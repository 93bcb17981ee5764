"""The application: the only place where the rooms are wired together.

Invariant: `create_app` makes everything from its settings and keeps nothing in module globals, so that several
applications can live in one process.
"""

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from quart import Quart, Response, request
from quart.sessions import SessionInterface
from quart.wrappers import BaseRequestWebsocket
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from accounts.sessions import LogIns, configure_cookies
from billing import api as billing_api
from billing import limits_api, usage_api
from config import health, metrics
from config.clock import Clock, now_ms
from config.database import Unavailable
from config.door import Busy, Down
from config.errors import ApiError
from config.http import LARGE_BODY_BYTES, LimitedRequest, answer, hearing_out, largest_body, request_id, storable
from config.logs import configure
from config.machinery import Machinery
from config.migrate import migrate_embedded
from config.openapi import ERRORS_PAGE
from config.rate_limit import RateLimit
from config.settings import Settings, load_or_exit
from dashboard import (
    account_pages,
    agent_pages,
    batch_pages,
    billing_pages,
    call_pages,
    docs_page,
    entrance,
    limits_pages,
    list_pages,
    live,
    number_pages,
    payment_pages,
    webhook_pages,
)
from dashboard.live import Bell
from dashboard.web import error_html, static_file
from voice import api as voice_api
from voice import lists_api
from voice.agents import api as agents_api
from voice.batches import api as batches_api
from voice.live import relay
from voice.numbers import api as numbers_api
from voice.signature import SignatureCheck
from webhooks import api as webhooks_api
from webhooks import stripe as stripe_webhooks
from webhooks import twilio as twilio_webhooks
from webhooks import twilio_talks

log = structlog.get_logger(__name__)

LOGINS_PER_MINUTE = 10
SIGN_UPS_PER_MINUTE = 5
DASHBOARD = (
    entrance,
    call_pages,
    batch_pages,
    agent_pages,
    number_pages,
    list_pages,
    billing_pages,
    payment_pages,
    limits_pages,
    account_pages,
    webhook_pages,
    docs_page,
    live,
)


class NoSession(SessionInterface):
    """Ours are rows (`accounts.sessions`); opening the framework's own for every request costs more than routing it."""

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> None:
        return None


def create_app(settings: Settings | None = None, clock: Clock = now_ms) -> Quart:
    """The web application; on the embedded database it also does the worker's work. Without settings: those of
    the environment."""
    settings = settings or load_or_exit()
    configure(settings.log_level)
    app = Quart("callingbox", static_folder=None)
    app.request_class = LimitedRequest
    app.config["MAX_FORM_MEMORY_SIZE"] = LARGE_BODY_BYTES
    app.config["BODY_TIMEOUT"] = 20
    machinery = Machinery(settings, clock)
    app.extensions.update(
        settings=settings,
        database=machinery.database,
        door=machinery.door,
        calls=machinery.calls,
        agents=machinery.agents,
        batches=machinery.batches,
        numbers=machinery.numbers,
        switchboard=machinery.switchboard(clock),
        topups=machinery.topups,
        egress=machinery.egress,
        signature=SignatureCheck(settings.carrier_auth_token, settings.public_base_url),
        known_keys={},
        rate_limit=RateLimit(settings.rate_limit_per_minute),
        login_limit=RateLimit(LOGINS_PER_MINUTE),
        sign_up_limit=RateLimit(SIGN_UPS_PER_MINUTE),
    )
    app.session_interface = NoSession()  # type: ignore[assignment]
    configure_cookies(app, settings)
    _add_lifecycle(app, machinery)
    _add_errors(app, has_pages=True)
    for room in (
        voice_api,
        agents_api,
        numbers_api,
        lists_api,
        batches_api,
        billing_api,
        usage_api,
        limits_api,
        webhooks_api,
        twilio_webhooks,
        twilio_talks,
        relay,
        stripe_webhooks,
        health,
        metrics,
        *DASHBOARD,
    ):
        app.register_blueprint(room.blueprint)
    app.add_url_rule("/static/<path:name>", "static", static_file)
    LogIns(app)
    app.asgi_app = hearing_out(app.asgi_app)  # type: ignore[method-assign, assignment]
    return app


def create_worker_app(machinery: Machinery) -> Quart:
    """What a worker serves to those who watch it: `/metrics`, `/healthz` and `/readyz`, nothing else."""
    app = Quart("callingbox-worker", static_folder=None)
    app.request_class = LimitedRequest
    app.extensions.update(
        settings=machinery.settings,
        database=machinery.database,
        door=machinery.door,
        calls=machinery.calls,
        switchboard=None,
    )
    app.session_interface = NoSession()  # type: ignore[assignment]
    _add_errors(app, has_pages=False)
    for room in (health, metrics):
        app.register_blueprint(room.blueprint)
    return app


def _add_lifecycle(app: Quart, machinery: Machinery) -> None:
    bell = app.extensions["bell"] = Bell(machinery.door)

    def wind_up() -> None:
        """Hypercorn on its own, as the Procfile starts it, stops listening at the signal and lets its connections end:
        what would not be answered any more is not begun, and conversations are handed on meanwhile. (`serve` hands them
        on first.)"""
        if "winds_up" in app.extensions:
            return
        app.extensions["begins_nothing"] = True
        if (switchboard := app.extensions["switchboard"]) is not None:
            app.extensions["winds_up"] = asyncio.create_task(switchboard.drain())

    @app.before_serving
    async def start() -> None:
        bell.told_to_stop.append(wind_up)
        _open_many_files()
        if machinery.database.is_sqlite:
            await asyncio.to_thread(migrate_embedded, machinery.settings.database_url)
        await machinery.open()
        bell.stop_on_signal()
        if machinery.database.is_sqlite:
            machinery.begin_work()

    @app.after_request
    async def part(response: Response) -> Response:
        """Of a client, when we stop: Hypercorn keeps a connection on which it was still answering, and then itself,
        until `graceful_timeout`, unless the answer says that it is the last one."""
        if bell.stopped and request.http_version.startswith("1"):
            response.headers["Connection"] = "close"
        return response

    @app.after_serving
    async def stop() -> None:
        bell.close()
        await machinery.close()


def _open_many_files() -> None:
    """A connection is an open file, and of those a shell allows few at first (often 1,024); take what we may."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not every system has such a limit
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _add_errors(app: Quart, *, has_pages: bool) -> None:
    @app.before_request
    async def receive() -> None:
        if "begins_nothing" in app.extensions:
            raise _busy("The server is stopping. Nothing was changed; try again.")
        _check_framing()
        structlog.contextvars.clear_contextvars()
        route = request.url_rule.rule if request.url_rule else None  # an address itself may carry anything
        structlog.contextvars.bind_contextvars(request_id=request_id(), route=route)
        if not all(storable(str(value)) for value in (request.view_args or {}).values()):
            raise ApiError(404, *_HTTP_CODES[404])

    @app.after_request
    async def name_answer(response: Response) -> Response:
        response.headers["Request-Id"] = request_id()
        return response

    def handle(kind: type[Exception], make: Callable[[Exception], ApiError]) -> None:
        async def handler(error: Exception) -> Response:
            made = error if isinstance(error, ApiError) else make(error)
            if has_pages and _is_page():
                return await error_html(made, request_id())
            return answer(made.body, made.status, {**made.headers, **_help(made)})

        app.register_error_handler(kind, handler)

    handle(ApiError, lambda error: ApiError(500, "internal_error", "unreachable"))
    handle(Unavailable, lambda error: _busy("The database cannot be reached just now. Nothing was changed; try again."))
    handle(Down, lambda error: _busy("The database cannot be reached just now. Nothing was lost; try again."))
    handle(Busy, lambda error: _busy("The server is over capacity. Nothing was changed; try again."))
    handle(
        RequestEntityTooLarge,
        lambda error: _too_large(),
    )
    handle(HTTPException, _http_error)
    handle(Exception, _unexpected)


def _check_framing() -> None:
    """Where a request ends must be beyond doubt for us and for any proxy, and none may pass a proxy unseen: HTTP/2
    without TLS comes from nobody but who tunnels through its way for sockets. Raises ApiError."""
    is_tunnelled = request.http_version == "2" and request.scheme == "http"
    if is_tunnelled or ("Transfer-Encoding" in request.headers and "Content-Length" in request.headers):
        words = "Send HTTP/1.1, and the body's length either by Content-Length or in chunks."
        raise ApiError(400, "invalid_request", words, {} if is_tunnelled else {"Connection": "close"})


def _is_page() -> bool:
    """Whether a person looks at this address: everything but the API, the callbacks and the probes."""
    for_programs = ("/v1/", "/webhooks/twilio", "/webhooks/stripe", "/openapi.json", "/healthz", "/readyz", "/metrics")
    return not f"{request.path}/".startswith(for_programs) and request.accept_mimetypes.accept_html


def _help(error: ApiError) -> dict[str, str]:
    """Where the code is explained (RFC 8288, relation `help`)."""
    return {"Link": f'<{ERRORS_PAGE}#{error.code}>; rel="help"'}


def _busy(message: str) -> ApiError:
    return ApiError(503, "over_capacity", message, headers={"Retry-After": "1"})


def _too_large() -> ApiError:
    return ApiError(400, "body_too_large", f"The body is larger than {largest_body(request.path)} bytes.", field="body")


_HTTP_CODES = {
    400: ("invalid_request", "The request cannot be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    408: ("request_timeout", "The request's body did not arrive in time."),
    415: ("unsupported_media_type", "Send JSON."),
}


def _http_error(error: Exception) -> ApiError:
    status = getattr(error, "code", None) or 500
    code, message = _HTTP_CODES.get(status, ("http_error", "The request failed."))
    allowed = getattr(error, "valid_methods", None)
    return ApiError(status, code, message, {"Allow": ", ".join(sorted(allowed))} if allowed else None)


def _unexpected(error: Exception) -> ApiError:
    log.exception("unexpected_error", error=type(error).__name__)
    message = "Something went wrong on our side. Nothing was half done; try again."
    return ApiError(500, "internal_error", f"{message} If it lasts, name this request to support: {request_id()}")
