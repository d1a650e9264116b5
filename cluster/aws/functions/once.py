"""A step whose event comes again is not done again: marks in S3, written by conditional puts.

EventBridge and Lambda deliver at least once: the same event may come twice at the same time, or again after a
try that failed or was cut off. Two kinds of steps need two orders:

repeat_safely   the step carries a token by which AWS itself takes a repetition for the same: do it, then
                mark it. Cut off in between, it is done again with the same token, which starts nothing.
at_most_once    the step has no token (an SNS message): mark it, then do it. Cut off in between, it is not
                done again, and the mark stays as `begun`; refused by AWS, the mark is taken away.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from cluster.aws.functions.runtime import Context, client, log

_PRECONDITION_FAILED = 412


def token_of(*parts: str) -> str:
    """The same text for the same event: 64 characters that every AWS token may have."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Once:
    """Marks below `s3://bucket/prefix/`; a lifecycle rule may drop them after two days.

    Args:
        bucket: which they lie in.
        prefix: of their keys.
        context: of the invocation.
    """

    def __init__(self, bucket: str, prefix: str, context: Context) -> None:
        self._s3 = client("s3", context)
        self._bucket, self._prefix, self._context = bucket, prefix.strip("/"), context
        self._writer = uuid.uuid4().hex

    def repeat_safely(self, token: str, step: Callable[[], Any]) -> bool:
        """Do a step that carries `token` itself. Returns False if it was done before."""
        if self._is_marked(token):
            return False
        step()
        self._mark(token, "done")
        return True

    def at_most_once(self, token: str, step: Callable[[], Any]) -> bool:
        """Do a step that must not be repeated when its outcome is in doubt.

        Returns:
            False if it was done before, or is in doubt.

        Raises:
            ClientError, EndpointConnectionError, ConnectTimeoutError: it was certainly not done; the next try
                does it.
            BotoCoreError: its answer was lost; the next try leaves it.
        """
        if not self._mark(token, "begun"):
            log("done before, or in doubt", self._context, token=token)
            return False
        try:
            step()
        except (ClientError, EndpointConnectionError, ConnectTimeoutError):
            self._s3.delete_object(Bucket=self._bucket, Key=self._key(token))
            raise
        return True

    def _key(self, token: str) -> str:
        return f"{self._prefix}/{token}.json"

    def _is_marked(self, token: str) -> bool:
        try:
            self._s3.head_object(Bucket=self._bucket, Key=self._key(token))
        except ClientError as error:
            if _status(error) == 404:
                return False
            raise
        return True

    def _mark(self, token: str, state: str) -> bool:
        """Write the mark; False if another try's is there."""
        place = {"Bucket": self._bucket, "Key": self._key(token)}
        fields = {"state": state, "request_id": self._context.aws_request_id, "writer": self._writer}
        content = json.dumps(fields).encode()
        try:
            self._s3.put_object(**place, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if _status(error) != _PRECONDITION_FAILED:
                raise
            # When the answer to a write is lost, botocore writes again and is refused by its own first write.
            with closing(self._s3.get_object(**place)["Body"]) as body:
                return bool(body.read() == content)
        return True


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
