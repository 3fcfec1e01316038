"""Records what the reference library of the GGUF format makes of random quantised blocks.

Usage: python record_blocks.py > quantised_blocks.txt (needs the Python packages gguf and numpy). A line for each
block: its type, its bytes in hexadecimal, and its elements as little-endian binary32 in hexadecimal.
"""

from __future__ import annotations

import gguf
import numpy as np

BLOCKS = 3
# Where the half-precision factors of a block lie.
FACTORS = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}


def main() -> None:
    """Writes all lines to standard output."""
    random = np.random.default_rng(7)
    for name, places in FACTORS.items():
        dtype = gguf.GGMLQuantizationType[name]
        _, size = gguf.GGML_QUANT_SIZES[dtype]
        for _ in range(BLOCKS):
            block = random.integers(256, size=size, dtype=np.uint8)
            for place in places:
                factor = np.array(random.normal() * 0.02, dtype=np.float16)
                block[place : place + 2] = np.frombuffer(factor.tobytes(), dtype=np.uint8)
            elements = gguf.dequantize(block[None, :], dtype).astype("<f4")
            print(name, block.tobytes().hex(), elements.tobytes().hex())


if __name__ == "__main__":
    main()
