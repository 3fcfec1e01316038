"""Writes a GGUF file again with its quantised weights as plain numbers: the same model, without its rounding.

    python3 bench/llm_dequantise.py IN OUT [--type f32|f16|q8_0]

What was f32 stays f32. Needs the package gguf (bench/requirements-llm.txt).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

TYPES = {"f32": GGMLQuantizationType.F32, "f16": GGMLQuantizationType.F16, "q8_0": GGMLQuantizationType.Q8_0}
# What the writer writes by itself.
OWN_KEYS = ("GGUF.", "general.architecture")


def copy_keys(reader: GGUFReader, writer: GGUFWriter) -> None:
    """Copies all that the file says."""
    for key, field in reader.fields.items():
        if key.startswith(OWN_KEYS):
            continue
        of_type = field.types[0]
        inner = field.types[-1] if of_type == GGUFValueType.ARRAY else None
        value = field.contents()
        if inner == GGUFValueType.STRING:
            # Tokens need not be UTF-8, and are copied as the bytes that they are.
            value = [bytes(field.parts[part]) for part in field.data]
        writer.add_key_value(key, value, of_type, inner)


def main() -> None:
    """Converts one file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", choices=TYPES, default="f32")
    options = parser.parse_args()
    reader = GGUFReader(options.source)
    architecture = reader.fields["general.architecture"].contents()
    # Tensors stay on disk until they are written: the plain numbers of a model are many gigabytes.
    writer = GGUFWriter(options.target, architecture, use_temp_file=True)
    copy_keys(reader, writer)
    wanted = TYPES[options.type]
    for tensor in reader.tensors:
        if tensor.tensor_type == GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, np.array(tensor.data))
            continue
        numbers = dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, quantize(numbers, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
