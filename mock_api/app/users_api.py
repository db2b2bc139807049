"""The platform's other API, the users', as a worker finds it that has the wrong address: `api` = `users`."""

from fastapi import FastAPI, HTTPException, Request

from .accounts import BadToken, NotAWorker
from .state import Mock, MockOf
from .worker_api import access_info, bearer_token


def create_users_api(mock: Mock) -> FastAPI:
    """Make the app. It answers `/access_info` and `GET /jobs`, and 404 to all else, as any FastAPI application does."""
    app = FastAPI(title="Mock of the users' API", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.mock = mock
    app.add_api_route("/access_info", access_info)
    app.add_api_route("/jobs", list_jobs)
    return app


async def list_jobs(request: Request, mock: MockOf) -> list[str]:
    """The jobs that this user has submitted: none. It knows no `memory`, whatever that is. 401, 403: the token."""
    try:
        mock.accounts.authenticate(bearer_token(request))
    except BadToken as error:
        raise HTTPException(401, str(error)) from error
    except NotAWorker:
        pass  # a user need not be one
    return []
