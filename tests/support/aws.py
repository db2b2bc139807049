"""AWS as moto has it: written by others, so that it tells when our mock and our worker agree on something wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from job_fetcher.core.job import RequestToMake

BUCKET = "bucket"


class Aws:
    """Its clients, and the requests that the platform's API would hand out for S3."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cognito = self._client("cognito-idp")
        self.s3 = self._client("s3")
        self.s3.create_bucket(Bucket=BUCKET)

    def _client(self, service: str) -> Any:
        import boto3  # it takes half a second, and most processes of a test run need none of it
        from botocore.config import Config

        keys = {"aws_access_key_id": "mock", "aws_secret_access_key": "mock"}
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"}) if service == "s3" else None
        return boto3.client(service, "us-east-1", endpoint_url=self.url, config=config, **keys)

    def download_request(self, key: str) -> RequestToMake:
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=600)
        return RequestToMake(method="get", url=url)

    def upload_request(self, folder: str) -> RequestToMake:
        form = self.s3.generate_presigned_post(BUCKET, folder + "/${filename}", ExpiresIn=600)
        return RequestToMake(method="post", url=form["url"], data=form["fields"])

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content


@contextmanager
def running_aws() -> Iterator[Aws]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield Aws(f"http://{host}:{port}")
    finally:
        server.stop()
