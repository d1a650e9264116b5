"""Every error the service raises on purpose, each with the HTTP status it answers.

    ServiceError              500  something failed that no other class names
    ├── BadJson               400  the body is not JSON
    ├── BadEncoding           400  the body does not decompress as its Content-Encoding says
    ├── Unauthorized          401  no key, or a wrong one
    ├── NotFound              404  no such route, or a model that is not the live one
    ├── NotAcceptable         406  a media type of the answer that is not made here
    ├── SlowUpload            408  the deadline passed before the body had arrived
    ├── TooLarge              413  over a stated limit (bytes, texts, characters)
    ├── UnsupportedMedia      415  a content type or content encoding that is not read here
    ├── Invalid               422  JSON of the wrong shape; `fields` says where
    ├── UnprocessableTextError 422 the model or its tokenizer fails on one text
    ├── RetryLaterError       429  refused for now; `retry_after_s` is when to try again
    │   ├── QueueFull         429  the queue has no room
    │   └── KeyRateExceeded   429  an API key has used up its rate
    ├── ClientGone            499  the client closed the connection during its upload
    ├── ModelFailure          500  the forward pass failed
    ├── NotReady              503  no model is loaded yet, or the replica is going away
    ├── DeadlineExceeded      504  the caller's deadline passed first
    ├── SettingsError         500  a setting that the service cannot start with; no request sees it
    ├── LogUnavailable        503  the prediction log could not be written; no request sees it
    └── BundleError           500  the model artifact; never a request's fault
        ├── BundleNotFound         nothing at the address
        ├── BundleInvalid          there, but not a bundle this service can read
        ├── DigestMismatch         a file is not the one that was recorded
        ├── UnsafeArtifact         loading it could run code, or read outside its folder
        └── StoreUnavailable  503  S3, the hub or the disk did not do its part

Library errors become one of these once, in the adapter that called the library. A message says what failed,
where, the value, and the next step; it never carries a user's text, and of other input only an `excerpt`.
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
    """One thing wrong in a request body."""

    field: str
    """JSON pointer of the value, e.g. `/inputs/3`; an empty string is the whole body."""
    message: str


class ServiceError(Exception):
    """Base of every error here; what no subclass fits answers 500.

    The class attributes are the fixed members of an RFC 9457 problem: `type` is a slug for the problem's type
    URI, `title` is the same for each occurrence, and `str(error)` is this occurrence's detail.

    Args:
        message: What, where, the value, the next step.
        details: What a subclass keeps besides; positional, so that pickling between processes keeps it.
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
        """Extension members of the problem document, JSON-ready; none by default."""
        return {}


class BadJson(ServiceError):
    """The body is not JSON."""

    status = 400
    type = "bad-json"
    title = "The body is not JSON"


class BadEncoding(ServiceError):
    """The body does not decompress as its Content-Encoding says."""

    status = 400
    type = "bad-encoding"
    title = "The body cannot be decompressed"


class Unauthorized(ServiceError):
    """No API key, or one that is not known.

    Args:
        message: Which of the two.
        challenge: Value of WWW-Authenticate.
    """

    status = 401
    type = "unauthorized"
    title = "A valid API key is needed"

    def __init__(self, message: str, challenge: str = "Bearer") -> None:
        super().__init__(message, challenge)
        self.challenge = challenge


class NotFound(ServiceError):
    """There is no such route, or the model asked for is not the live one."""

    status = 404
    type = "not-found"
    title = "There is nothing here"


class NotAcceptable(ServiceError):
    """None of the media types that the request accepts is one that this route answers."""

    status = 406
    type = "not-acceptable"
    title = "The answer cannot have such a media type"


class SlowUpload(ServiceError):
    """The deadline passed before the body had arrived: the client was slow (504: the service was)."""

    status = 408
    type = "slow-upload"
    title = "The body did not arrive in time"


class TooLarge(ServiceError):
    """The request exceeds a stated limit: bytes, texts, or characters of one text."""

    status = 413
    type = "too-large"
    title = "The request is over a limit"


class UnsupportedMedia(ServiceError):
    """The content type or the content encoding is not one this route reads."""

    status = 415
    type = "unsupported-media"
    title = "The content type is not supported"


class Invalid(ServiceError):
    """The body is JSON, but not of the shape the route takes.

    Args:
        message: Summary of what is wrong.
        fields: Each fault with its place; the first 20 are reported.
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
        """`errors`: a list of `{"field", "message"}`; `errors_omitted`: how many more there are, if any."""
        errors = [dict(field) for field in self.fields]
        return {"errors": errors, "errors_omitted": self.omitted} if self.omitted else {"errors": errors}


class UnprocessableTextError(ServiceError):
    """The model or its tokenizer fails on one text, and does not on others.

    Args:
        message: What failed; without the text.
        index: Of the text in its request.
        field: JSON pointer of the text in the body, once that is known.
    """

    status = 422
    type = "unprocessable-text"
    title = "The model cannot take the text"

    def __init__(self, message: str, index: int, field: str = "") -> None:
        super().__init__(message, index, field)
        self.index, self.field = index, field

    def at(self, field: str) -> "UnprocessableTextError":
        """Return the same error with the place of the text in the body."""
        return UnprocessableTextError(f"{field or 'the body'}: {self}", self.index, field)

    @property
    def members(self) -> Mapping[str, object]:
        """`errors`: the text's place and what is wrong, as with `Invalid`."""
        return {"errors": [{"field": self.field, "message": str(self)}]}


class RetryLaterError(ServiceError):
    """The request is refused for now; nothing was done for it.

    Args:
        message: The bound that was met.
        retry_after_s: Seconds until the request should be let in, computed; > 0.
    """

    status = 429
    type = "retry-later"
    title = "The request is refused for now"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s

    @property
    def members(self) -> Mapping[str, object]:
        """`retry_after_s`: the header's value before it is rounded to whole seconds."""
        return {"retry_after_s": self.retry_after_s}


class QueueFull(RetryLaterError):
    """The queue has no room."""

    type = "queue-full"
    title = "The service is at capacity"


class KeyRateExceeded(RetryLaterError):
    """The API key has asked more often than it may."""

    type = "key-rate-exceeded"
    title = "The API key has used up its rate"


class ClientGone(ServiceError):
    """The client closed the connection before it had sent its body; nobody reads the answer."""

    status = 499
    type = "client-gone"
    title = "The client closed the connection"


class ModelFailure(ServiceError):
    """The forward pass failed; the callers of that one batch get this."""

    status = 500
    type = "model-failure"
    title = "The model failed"


class NotReady(ServiceError):
    """No model is loaded yet, or the replica is shutting down."""

    status = 503
    type = "not-ready"
    title = "The service is not ready"


class DeadlineExceeded(ServiceError):
    """The caller's deadline passed before its answer was ready."""

    status = 504
    type = "deadline-exceeded"
    title = "The deadline passed"


class SettingsError(ServiceError):
    """A setting that the service cannot start with. The message never holds a secret's value."""

    type = "settings"
    title = "A setting is not valid"


class LogUnavailable(ServiceError):
    """The folder or bucket of the prediction log did not take a file; trying again may help."""

    status = 503
    type = "log-unavailable"
    title = "The prediction log is not available"


class BundleError(ServiceError):
    """Base of what can be wrong with a model artifact."""

    type = "bundle"
    title = "The model artifact cannot be used"


class BundleNotFound(BundleError):
    """There is nothing at the address."""

    type = "bundle-not-found"
    title = "The model artifact was not found"


class BundleInvalid(BundleError):
    """The artifact is there, but is not one this service can read."""

    type = "bundle-invalid"
    title = "The model artifact is not valid"


class DigestMismatch(BundleError):
    """A file's SHA-256 is not the recorded one: damaged, replaced, or recorded for another version."""

    type = "digest-mismatch"
    title = "The model artifact is not the one recorded"


class UnsafeArtifact(BundleError):
    """Loading the artifact could run code (pickled weights, remote code) or read outside its folder."""

    type = "unsafe-artifact"
    title = "The model artifact is not safe to load"


class StoreUnavailable(BundleError):
    """S3, the model hub or the local disk did not do its part; trying again may help."""

    status = 503
    type = "store-unavailable"
    title = "The model store is not available"
