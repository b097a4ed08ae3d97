"""One table of tolerances by dtype, the same in CI as at home."""

import torch

TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-10},
    torch.float32: {"rtol": 1e-4, "atol": 2e-5},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2},
}

# Of pictures, 60 dB PSNR: half precision costs 1e-4, another instruction set 1e-6, OpenCV 4.10 instead of 5.0 5e-4.
GOLDEN_RMS = 1e-3
