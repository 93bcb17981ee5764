"""The API's reference as a page that needs no network.

Invariant: it shows exactly what `/openapi.json` says.
"""

from quart import Blueprint, current_app

from config.errors import CODES
from config.http import answer
from config.openapi import describe
from dashboard import urls
from dashboard.web import AnyResponse, gate, html, secure, settings

blueprint = Blueprint("docs_page", __name__)
blueprint.after_request(secure)


@blueprint.get("/openapi.json")
async def openapi() -> AnyResponse:
    return answer(describe(current_app))


@blueprint.get(urls.DOCS)
async def docs() -> AnyResponse:
    document = describe(current_app)
    groups: dict[str, list[dict[str, object]]] = {}
    for path, methods in document["paths"].items():
        parts = path.strip("/").split("/")
        name = parts[1].replace("_", " ") if parts[0] == "v1" else "service"
        for method, operation in methods.items():
            groups.setdefault(name, []).append({"method": method.upper(), "path": path, **operation})
    schemas = document["components"]["schemas"]
    return html(
        "docs.html",
        gate=gate("API reference"),
        groups=groups,
        schemas=schemas,
        codes=CODES,
        api_url=settings().public_base_url,
    )
