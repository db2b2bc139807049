"""A stand-in for AWS Cognito's login, for AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=<this mock>/cognito/."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from .accounts import CognitoError
from .state import MockOf

router = APIRouter()

CONTENT_TYPE = "application/x-amz-json-1.1"
TARGET = "AWSCognitoIdentityProviderService.InitiateAuth"


@router.post("/cognito")
@router.post("/cognito/")
async def initiate_auth(request: Request, mock: MockOf) -> Response:
    """200 with tokens or a challenge, 400 with `__type` and `message`."""
    try:
        body = _body(request, await request.body())
        answer = mock.accounts.initiate_auth(body, mock.config.expires_in)
    except CognitoError as error:
        refusal = {"__type": error.kind, "message": str(error)}
        headers = {"x-amzn-errortype": f"{error.kind}:", "x-amzn-errormessage": str(error)}
        return Response(json.dumps(refusal), 400, headers, media_type=CONTENT_TYPE)
    return Response(json.dumps(answer), media_type=CONTENT_TYPE)


def _body(request: Request, body: bytes) -> dict[str, Any]:
    if request.headers.get("content-type") != CONTENT_TYPE:
        raise CognitoError("SerializationException", f"the content type is not {CONTENT_TYPE}")
    if request.headers.get("x-amz-target") != TARGET:
        raise CognitoError("UnknownOperationException", "the header X-Amz-Target names no operation of this mock")
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise CognitoError("SerializationException", str(error)) from error
    if not isinstance(parsed, dict):
        raise CognitoError("SerializationException", "the body is not a JSON object")
    return parsed
