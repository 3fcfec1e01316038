"""Small models of random numbers: what they say is nonsense, how they say it is what tests look at."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy

# Types of values in a GGUF file.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, CONTROL = 1, 3
F32 = 0

BYTES = 256
MARKS = ["<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def printable(byte: int) -> str:
    """A byte as the vocabularies of GPT-2's kind write it."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in kept:
        return chr(byte)
    return chr(256 + [other for other in range(BYTES) if other not in kept].index(byte))


def string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def value(kind: int, content: object) -> bytes:
    """A value without its type."""
    match kind:
        case 8:
            return string(content)
        case 9:
            inner, items = content
            return struct.pack("<IQ", inner, len(items)) + b"".join(value(inner, item) for item in items)
        case _:
            return struct.pack({4: "<I", 5: "<i", 6: "<f", 7: "<?"}[kind], content)


def write_gguf(path: Path, keys: Iterable[tuple[str, int, object]], tensors: dict[str, numpy.ndarray]) -> None:
    """A GGUF file of version 3 with tensors of F32."""
    keys = list(keys)
    infos, data = b"", b""
    for name, tensor in tensors.items():
        dims = tensor.shape[::-1]
        infos += string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", F32, len(data))
        data += tensor.astype("<f4").tobytes()
        data += bytes(-len(data) % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    header += b"".join(string(name) + struct.pack("<I", kind) + value(kind, content) for name, kind, content in keys)
    header += infos
    path.write_bytes(header + bytes(-len(header) % 32) + data)


def write_text_model(
    path: Path, *, layers: int = 2, width: int = 64, context: int = 512, seed: int = 1, template: str | None = CHATML
) -> Path:
    """A model of Llama's shape whose tokens are bytes, and which writes small letters for ever."""
    random = numpy.random.default_rng(seed)
    heads, kv_heads = 4, 2
    head, inner = width // heads, 2 * width
    vocabulary = BYTES + len(MARKS)
    output = numpy.zeros((vocabulary, width))
    letters = slice(ord("a"), ord("z") + 1)
    output[letters] = random.normal(0, 1, (26, width))
    tensors = {
        "token_embd.weight": random.normal(0, 1, (vocabulary, width)),
        "output_norm.weight": numpy.ones(width),
        "output.weight": output,
    }
    shapes = {
        "attn_q": (heads * head, width),
        "attn_k": (kv_heads * head, width),
        "attn_v": (kv_heads * head, width),
        "attn_output": (width, heads * head),
        "ffn_gate": (inner, width),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
    }
    for layer in range(layers):
        for name, shape in shapes.items():
            tensors[f"blk.{layer}.{name}.weight"] = random.normal(0, 1.5 / width**0.5, shape)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = numpy.ones(width)
    keys = [
        ("general.architecture", STRING, "llama"),
        ("llama.block_count", UINT32, layers),
        ("llama.context_length", UINT32, context),
        ("llama.embedding_length", UINT32, width),
        ("llama.feed_forward_length", UINT32, inner),
        ("llama.attention.head_count", UINT32, heads),
        ("llama.attention.head_count_kv", UINT32, kv_heads),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        ("llama.rope.freq_base", FLOAT32, 10000.0),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [printable(byte) for byte in range(BYTES)] + MARKS)),
        ("tokenizer.ggml.token_type", ARRAY, (INT32, [NORMAL] * BYTES + [CONTROL] * len(MARKS))),
        ("tokenizer.ggml.merges", ARRAY, (STRING, [])),
        ("tokenizer.ggml.eos_token_id", UINT32, BYTES + 1),
    ]
    if template is not None:
        keys.append(("tokenizer.chat_template", STRING, template))
    write_gguf(path, keys, tensors)
    return path


def write_embedding_model(folder: Path, *, layers: int = 2, width: int = 32, seed: int = 2) -> Path:
    """A folder with a model of BERT's shape in safetensors, whose words are letters."""
    folder.mkdir()
    random = numpy.random.default_rng(seed)
    letters = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    inner = 2 * width

    def matrix(*shape: int) -> numpy.ndarray:
        return random.normal(0, 1.5 / width**0.5, shape)

    tensors = {
        "embeddings.word_embeddings.weight": random.normal(0, 1, (len(words), width)),
        "embeddings.position_embeddings.weight": random.normal(0, 0.1, (64, width)),
        "embeddings.token_type_embeddings.weight": random.normal(0, 0.1, (2, width)),
        "embeddings.LayerNorm.weight": numpy.ones(width),
        "embeddings.LayerNorm.bias": numpy.zeros(width),
    }
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}."
        for name, outputs, inputs in [
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ]:
            tensors[f"{prefix}{name}.weight"] = matrix(outputs, inputs)
            tensors[f"{prefix}{name}.bias"] = random.normal(0, 0.1, outputs)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            tensors[f"{prefix}{name}.weight"] = numpy.ones(width)
            tensors[f"{prefix}{name}.bias"] = numpy.zeros(width)
    write_safetensors(folder / "model.safetensors", tensors)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": width,
        "intermediate_size": inner,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": layers,
        "type_vocab_size": 2,
        "vocab_size": len(words),
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    )
    return folder


def write_safetensors(path: Path, tensors: dict[str, numpy.ndarray]) -> None:
    """A safetensors file with tensors of F32."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        bytes_of = tensor.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(bytes_of)],
        }
        data += bytes_of
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
