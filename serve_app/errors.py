"""Error classes of the service, each with its HTTP status.

    ServiceError                         500  an error without a class of its own
    ├── BadJsonError                     400  the body is not JSON
    ├── BadEncodingError                 400  the body cannot be decompressed with its Content-Encoding
    ├── UnauthorizedError                401  no API key, or an unknown one
    ├── NotFoundError                    404  no such route, or a model that is not the live one
    ├── NotAcceptableError               406  no media type of the Accept header is supported
    ├── SlowUploadError                  408  the deadline passed during the upload
    ├── PayloadTooLargeError             413  over a limit (bytes, texts, characters)
    ├── UnsupportedMediaTypeError        415  the content type or content encoding is not supported
    ├── InvalidRequestError              422  JSON of the wrong shape; `fields` lists the faults
    ├── UnprocessableTextError           422  the model or its tokenizer fails on one text
    ├── RetryLaterError                  429  refused for now; `retry_after_s` is when to retry
    │   ├── QueueFullError               429  the queue is full
    │   └── KeyRateExceededError         429  an API key is over its request rate
    ├── ClientDisconnectedError          499  the client closed the connection during its upload
    ├── ModelFailureError                500  the forward pass failed
    ├── NotReadyError                    503  no model is loaded yet, or the replica is shutting down
    ├── DeadlineExceededError            504  the request's deadline passed
    ├── SettingsError                    500  an invalid setting; raised at the start, not by requests
    ├── LogUnavailableError              503  the prediction log could not be written; not raised by requests
    └── BundleError                      500  a fault of the model artifact, not of a request
        ├── BundleNotFoundError               no artifact at the URI
        ├── InvalidBundleError                the artifact cannot be read as a bundle
        ├── ChecksumMismatchError             a file differs from its recorded checksum
        ├── UnsafeArtifactError               loading could run code, or read outside the folder
        └── StoreUnavailableError        503  S3, the model hub or the disk failed

Errors of libraries are translated into these classes in the adapter that calls the library. A message states
what failed, where, the value and the next step; it never holds a user's text, and of other input only an
`excerpt`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypedDict

_EXCERPT_CHARS = 64
_MAX_MESSAGE_CHARS = 1000
_MAX_FIELD_CHARS = 300
_MAX_FIELD_ERRORS = 20


def shortened(text: str, max_chars: int) -> str:
    """Return the text, cut after `max_chars` characters."""
    return text if len(text) <= max_chars else f"{text[:max_chars]}…"


def excerpt(value: object) -> str:
    """Return a client's value for an error message: quoted, and cut after 64 characters.

    Every error that repeats input (a header, a key, an option) does so through this function, so that a large
    value does not make a large answer.
    """
    text = str(value)
    return repr(text[:_EXCERPT_CHARS]) + "…" * (len(text) > _EXCERPT_CHARS)


class FieldError(TypedDict):
    """A fault in a request body."""

    field: str
    """JSON pointer of the value, such as `/inputs/3`; an empty string is the entire body."""
    message: str


class ServiceError(Exception):
    """Base class of the service's errors; an error without a subclass is answered 500.

    The class attributes are the fixed members of an RFC 9457 problem: `type` is a slug for the problem's type
    URI, `title` is the same for each occurrence, and `str(error)` is this occurrence's detail.

    Args:
        message: What is wrong, where, the value, the next step.
        details: Further arguments of a subclass; positional, so that the error can be pickled.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal"
    title: ClassVar[str] = "The service failed"

    def __init__(self, message: str, *details: object) -> None:
        super().__init__(message, *details)

    def __str__(self) -> str:
        return shortened(str(self.args[0]), _MAX_MESSAGE_CHARS)

    @property
    def members(self) -> Mapping[str, object]:
        """Return extension members of the problem document, serialisable as JSON; none by default."""
        return {}


class BadJsonError(ServiceError):
    """The body is not JSON."""

    status = 400
    type = "bad-json"
    title = "The body is not JSON"


class BadEncodingError(ServiceError):
    """The body cannot be decompressed with its Content-Encoding."""

    status = 400
    type = "bad-encoding"
    title = "The body cannot be decompressed"


class UnauthorizedError(ServiceError):
    """The request has no API key, or an unknown one.

    Args:
        message: Which of the two is the case.
        challenge: Value of the WWW-Authenticate header.
    """

    status = 401
    type = "unauthorized"
    title = "A valid API key is required"

    def __init__(self, message: str, challenge: str = "Bearer") -> None:
        super().__init__(message, challenge)
        self.challenge = challenge


class NotFoundError(ServiceError):
    """There is no such route, or the requested model is not the live one."""

    status = 404
    type = "not-found"
    title = "Not found"


class NotAcceptableError(ServiceError):
    """The route supports none of the media types that the request accepts."""

    status = 406
    type = "not-acceptable"
    title = "No accepted media type is supported"


class SlowUploadError(ServiceError):
    """The deadline passed during the upload: the client was slow (504: the service was slow)."""

    status = 408
    type = "slow-upload"
    title = "The body did not arrive in time"


class PayloadTooLargeError(ServiceError):
    """The request exceeds a limit on bytes, texts, or characters of one text."""

    status = 413
    type = "too-large"
    title = "The request is over a limit"


class UnsupportedMediaTypeError(ServiceError):
    """The route does not support the content type or the content encoding."""

    status = 415
    type = "unsupported-media"
    title = "The content type is not supported"


class InvalidRequestError(ServiceError):
    """The body is JSON, but not of the shape that the route expects.

    Args:
        message: Summary of what is wrong.
        fields: Each fault with its location; the first 20 are reported.
        omitted: Number of faults that `fields` does not hold.
    """

    status = 422
    type = "invalid"
    title = "The request has the wrong shape"

    def __init__(self, message: str, fields: Sequence[FieldError] = (), omitted: int = 0) -> None:
        super().__init__(message, fields, omitted)
        self.fields = tuple(
            FieldError(
                field=shortened(fault["field"], _MAX_FIELD_CHARS),
                message=shortened(fault["message"], _MAX_FIELD_CHARS),
            )
            for fault in fields[:_MAX_FIELD_ERRORS]
        )
        self.omitted = omitted + len(fields) - len(self.fields)

    @property
    def members(self) -> Mapping[str, object]:
        """Return `errors`, a list of `{"field", "message"}`, and `errors_omitted`, the number of others."""
        errors = [dict(field) for field in self.fields]
        return {"errors": errors, "errors_omitted": self.omitted} if self.omitted else {"errors": errors}


class UnprocessableTextError(ServiceError):
    """The model or its tokenizer fails on one text, and does not on others.

    Args:
        message: What failed, without the text.
        index: Index of the text in its request.
        field: JSON pointer of the text in the body, once it is known.
    """

    status = 422
    type = "unprocessable-text"
    title = "The model cannot process the text"

    def __init__(self, message: str, index: int, field: str = "") -> None:
        super().__init__(message, index, field)
        self.index, self.field = index, field

    def at(self, field: str) -> "UnprocessableTextError":
        """Return the same error with the location of the text in the body."""
        return UnprocessableTextError(f"{field or 'the body'}: {self}", self.index, field)

    @property
    def members(self) -> Mapping[str, object]:
        """Return `errors` with the text's location and fault, as for `InvalidRequestError`."""
        return {"errors": [{"field": self.field, "message": str(self)}]}


class RetryLaterError(ServiceError):
    """The request is refused for now; nothing was done for it.

    Args:
        message: The limit that was reached.
        retry_after_s: Computed time in seconds until the request should be accepted; > 0.
    """

    status = 429
    type = "retry-later"
    title = "The request is refused for now"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s

    @property
    def members(self) -> Mapping[str, object]:
        """Return `retry_after_s`, the value of the Retry-After header before rounding to seconds."""
        return {"retry_after_s": self.retry_after_s}


class QueueFullError(RetryLaterError):
    """The queue is full."""

    type = "queue-full"
    title = "The service is at capacity"


class KeyRateExceededError(RetryLaterError):
    """The API key is over its request rate."""

    type = "key-rate-exceeded"
    title = "The API key is over its request rate"


class ClientDisconnectedError(ServiceError):
    """The client closed the connection during its upload; the response is not read."""

    status = 499
    type = "client-gone"
    title = "The client closed the connection"


class ModelFailureError(ServiceError):
    """The forward pass failed, for all requests in the batch."""

    status = 500
    type = "model-failure"
    title = "The model failed"


class NotReadyError(ServiceError):
    """No model is loaded yet, or the replica is shutting down."""

    status = 503
    type = "not-ready"
    title = "The service is not ready"


class DeadlineExceededError(ServiceError):
    """The request's deadline passed before the response was ready."""

    status = 504
    type = "deadline-exceeded"
    title = "The deadline passed"


class SettingsError(ServiceError):
    """An invalid setting. The message never holds the value of a secret."""

    type = "settings"
    title = "A setting is not valid"


class LogUnavailableError(ServiceError):
    """The prediction log could not be written to its folder or bucket; a retry may succeed."""

    status = 503
    type = "log-unavailable"
    title = "The prediction log is not available"


class BundleError(ServiceError):
    """Base class of faults of a model artifact."""

    type = "bundle"
    title = "The model artifact cannot be used"


class BundleNotFoundError(BundleError):
    """There is no model artifact at the URI."""

    type = "bundle-not-found"
    title = "The model artifact was not found"


class InvalidBundleError(BundleError):
    """The artifact exists, but cannot be read as a bundle."""

    type = "bundle-invalid"
    title = "The model artifact is not valid"


class ChecksumMismatchError(BundleError):
    """A file's SHA-256 is not the recorded one: damaged, replaced, or recorded for another version."""

    type = "digest-mismatch"
    title = "The model artifact differs from its checksum"


class UnsafeArtifactError(BundleError):
    """Loading the artifact could run code (pickled weights, remote code) or read outside its folder."""

    type = "unsafe-artifact"
    title = "The model artifact is not safe to load"


class StoreUnavailableError(BundleError):
    """S3, the model hub or the local disk failed; a retry may succeed."""

    status = 503
    type = "store-unavailable"
    title = "The model store is not available"
