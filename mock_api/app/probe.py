"""A file to try the storage with, for the worker's `check`. No part of the contract: the platform may have none."""

import uuid
from typing import Any

from fastapi import APIRouter

from . import own_store, s3
from .state import BaseUrl, MockOf
from .store import input_key
from .worker_api import Worker

router = APIRouter()

FOLDER = "probes/"  # of file ids
NAME = "probe"


@router.get("/_probe")
async def probe(mock: MockOf, worker: Worker, base_url: BaseUrl) -> dict[str, Any]:
    """The form that takes a file named `probe`, and the request that gives it back, as the contract's are.

    Each call has a file of its own, and throws away those whose time is over.
    """
    for old in mock.store.under(input_key(FOLDER)):
        if old.modified + mock.config.url_expires_in_s <= mock.now():
            mock.store.remove(old.key)
    folder = f"{FOLDER}{uuid.uuid4().hex}/"
    if mock.config.storage == "s3":
        upload = s3.upload_request(mock, base_url, input_key(folder))
        download = s3.download_request(mock, base_url, input_key(folder + NAME))
    else:
        upload = own_store.upload_request(mock, base_url, input_key(folder), "", worker.username)
        download = own_store.download_request(mock, base_url, folder + NAME)
    return {"upload": upload, "download": download}
