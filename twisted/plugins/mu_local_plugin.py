"""Shows ``mu-local`` to twistd."""

from twisted.application.service import ServiceMaker

mu_local = ServiceMaker(
    "mu-local", "mu_twisted.daemons.local", "AWS Lambda's API and an S3 on this machine", "mu-local"
)
