"""A file to try the storage with, for the worker's `check`. No part of the contract: the platform may have none."""

import uuid
from typing import Any

from fastapi import APIRouter

from . import own_store, s3
from .state import BaseUrl, MockOf
from .store import probe_prefix
from .worker_api import Worker

router = APIRouter()

NAME = "probe"


@router.get("/_probe")
async def probe(mock: MockOf, worker: Worker, base_url: BaseUrl) -> dict[str, Any]:
    """The form that takes a file named `probe`, and the request that gives it back, as the contract's are.

    Each call has a file of its own, and throws away those whose time is over.
    """
    for old in mock.store.under(probe_prefix()):
        if old.modified + mock.config.url_expires_in_s <= mock.now():
            mock.store.remove(old.key)
    prefix = probe_prefix(uuid.uuid4().hex)
    if mock.config.storage == "s3":
        upload, download = s3.upload_request(mock, base_url, prefix), s3.download_request(mock, base_url, prefix + NAME)
    else:
        upload = own_store.upload_request(mock, base_url, prefix, "", worker.username)
        download = own_store.download_request(mock, base_url, prefix + NAME)
    return {"upload": upload, "download": download}
