"""HTML pages: the user interface at / and the API documentation at /docs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

_WEB = Path(str(files("serve_app.http"))) / "web"
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_pages(app: FastAPI) -> None:
    """Add the routes of both pages. Neither page loads anything from another host."""
    swagger = Path(str(files("fastapi_swagger"))) / "resources"
    app.mount("/web", StaticFiles(directory=_WEB))
    app.mount("/docs-assets", StaticFiles(directory=swagger))

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> Response:
        return FileResponse(_WEB / "index.html", headers={"content-security-policy": _PAGE_POLICY})

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title}: API",
            swagger_js_url="docs-assets/swagger-ui-bundle.js",
            swagger_css_url="docs-assets/swagger-ui.css",
            swagger_favicon_url="docs-assets/favicon-32x32.png",
        )
