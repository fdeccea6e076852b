"""A container image that a function is made of is named by its address in ECR. Pure; asks no registry."""

import re
from dataclasses import dataclass

from mu_twisted.aws._package import PackageError
from mu_twisted.base import one_line

_ADDRESS = re.compile(
    r"\d{12}\.dkr\.ecr\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[a-z0-9](?:[a-z0-9._/-]{0,254}[a-z0-9])?)"
    r"(?:(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})|(?P<digest>@sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class ContainerImage:
    """An image in ECR.

    :param uri: its address, with a tag or digest.
    :param region: of its repository.
    :param repository: its name.
    """

    uri: str
    region: str
    repository: str


def parse_image(uri: str, region: str) -> ContainerImage:
    """Check the address of an image that a function is made of.

    :param uri: ``ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG``, or ``@sha256:DIGEST`` in place of the tag;
        ``{region}`` stands for the function's region.
    :param region: of the function. Lambda takes images of its own region only (AWS: "Create a Lambda function using a
        container image").
    :raises PackageError: Lambda would not take it; one line.
    """
    shown = one_line(uri, 200)
    found = _ADDRESS.fullmatch(uri.replace("{region}", region))
    if found is None:
        raise PackageError(
            f"{shown!r} is no address of an image that Lambda takes: expected "
            "ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, or @sha256:DIGEST in place of :TAG"
        )
    if found["tag"] is None and found["digest"] is None:
        raise PackageError(f"{shown!r} names no version of the image: add :TAG or @sha256:DIGEST")
    if found["region"] != region:
        raise PackageError(
            f"the image is in {found['region']} and the function in {region}, and Lambda takes images of its own "
            "region only: copy it there, or give --region; {region} in the address stands for each region's name"
        )
    return ContainerImage(found[0], region, found["repository"])
