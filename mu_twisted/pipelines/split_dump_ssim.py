"""split_dump_ssim measures chunks of 24 frames in halves, a task each, as the original's server does."""

from mu_twisted.pipelines._dump_ssim import Measured, make_pipeline

pipeline = make_pipeline(
    "split_dump_ssim",
    "measure size and SSIM of chunks of 24 frames, a half in each task",
    Measured(first=False, half=12, group=16),
    "sintel-4k-y4m_24",
)
