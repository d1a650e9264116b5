"""Settings of the ingress: one stable address with TLS in front of the service."""

from ipaddress import IPv4Network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _address_range(text: str) -> str:
    """Return an IPv4 range in CIDR notation; raises ValueError for another text, and for host bits."""
    try:
        IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; expected a range such as 10.40.0.0/16") from error
    return text


Cidr = Annotated[str, Field(pattern=r"/"), AfterValidator(_address_range)]
KEEP_ALIVE_S = 90
"""Time for which HAProxy keeps an idle connection: Serve's `keep_alive_timeout_s`, of which a test holds the
value. A load balancer that keeps idle connections longer sends requests to closed ones, and answers 502."""


class IngressSettings(BaseModel):
    """Application Load Balancer, which the AWS Load Balancer Controller creates from an Ingress."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$",
            description="DNS name of the service, which the certificate covers.",
        ),
    ]
    certificate: Annotated[
        str,
        Field(
            pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[a-z0-9-]+$",
            description="ARN of the certificate in ACM.",
        ),
    ]
    scheme: Annotated[
        Literal["internal", "internet-facing"],
        Field(description="`internet-facing` needs API keys and inbound_cidrs."),
    ] = "internal"
    inbound_cidrs: Annotated[
        tuple[Cidr, ...],
        Field(description="Addresses that may reach the load balancer; default: network.client_cidrs."),
    ] = ()
    idle_timeout_s: Annotated[
        int,
        Field(ge=1, lt=KEEP_ALIVE_S, description="Idle timeout in s, at least that of a request."),
    ] = 60

    @model_validator(mode="after")
    def _public_is_explicit(self) -> Self:
        if self.scheme == "internet-facing" and not self.inbound_cidrs:
            raise ValueError(
                'scheme internet-facing needs inbound_cidrs, such as ["203.0.113.0/24"], or ["0.0.0.0/0"] '
                "for the entire internet"
            )
        return self
