"""Idempotency of steps, by marks in S3 that are written with conditional puts.

EventBridge and Lambda deliver events at least once: an event may be delivered twice at the same time, or
again after an attempt that failed or was interrupted. There are two kinds of steps:

repeat_safely   The step has a token by which AWS recognises a repetition: run it, then write the mark. After
an
                interruption in between, it runs again with the same token, which has no effect.
at_most_once    The step has no token (an SNS message): write the mark, then run it. After an interruption in
between,
                it does not run again, and the mark stays as `begun`; if AWS rejects the call, the mark is
                deleted.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from cluster.aws.functions.runtime import LambdaContext, client, log

_PRECONDITION_FAILED = 412


def token_of(*parts: str) -> str:
    """Return the token of an event: 64 characters that are valid in every AWS token."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class IdempotencyMarks:
    """Marks below `s3://bucket/prefix/`, which a lifecycle rule may delete after two days.

    Args:
        bucket: Bucket of the marks.
        prefix: Prefix of their keys.
        context: Context of the invocation.
    """

    def __init__(self, bucket: str, prefix: str, context: LambdaContext) -> None:
        self._s3 = client("s3", context)
        self._bucket, self._prefix, self._context = bucket, prefix.strip("/"), context
        self._writer = uuid.uuid4().hex

    def repeat_safely(self, token: str, step: Callable[[], Any]) -> bool:
        """Run a step that passes `token` to AWS. Return False if it has been done before."""
        if self._is_marked(token):
            return False
        step()
        self._mark(token, "done")
        return True

    def at_most_once(self, token: str, step: Callable[[], Any]) -> bool:
        """Run a step that must not be repeated if its outcome is unknown.

        Returns:
            False if the step has been done before, or its outcome is unknown.

        Raises:
            ClientError, EndpointConnectionError, ConnectTimeoutError: The step was not done; the next attempt
            runs
                it.
            BotoCoreError: The response was lost; the next attempt does not run it.
        """
        if not self._mark(token, "begun"):
            log("done before, or outcome unknown", self._context, token=token)
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
        """Write the mark; return False if the mark of another attempt exists."""
        place = {"Bucket": self._bucket, "Key": self._key(token)}
        fields = {"state": state, "request_id": self._context.aws_request_id, "writer": self._writer}
        content = json.dumps(fields).encode()
        try:
            self._s3.put_object(**place, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if _status(error) != _PRECONDITION_FAILED:
                raise
            # If the response to a write is lost, botocore retries, and its own first write makes the retry
            # fail.
            with closing(self._s3.get_object(**place)["Body"]) as body:
                return bool(body.read() == content)
        return True


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
