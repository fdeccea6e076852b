"""dump_ssim7 measures each chunk that xcenc7 has made, as the original's server does.

xcenc7 stores what it reads with ``-u``: ``VIDEO/out/`` and ``VIDEO/final_state/``.
"""

from mu_twisted.pipelines._dump_ssim import Measured, make_pipeline

pipeline = make_pipeline(
    "dump_ssim7",
    "measure size and SSIM of chunks that xcenc7 has made",
    Measured(first=False, half=None, group=16),
    "sintel-1k-y4m_06",
)
