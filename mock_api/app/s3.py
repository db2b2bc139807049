"""A stand-in for S3, as far as pre-signed GET URLs and POST forms go. Errors are worded as S3 words them."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from .forms import BadForm, Form, receive_form
from .ranges import ObjectResponse, Unsatisfiable, etag, requested_part
from .state import Mock, MockOf
from .store import StoredObject

router = APIRouter()

BUCKET = "mock-bucket"
CREDENTIAL = "MOCKACCESSKEY/{date}/eu-central-1/s3/aws4_request"
ALGORITHM = "AWS4-HMAC-SHA256"
MAX_KEY_BYTES = 1024  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
TIME_FORMAT = "%Y%m%dT%H%M%SZ"


class S3Error(Exception):
    """A refusal: status, S3's code for it, the message and what else belongs into the XML; `headers` besides."""

    def __init__(self, status: int, code: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.fields = {"Code": code, "Message": message} | details


async def answer_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, S3Error)
    fields = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in error.fields.items())
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{fields}<RequestId>mock</RequestId></Error>'
    return Response(xml, error.status, error.headers, media_type="application/xml")


# What the API hands out.


def download_request(mock: Mock, base_url: str, key: str) -> dict[str, Any]:
    date = _utc(mock).strftime(TIME_FORMAT)
    query = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": CREDENTIAL.format(date=date[:8]),
        "X-Amz-Date": date,
        "X-Amz-Expires": f"{mock.config.url_expires_in_s:g}",
        "X-Amz-SignedHeaders": "host",
    }
    query["X-Amz-Signature"] = mock.sign("GET", key, *query.values())
    return {"method": "get", "url": f"{_url(base_url, key)}?{urlencode(query)}", "headers": {}, "data": {}}


def upload_request(mock: Mock, base_url: str, prefix: str) -> dict[str, Any]:
    now = _utc(mock)
    data = {
        "key": prefix + "${filename}",
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": CREDENTIAL.format(date=now.strftime("%Y%m%d")),
        "x-amz-date": now.strftime(TIME_FORMAT),
    }
    expiration = now + timedelta(seconds=mock.config.url_expires_in_s)
    conditions: list[Any] = [{"bucket": BUCKET}, ["starts-with", "$key", prefix]]
    conditions += [{name: value} for name, value in data.items() if name != "key"]
    policy = {"expiration": expiration.isoformat(), "conditions": conditions}
    data["policy"] = base64.b64encode(json.dumps(policy).encode()).decode()
    data["x-amz-signature"] = mock.sign(data["policy"])
    return {"method": "post", "url": f"{base_url}/s3/{BUCKET}/", "headers": {}, "data": data}


def _url(base_url: str, key: str) -> str:
    return f"{base_url}/s3/{BUCKET}/{quote(key)}"


def _utc(mock: Mock) -> datetime:
    return datetime.fromtimestamp(mock.now(), UTC)


# GET an object.


@router.api_route("/s3/{bucket}/{key:path}", methods=["GET", "HEAD"])
async def download(request: Request, mock: MockOf, bucket: str, key: str) -> Response:
    """A HEAD is refused: the URL is signed for GET alone."""
    _check_url(mock, request, key)
    stored = mock.store.get(key)
    if stored is None or bucket != BUCKET:
        raise S3Error(404, "NoSuchKey", "The specified key does not exist.", Key=key)
    if request.headers.get("if-match", etag(stored)) not in ("*", etag(stored)):
        raise S3Error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    if request.headers.get("if-none-match") in ("*", etag(stored)):
        return Response(status_code=304, headers=_entity_headers(mock, stored) | {"etag": etag(stored)})
    try:
        part = requested_part(request, stored)
    except Unsatisfiable as error:
        size = str(stored.size)
        message = "The requested range is not satisfiable"
        raise S3Error(
            416, "InvalidRange", message, RangeRequested=request.headers["range"], ActualObjectSize=size
        ) from error
    return ObjectResponse(stored, part, headers={"accept-ranges": "bytes"} | _entity_headers(mock, stored))


def _check_url(mock: Mock, request: Request, key: str) -> None:
    query = dict(request.query_params)
    signature = query.pop("X-Amz-Signature", None)
    if signature is not None and "authorization" in request.headers:
        raise _only_one_mechanism(request)
    if signature is None:
        raise S3Error(403, "AccessDenied", "Access Denied")
    if not mock.is_signed(signature, request.method, key, *query.values()):
        raise _wrong_signature()
    begin = datetime.strptime(query["X-Amz-Date"], TIME_FORMAT).replace(tzinfo=UTC)
    end = begin + timedelta(seconds=float(query["X-Amz-Expires"]))
    if end <= _utc(mock):
        expires = {"X-Amz-Expires": query["X-Amz-Expires"], "Expires": end.isoformat()}
        raise S3Error(403, "AccessDenied", "Request has expired", **expires, ServerTime=_utc(mock).isoformat())


# POST a form.


@router.post("/s3/{bucket}/")
async def upload(request: Request, mock: MockOf, bucket: str) -> Response:
    """Take a file: 204 with its ETag. All of the form is read before a refusal, so that the client hears it.

    307 where the bucket is to be reached by another address, as for hours after it was made in another region.
    """
    try:
        form = await receive_form(request, mock.store, mock.config.s3_max_bytes)
    except BadForm as error:
        raise S3Error(
            400, "MalformedPOSTRequest", f"The body of your POST request is not well-formed: {error}"
        ) from error
    except ClientDisconnect:
        return Response(status_code=400)  # for nobody
    try:
        _check_address(mock, str(request.base_url).rstrip("/"), bucket)
        key = _checked_key(mock, request, bucket, form)
    except S3Error:
        await form.file.discard()
        raise
    stored = await mock.store.commit(key, form.file)
    location = {"location": _url(str(request.base_url).rstrip("/"), key)}
    return Response(status_code=204, headers=location | _entity_headers(mock, stored))


def _check_address(mock: Mock, address: str, bucket: str) -> None:
    right = mock.config.s3_redirect
    if right is not None and address != right:
        message = (
            "Please re-send this request to the specified temporary endpoint. Continue to use the original request"
            " endpoint for future requests."
        )
        error = S3Error(307, "TemporaryRedirect", message, Bucket=bucket, Endpoint=right)
        error.headers["location"] = f"{right}/s3/{bucket}/"
        raise error


def _checked_key(mock: Mock, request: Request, bucket: str, form: Form) -> str:
    """Return the key to store the file under. Raises `S3Error` for what S3 refuses, in its order."""
    if "authorization" in request.headers:
        raise _only_one_mechanism(request)
    if "content-length" not in request.headers:
        raise S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if "key" not in form.fields:
        raise S3Error(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.", ArgumentName="key")
    if "policy" not in form.fields:
        raise S3Error(403, "AccessDenied", "Access Denied")
    if not mock.is_signed(form.fields.get("x-amz-signature", ""), form.fields["policy"]):
        raise _wrong_signature()
    # S3 takes the name without the folders that some browsers send with it, of either kind of slash.
    name = form.filename.replace("\\", "/").rpartition("/")[2]
    key = form.fields["key"].replace("${filename}", name)
    _check_policy(mock, bucket, key, form.fields)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise S3Error(400, "KeyTooLongError", "Your key is too long", MaxSizeAllowed=str(MAX_KEY_BYTES))
    if form.too_large:
        limit = str(mock.config.s3_max_bytes)
        raise S3Error(
            400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", MaxSizeAllowed=limit
        )
    return key


def _check_policy(mock: Mock, bucket: str, key: str, fields: dict[str, str]) -> None:
    policy = json.loads(base64.b64decode(fields["policy"]))
    if datetime.fromisoformat(policy["expiration"]) <= _utc(mock):
        raise S3Error(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    values = fields | {"bucket": bucket, "key": key}
    named = {"policy", "x-amz-signature"}
    for condition in policy["conditions"]:
        if isinstance(condition, dict):
            [(name, wanted)] = condition.items()
            holds = values.get(name) == wanted
        else:
            name = condition[1].removeprefix("$")
            holds = values.get(name, "").startswith(condition[2])
        named.add(name)
        if not holds:
            message = f"Invalid according to Policy: Policy Condition failed: {json.dumps(condition)}"
            raise S3Error(403, "AccessDenied", message)
    if extra := [name for name in fields if name.lower() not in named and not name.lower().startswith("x-ignore-")]:
        raise S3Error(403, "AccessDenied", f"Invalid according to Policy: Extra input fields: {', '.join(extra)}")


def _entity_headers(mock: Mock, stored: StoredObject) -> dict[str, str]:
    if not mock.config.s3_kms:
        return {"etag": etag(stored), "x-amz-server-side-encryption": "AES256"}
    return {"etag": f'"{mock.sign("etag", stored.md5)[:32]}"', "x-amz-server-side-encryption": "aws:kms"}


def _only_one_mechanism(request: Request) -> S3Error:
    message = (
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter "
        "or the Authorization header should be specified"
    )
    value = request.headers["authorization"].partition(" ")[0]
    return S3Error(400, "InvalidArgument", message, ArgumentName="Authorization", ArgumentValue=value)


def _wrong_signature() -> S3Error:
    message = "The request signature we calculated does not match the signature you provided."
    return S3Error(403, "SignatureDoesNotMatch", message)
