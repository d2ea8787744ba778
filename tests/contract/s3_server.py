"""An S3 server on this machine, spoken to over real HTTP."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def running_s3() -> Iterator[str]:
    """The address of a running server on a free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def empty_bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an empty bucket, with the environment that leads to it."""
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    name = f"bucket-{os.urandom(6).hex()}"
    client.create_bucket(Bucket=name)
    yield name
    client.close()
    # Connections are closed here and not when Python gets round to it: a later test would be blamed.
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    gc.collect()
