"""The dashboard shows jobs in a browser: who may see them, what is answered, and the page's own files.

The files beside these modules, HTML, CSS and JavaScript, are served as they are; there is no build step.
"""

from mu_twisted.web.dashboard._listener import Dashboard, open_dashboard

__all__ = ["Dashboard", "open_dashboard"]
