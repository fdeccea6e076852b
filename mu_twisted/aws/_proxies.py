"""This module opens URLs by the environment's proxy, but loopback directly, whatever ``HTTP_PROXY`` says."""

import ipaddress
import urllib.request
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host, as written in a URL, is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def opener(url: str) -> urllib.request.OpenerDirector:
    """Make an opener for a URL: by the environment's proxy, as all of urllib does, but for loopback without one."""
    if is_loopback(urlsplit(url).hostname or ""):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()
