"""A stand-in for the platform's worker-facing API: `uvicorn app.app:app`, or `create_app()` for each test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from . import cognito, helpers, own_store, probe, s3, users_api, worker_api
from .config import MockConfig, config_from_environment
from .state import Mock
from .store import keep_freed_memory
from .wire import Wire

PAGE = Path(__file__).with_name("page.html")


def create_app(config: MockConfig | None = None) -> FastAPI:
    """Make an app with a state of its own, which is at `app.state.mock`."""
    keep_freed_memory()
    app = FastAPI(title="Mock of the worker-facing API", docs_url=None, redoc_url=None, lifespan=_lifespan)
    app.state.mock = Mock(config or MockConfig())
    for module in (worker_api, cognito, own_store, s3, probe, helpers):
        app.include_router(module.router)
    app.add_exception_handler(s3.S3Error, s3.answer_error)
    for error, handler in worker_api.ERROR_HANDLERS.items():
        app.add_exception_handler(error, handler)
    app.add_api_route("/", page, include_in_schema=False)
    app.add_middleware(Wire, mock=app.state.mock, users_api=users_api.create_users_api(app.state.mock))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.mock.store.close()  # uvicorn ends by the signal it got, which leaves no time for it later


async def page() -> FileResponse:
    return FileResponse(PAGE, media_type="text/html")


app = create_app(config_from_environment())
