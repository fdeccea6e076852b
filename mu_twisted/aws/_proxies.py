"""No proxy stands between this machine and itself: whatever ``HTTP_PROXY`` says, loopback is reached directly."""

import ipaddress
import urllib.request
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in a URL, is this machine by its loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def opener(url: str) -> urllib.request.OpenerDirector:
    """What opens a URL: by the environment's proxy, as all of urllib does, but loopback by none."""
    if is_loopback(urlsplit(url).hostname or ""):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()
