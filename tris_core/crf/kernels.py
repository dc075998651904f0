"""The two kernels of the dense CRF, as released (docs/paper_vs_code.md#crf)."""

NEAR, SMOOTHNESS = 3, 3  # Gaussian in position: deviation in pixels, weight
WIDE, COLOUR, APPEARANCE = 50, 5, 10  # in position and colour: two deviations, weight
