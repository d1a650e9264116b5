"""Binary tensor extension of the Open Inference Protocol.

Tensors follow the JSON part, whose length is in a header. An element of a BYTES tensor is its length in four
bytes followed by its bytes; an FP32 element has four bytes. All numbers are little-endian. Specification:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from serve_app.http.protocols.base import invalid, too_many

LENGTH_HEADER = "inference-header-content-length"
_LENGTH = struct.Struct("<I")


def split(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, bytes | None]:
    """Return the JSON part and the tensors; None without the header, when the entire body is JSON.

    Raises:
        InvalidRequestError: The header is not a length within the body.
    """
    given = headers.get(LENGTH_HEADER)
    if given is None:
        return body, None
    length = int(given) if given.isdecimal() and len(given) < 16 else -1
    if not 0 < length <= len(body):
        message = f"expected the number of bytes of the JSON part, 1 to {len(body)}, got {given[:64]!r}"
        raise invalid([{"field": "Inference-Header-Content-Length", "message": message}])
    return body[:length], body[length:]


def read_texts(tensor: bytes, max_texts: int) -> list[str]:
    """Read a BYTES tensor of UTF-8.

    Raises:
        InvalidRequestError: A length exceeds the tensor, or an element is not UTF-8.
        PayloadTooLargeError: There are more than `max_texts` elements; the others are not read.
    """
    texts: list[str] = []
    at = 0
    while at < len(tensor):
        if len(texts) == max_texts:
            raise too_many(max_texts, f"more than {max_texts}")
        begin = at + _LENGTH.size
        length = _LENGTH.unpack_from(tensor, at)[0] if begin <= len(tensor) else 0
        at = begin + length
        if at > len(tensor):
            left = len(tensor) - begin
            message = f"expected four bytes of length followed by that number of bytes; {left} are left"
            raise invalid([{"field": f"/inputs/0/data/{len(texts)}", "message": message}])
        try:
            texts.append(tensor[begin:at].decode())
        except UnicodeDecodeError as error:
            message = f"expected UTF-8 text; byte {error.start} is not valid"
            raise invalid([{"field": f"/inputs/0/data/{len(texts)}", "message": message}]) from None
    return texts


def of_texts(texts: Sequence[str]) -> bytes:
    """Encode texts as a BYTES tensor."""
    encoded = [text.encode() for text in texts]
    return b"".join(part for each in encoded for part in (_LENGTH.pack(len(each)), each))


def of_floats(values: Sequence[float]) -> bytes:
    """Encode numbers as an FP32 tensor."""
    return struct.pack(f"<{len(values)}f", *values)
