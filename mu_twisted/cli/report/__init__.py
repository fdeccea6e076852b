"""A report is one job as one file that needs nothing else: HTML with its drawings, or the drawing of its time alone.

Pure: what the control API answers goes in, text comes out.
"""

from mu_twisted.cli.report._html import page
from mu_twisted.cli.report._svg import gantt, standalone

__all__ = ["gantt", "page", "standalone"]
