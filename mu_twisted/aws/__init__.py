"""The aws package uses AWS from outside: credentials, endpoints, control calls and the function's package.

Calls over boto3 block, and are for the CLI and for threads. Launching in bulk is not done here. Knows no jobs.
"""

from mu_twisted.aws._bounds import setting_bounds
from mu_twisted.aws._bytecode import own_runtime
from mu_twisted.aws._clients import Clients
from mu_twisted.aws._content import content_name, ensure_function, is_content_name
from mu_twisted.aws._control import AwsControl, FunctionSettings, InvokeAnswer
from mu_twisted.aws._credentials import aws_session, credentials_chain, current_keys
from mu_twisted.aws._endpoints import check_endpoint, check_region, lambda_endpoint, s3_endpoint
from mu_twisted.aws._errors import AccessDenied, AWSError, aws_errors, error_code
from mu_twisted.aws._function_settings import FunctionChanges, FunctionSpec
from mu_twisted.aws._functions import Functions
from mu_twisted.aws._images import ContainerImage, parse_image
from mu_twisted.aws._package import PackageError, build_package
from mu_twisted.aws._prices import Price, price_in
from mu_twisted.aws._programs import ARCHITECTURES, Programs, collect_programs
from mu_twisted.aws._requirements import collect_requirements

__all__ = [
    "ARCHITECTURES",
    "AWSError",
    "AccessDenied",
    "AwsControl",
    "Clients",
    "ContainerImage",
    "FunctionChanges",
    "FunctionSettings",
    "FunctionSpec",
    "Functions",
    "InvokeAnswer",
    "PackageError",
    "Price",
    "Programs",
    "aws_errors",
    "aws_session",
    "build_package",
    "check_endpoint",
    "check_region",
    "collect_programs",
    "collect_requirements",
    "content_name",
    "credentials_chain",
    "current_keys",
    "ensure_function",
    "error_code",
    "is_content_name",
    "lambda_endpoint",
    "own_runtime",
    "parse_image",
    "price_in",
    "s3_endpoint",
    "setting_bounds",
]
