"""vpx_ssim encodes each chunk of a video at several qualities, and says how large and how good each is.

Input is ``VIDEO/%08d.y4m``, output ``VIDEO/ssim_txt_Q_Q_Q/%08d.txt``. Keys, switches and commands are those of the
original's vpx_ssim_server; SSIM is ffmpeg's, or that of its own program with ``--ssim dump_ssim``.
"""

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineOptions, coerced
from mu_twisted.pipelines._films import positive
from mu_twisted.pipelines._ssim import TOOL, SsimResults, frame_bytes, measure, report

_IN, _OUT = '"##TMPDIR##/in.y4m"', '"##TMPDIR##/out.ivf"'
VPXENC = f"./vpxenc -y --codec=vp8 --ivf --min-q={{quality}} --max-q={{quality}} -o {_OUT} {_IN}"
XC_ENC = f"./xc-enc --y-ac-qi {{quality}} -o {_OUT} -i y4m {_IN}"
MOST = 63
MAX_QUALITIES = 32


def _qualities(text: str) -> tuple[int, ...]:
    found = tuple(int(number) for number in text.split(","))
    if not all(0 <= quality <= MOST for quality in found) or len(set(found)) < len(found) or len(found) > MAX_QUALITIES:
        raise ValueError
    return found


class Options(PipelineOptions):
    """What vpx_ssim takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k-y4m_06", "name of the video: chunks are read from VIDEO/"],
        ["qualities", "q", "0,8,16", "quantizers, 0 (best) to 63", coerced(_qualities, f"numbers 0 to {MOST}", "-q")],
        ["rate", None, "24", "frames a second, for the report's bits a second", positive(1000, "--rate")],
        TOOL,
    ]
    optFlags = [["xc-enc", "x", "encode by xc-enc in place of vpxenc"]]


def output(settings: JobSettings, task: int) -> str:
    """Key of what a task stores."""
    qualities = "_".join(map(str, settings["qualities"]))
    return f"{settings['video']}/ssim_txt_{qualities}/{settings['offset'] + task:08d}.txt"


def programs(settings: JobSettings) -> tuple[str, ...]:
    """Those that encode and measure."""
    encoder = "xc-enc" if settings["xc-enc"] else "vpxenc"
    return (encoder, "ffmpeg") if settings["ssim"] == "ffmpeg" else (encoder, "vpxdec", "dump_ssim")


async def vpx_ssim(w: Worker) -> None:
    """One chunk."""
    settings, results = w.settings, SsimResults()
    w.extra = "fetching"
    await w.retrieve(f"{settings['video']}/{settings['offset'] + w.task:08d}.y4m", "##TMPDIR##/in.y4m")
    command = XC_ENC if settings["xc-enc"] else VPXENC
    for quality in settings["qualities"]:
        w.extra = f"encoding at {quality}"
        await w.run(command.format(quality=quality))
        decoded = _OUT
        if settings["ssim"] == "dump_ssim":
            decoded = '"##TMPDIR##/out.y4m"'
            await w.run(f"./vpxdec --codec=vp8 -o {decoded} {_OUT}")
        w.extra = f"measuring at {quality}"
        frames, size = await frame_bytes(w, _OUT)
        ssim = await measure(w, decoded, _IN)
        results.add(f"quality={quality}", frames, size, ssim, head=f"QUALITY:{quality}")
    w.extra = "storing"
    await results.store(w, output(settings, w.task))


pipeline = Pipeline(
    name="vpx_ssim",
    summary="encode chunks of a video at several qualities, and measure size and SSIM of each",
    first=vpx_ssim,
    options=Options,
    programs=programs,
    outputs=lambda settings, task: [output(settings, task)],
    report=report,
)
