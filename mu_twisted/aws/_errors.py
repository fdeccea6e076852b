"""The aws branch of the project's errors replaces botocore's, and says on one line what could not be done."""

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as botocore_errors

from mu_twisted.base import MuError, one_line
from mu_twisted.base.masking import masked


class AWSError(MuError):
    """A call to AWS, or to an endpoint in its place, has failed or cannot be made; one line."""


class InvalidName(AWSError):
    """AWS can have nothing of this name: no region, bucket or function."""

    misuse = True


class AccessDenied(AWSError):
    """The credentials may not do it."""


_REFUSED_KEYS = {
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
}
_EXPIRED_KEYS = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_DENIED = {"AccessDenied", "AccessDeniedException", "403"}


_NOT_SUPPORTED = {"UnknownOperationException", "NotImplemented", "NotImplementedException", "404", "405", "501"}


def error_code(error: botocore_errors.ClientError) -> str:
    """The code of a botocore ``ClientError``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_unsupported(error: botocore_errors.ClientError) -> bool:
    """Whether a ``ClientError`` says that the endpoint has no such call, as one in place of AWS's may."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return error_code(error) in _NOT_SUPPORTED or status in (405, 501)


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """Turn botocore's errors into an :class:`AWSError` that says what was being done.

    :param doing: completes the sentence "cannot ...".
    :raises AWSError: in place of botocore's.
    """
    try:
        yield
    except botocore_errors.NoCredentialsError:
        raise AWSError(NO_CREDENTIALS) from None
    except botocore_errors.ClientError as error:
        code = error_code(error) or "?"
        message = _reason(str(error.response.get("Error", {}).get("Message", "")))
        if code in _REFUSED_KEYS:
            raise AWSError(f"cannot {doing}: the credentials were refused ({code}); check the keys") from None
        if code in _EXPIRED_KEYS:
            raise AWSError(f"cannot {doing}: the credentials have expired ({code}); renew them") from None
        if code in _DENIED:
            raise AccessDenied(
                f"cannot {doing}: access denied; these credentials need a policy that allows it"
            ) from None
        raise AWSError(f"cannot {doing}: {code}: {message}") from None
    except botocore_errors.ParamValidationError as error:
        raise AWSError(f"cannot {doing}: {_reason(str(error.kwargs.get('report', error)))}") from None
    except (botocore_errors.BotoCoreError, ValueError) as error:
        raise AWSError(f"cannot {doing}: {_reason(str(error))}") from None


def _reason(text: str) -> str:
    """A message as one line without keys: AWS's further lines repeat what was signed, and HTTP's a refused header."""
    if "Invalid header value" in text:
        return "a header cannot be sent; are the keys copied right?"
    first = text.strip().split("\n", 1)[0]
    return one_line(masked(first), 300)


NO_CREDENTIALS = (
    "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a profile or role that AWS's own tools "
    "find), or use --local, which needs none"
)
