"""dump_ssim measures the first and the last encode of each chunk that xcenc has made, as the original's server does.

xcenc stores what it reads with ``-u``: ``VIDEO/first/``, ``VIDEO/out/`` and ``VIDEO/final_state/``.
"""

from mu_twisted.pipelines._dump_ssim import Measured, make_pipeline

pipeline = make_pipeline(
    "dump_ssim",
    "measure size and SSIM of chunks that xcenc has made, first encodes included",
    Measured(first=True, half=None, group=None),
    "sintel-1k-y4m_06",
)
