"""S3, by moto, with a bucket into which an object comes a second after somebody has looked for it: bucket.py PORT"""

import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

port = int(sys.argv[1])
moto = DomainDispatcherApplication(create_backend_app)
looked = threading.Event()


def s3(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] == "HEAD":
        looked.set()
    answer: Iterable[bytes] = moto(environ, start_response)
    return answer


def bring() -> None:
    client = boto3.client(
        "s3",
        "us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="arrivals")
    looked.wait()
    time.sleep(1)
    client.put_object(Bucket="arrivals", Key="today/report.csv", Body=b"city,rows")


threading.Thread(target=bring, daemon=True).start()
run_simple("127.0.0.1", port, s3, threaded=True)
