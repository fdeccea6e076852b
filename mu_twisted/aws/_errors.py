"""The aws branch of the project's errors, and botocore's errors as one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as botocore_errors

from mu_twisted.wire import MuError


class AWSError(MuError):
    """Something about AWS, or what stands in for it, is not as it has to be."""


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


@contextmanager
def one_line(doing: str) -> Iterator[None]:
    """Turn botocore's errors into an :class:`AWSError` that says what was being done.

    :param doing: completes the sentence "cannot ...".
    :raises AWSError: in place of botocore's.
    """
    try:
        yield
    except botocore_errors.NoCredentialsError:
        raise AWSError(NO_CREDENTIALS) from None
    except botocore_errors.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "?"))
        message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:300]
        if code in _REFUSED_KEYS:
            raise AWSError(f"cannot {doing}: the credentials were refused ({code}); check the keys") from None
        if code in _EXPIRED_KEYS:
            raise AWSError(f"cannot {doing}: the credentials have expired ({code}); renew them") from None
        if code in _DENIED:
            raise AWSError(f"cannot {doing}: access denied; these credentials need a policy that allows it") from None
        raise AWSError(f"cannot {doing}: {code}: {message}") from None
    except (botocore_errors.BotoCoreError, ValueError) as error:
        raise AWSError(f"cannot {doing}: {' '.join(str(error).split())[:300]}") from None


NO_CREDENTIALS = (
    "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a profile or role that AWS's own tools "
    "find), or use --local, which needs none"
)
