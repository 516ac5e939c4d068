"""Sends requests that botocore has signed to the gateway's check of signatures at 127.0.0.1:PORT, and prints what was
answered, a line of JSON for each: its name, the status, the type of error, the body."""

import http.client
import json
import sys
from datetime import timedelta

import botocore.auth
import botocore.session
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

PORT = int(sys.argv[1])
ALICE = Credentials("AKIDALICE", "alice/secret+of=40")
ROBOT = Credentials("AKIDROBOT", "robot-secret", "robot/session+token==")
REGION, SERVICE = "eu-central-1", "execute-api"
REAL_NOW = botocore.auth.get_current_datetime

# name, method, target, headers, body
REQUESTS = [
    ("root", "GET", "/", {}, ""),
    ("resource", "DELETE", "/prod/orders/17", {}, ""),
    ("escaped path", "GET", "/prod/a%20b/%E1%88%B4/c%2Fd", {}, ""),
    ("reserved path", "GET", "/prod/a:b@c/$default,x;y=z!(1)*'&", {}, ""),
    ("path that is not normal", "GET", "/prod//a/./b/../c/", {}, ""),
    ("query in no order", "GET", "/prod?b=2&a=2&a=1&B=%2F%20%E1%88%B4&empty=", {}, ""),
    ("spaces in headers", "GET", "/prod", {"X-Note": '  a   "b   c"  ', "X-Amz-Meta-Empty": ""}, ""),
    ("json", "POST", "/prod/orders", {"Content-Type": "application/json"}, '{"name":"J\u00fcrgen"}'),
    ("large body", "PUT", "/prod/blob", {"Content-Type": "text/plain"}, "0123456789" * 100_000),
    ("unsigned payload", "PUT", "/prod/blob", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, "whatever"),
    ("http date", "PATCH", "/prod/blob", {"Date": "now"}, "x"),
]


def send(name, request, body):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    target = request.url[len(f"http://127.0.0.1:{PORT}"):]
    connection.putrequest(request.method, target, skip_accept_encoding=True)
    for key, value in request.headers.items():
        connection.putheader(key, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    tell(name, answer.status, answer.headers["x-amzn-errortype"], answer.read().decode())
    connection.close()


def tell(name, status, error, body):
    print(json.dumps([name, status, error, body]))


def sign(auth, method, target, headers=None, body=""):
    request = AWSRequest(method=method, url=f"http://127.0.0.1:{PORT}{target}", data=body.encode())
    for key, value in (headers or {}).items():
        request.headers[key] = value
    auth.add_auth(request)
    return request


for credentials in (ALICE, ROBOT):
    for name, method, target, headers, body in REQUESTS:
        request = sign(SigV4Auth(credentials, SERVICE, REGION), method, target, headers, body)
        send(f"{name} by {credentials.access_key}", request, body.encode())
    for name, method, target, headers, body in REQUESTS[:7]:
        if "order" not in name:  # botocore keeps one of equal parameters when it signs a query
            request = sign(SigV4QueryAuth(credentials, SERVICE, REGION, expires=60), method, target, headers, body)
            send(f"{name} in the query by {credentials.access_key}", request, body.encode())


# A whole client of AWS's that signs for execute-api.
def client(key, secret):
    return botocore.session.Session().create_client(
        "apigatewaymanagementapi", region_name=REGION, endpoint_url=f"http://127.0.0.1:{PORT}/prod",
        aws_access_key_id=key, aws_secret_access_key=secret, config=Config(retries={"max_attempts": 0}, proxies={}),
    )


answer = client(ALICE.access_key, ALICE.secret_key).post_to_connection(ConnectionId="L0SM9cOFvHcCIhw=", Data=b"hello")
tell("client by AKIDALICE", answer["ResponseMetadata"]["HTTPStatusCode"], None, "arn:aws:iam::111122223333:user/alice")
try:
    client(ALICE.access_key, "another").post_to_connection(ConnectionId="L0SM9cOFvHcCIhw=", Data=b"hello")
except ClientError as error:
    tell("refused: client", error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"], "")

auth = SigV4Auth(ALICE, SERVICE, REGION)
send("refused: another body", sign(auth, "POST", "/", body="a"), b"b")
send("refused: wrong secret", sign(SigV4Auth(Credentials("AKIDALICE", "another"), SERVICE, REGION), "GET", "/"), b"")
send("refused: unknown key", sign(SigV4Auth(Credentials("AKIDNOBODY", "another"), SERVICE, REGION), "GET", "/"), b"")
send("refused: another token", sign(SigV4Auth(Credentials("AKIDROBOT", "robot-secret", "t"), SERVICE, REGION), "GET", "/"), b"")
send("refused: another service", sign(SigV4Auth(ALICE, "s3", REGION), "GET", "/"), b"")
request = sign(auth, "GET", "/")
del request.headers["Authorization"]
send("refused: not signed", request, b"")
for name, auth, minutes in [
    ("refused: old", SigV4Auth(ALICE, SERVICE, REGION), -6),
    ("refused: early", SigV4Auth(ALICE, SERVICE, REGION), 6),
    ("refused: expired", SigV4QueryAuth(ALICE, SERVICE, REGION, expires=300), -6),
    ("long good by AKIDALICE", SigV4QueryAuth(ALICE, SERVICE, REGION, expires=600), -6),
]:
    botocore.auth.get_current_datetime = lambda *arguments: REAL_NOW(*arguments) + timedelta(minutes=minutes)
    send(name, sign(auth, "GET", "/"), b"")
