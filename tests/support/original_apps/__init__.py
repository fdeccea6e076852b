"""The original's own machines, rebuilt with our classes from what the vectors show of them."""

from original_apps import linpack, png2y4m, teststates, vpxenc, xcenc, xcenc7

STARTS = {
    "png2y4m_server": png2y4m.PNG2Y4MConfigState,
    "test.states": teststates.StartState,
    "vpxenc_server": vpxenc.VPXEncStateMachine,
    "linpack_server": linpack.LinpackRunState,
    "xcenc_server": xcenc.XCEncSettingsState,
    "xcenc7_server": xcenc7.XCEnc7StartState,
}
DEFAULTS = {
    "png2y4m_server": png2y4m.DEFAULTS,
    "vpxenc_server": vpxenc.DEFAULTS,
    "xcenc_server": xcenc.DEFAULTS,
    "xcenc7_server": xcenc7.DEFAULTS,
}
