"""split12_dump_ssim measures first and last encodes of chunks of 12 frames in halves, as the original's server does."""

from mu_twisted.pipelines._dump_ssim import Measured, make_pipeline

pipeline = make_pipeline(
    "split12_dump_ssim",
    "measure size and SSIM of chunks of 12 frames, first encodes included, a half in each task",
    Measured(first=True, half=6, group=8),
    "sintel-4k-y4m_12",
)
