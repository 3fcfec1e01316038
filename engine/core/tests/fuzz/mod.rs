//! Every parser of values from outside against seeded inputs: changed valid ones and random bytes.
//!
//! What a parser accepts must be a value that prints (or is sent) and reads back as the same value; it must not panic on
//! anything. A finding stops the run with the input that led to it.

mod target;

use vectorgpu_core::random::Random;
use vectorgpu_core::sparse::wire::Header;
use vectorgpu_core::sparse::{self, Sparse};
use vectorgpu_core::vector::{self, DenseElement, f16};
use vectorgpu_core::{Error, ErrorKind};

use target::{Outcome, Target as Parser};

/// Random inputs have fewer bytes.
const RANDOM_BYTES: usize = 40;
/// Changes cut, or repeat, fewer bytes.
const CUT_BYTES: usize = 6;

/// All parsers.
pub(crate) const PARSERS: [Parser; 6] = [
    Parser {
        name: "vector text",
        valid: dense_text::<f32>,
        tokens: TEXT_TOKENS,
        check: check_dense_text::<f32>,
    },
    Parser {
        name: "vector wire",
        valid: dense_wire::<f32>,
        tokens: WIRE_TOKENS,
        check: check_dense_wire::<f32>,
    },
    Parser {
        name: "halfvec text",
        valid: dense_text::<f16>,
        tokens: TEXT_TOKENS,
        check: check_dense_text::<f16>,
    },
    Parser {
        name: "halfvec wire",
        valid: dense_wire::<f16>,
        tokens: WIRE_TOKENS,
        check: check_dense_wire::<f16>,
    },
    Parser {
        name: "sparsevec text",
        valid: sparse_text,
        tokens: TEXT_TOKENS,
        check: check_sparse_text,
    },
    Parser {
        name: "sparsevec wire",
        valid: sparse_wire,
        tokens: WIRE_TOKENS,
        check: check_sparse_wire,
    },
];

/// What is worth inserting into a text.
const TEXT_TOKENS: &[&[u8]] = &[
    b"[",
    b"]",
    b"{",
    b"}",
    b"/",
    b":",
    b",",
    b" ",
    b"\t",
    b"\x0b",
    b"-",
    b"+",
    b".",
    b"e",
    b"E",
    b"e-",
    b"0",
    b"1",
    b"9",
    b"nan",
    b"NaN(1)",
    b"inf",
    b"-Infinity",
    b"0x",
    b"0X1p",
    b"p-149",
    b"p128",
    b"1e400",
    b"-1e-400",
    b"1e-46",
    b"3.4028236e38",
    b"65519.99",
    b"65520",
    b"16777217",
    b"2147483648",
    b"-2147483649",
    b"99999999999999999999",
    b"1000000001",
    b"0.00000000000000000000000001",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"{1:",
    b":0,",
    b"}/",
    b"[1,2,3]",
];

/// What is worth writing over a message.
const WIRE_TOKENS: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\0\0",
    b"\x3e\x80",
    b"\x3e\x81",
    b"\x7c\0",
    b"\x7e\0",
    b"\x80\0",
    b"\xff\xff",
    b"\x7f\x80\0\0",
    b"\x7f\xc0\0\0",
    b"\x80\0\0\0",
    b"\x3b\x9a\xca\0",
    b"\x3b\x9a\xca\x01",
    b"\xff\xff\xff\xff",
    b"\0\0\0\x05",
];

/// A finite element of any magnitude, or a small whole number, as counts and pixels are.
fn element<T: DenseElement>(random: &mut Random) -> T {
    let bits = random.bits();
    let wide = f32::from_bits(u32::try_from(bits >> 32).expect("32 bits"));
    let half = f16::from_bits(u16::try_from(bits & 0xffff).expect("16 bits")).to_f32();
    let candidates = [wide, half, half.round(), 0.0];
    let element = T::nearest(candidates[random.below(4)]);
    if element.is_finite() {
        element
    } else {
        T::nearest(-1.5)
    }
}

fn elements<T: DenseElement>(random: &mut Random) -> Vec<T> {
    (0..=random.below(12)).map(|_| element(random)).collect()
}

fn dense_text<T: DenseElement>(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    vector::text::format(&elements::<T>(random), &mut text);
    text
}

fn dense_wire<T: DenseElement>(random: &mut Random) -> Vec<u8> {
    vector::wire::encode(&elements::<T>(random))
}

/// Calls `use_it` with a sparse vector of up to twelve elements.
fn with_sparse<T>(random: &mut Random, use_it: impl FnOnce(Sparse<'_>) -> T) -> T {
    let step = [2, 100, 70_000_000][random.below(3)];
    let (mut indices, mut values) = (Vec::new(), Vec::new());
    let mut next = 0;
    for value in elements::<f32>(random) {
        next += 1 + random.below(step);
        if value != 0.0 {
            indices.push(i32::try_from(next - 1).expect("12 steps are below the limit"));
            values.push(value);
        }
    }
    let vector = Sparse {
        dims: next + random.below(step),
        indices: &indices,
        values: &values,
    };
    use_it(vector)
}

fn sparse_text(random: &mut Random) -> Vec<u8> {
    with_sparse(random, |vector| {
        let mut text = Vec::new();
        sparse::text::format(vector, &mut text);
        text
    })
}

fn sparse_wire(random: &mut Random) -> Vec<u8> {
    with_sparse(random, sparse::wire::encode)
}

fn check_dense_text<T: DenseElement>(input: &[u8]) -> Outcome {
    let mut elements = vec![T::nearest(0.0); vector::text::element_capacity(input)];
    let dims = match vector::text::parse(input, &mut elements) {
        Ok(dims) => dims,
        Err(error) => return refusal(&error),
    };
    let elements = &elements[..dims];
    check_all_finite(elements)?;
    let mut text = Vec::new();
    vector::text::format(elements, &mut text);
    let mut back = vec![T::nearest(0.0); vector::text::element_capacity(&text)];
    let dims = vector::text::parse(&text, &mut back).map_err(|error| format!("own text refused: {error}"))?;
    same(
        &vector::wire::encode(&back[..dims]),
        &vector::wire::encode(elements),
    )
}

fn check_dense_wire<T: DenseElement>(input: &[u8]) -> Outcome {
    // The server refuses a message that ends early or late.
    let Some((header, rest)) = input.split_first_chunk() else {
        return Ok(false);
    };
    let dims = match vector::wire::decode_header::<T>(*header, -1) {
        Ok(dims) => dims,
        Err(error) => return refusal(&error),
    };
    let mut elements = vec![T::nearest(0.0); dims];
    match vector::wire::decode_elements(rest, &mut elements) {
        Err(error) => refusal(&error),
        Ok(()) if rest.len() != dims * size_of::<T>() => Ok(false),
        Ok(()) => {
            check_all_finite(&elements)?;
            same(&vector::wire::encode(&elements), input)
        }
    }
}

fn check_sparse_text(input: &[u8]) -> Outcome {
    let vector = match sparse::text::parse(input, -1) {
        Ok(vector) => vector,
        Err(error) => return refusal(&error),
    };
    let vector = vector.as_sparse();
    check_sparse(vector)?;
    let mut text = Vec::new();
    sparse::text::format(vector, &mut text);
    let back = sparse::text::parse(&text, -1).map_err(|error| format!("own text refused: {error}"))?;
    same(
        &sparse::wire::encode(back.as_sparse()),
        &sparse::wire::encode(vector),
    )
}

fn check_sparse_wire(input: &[u8]) -> Outcome {
    let Some((header, rest)) = input.split_first_chunk() else {
        return Ok(false);
    };
    let Header { dims, count } = match sparse::wire::decode_header(*header, -1) {
        Ok(header) => header,
        Err(error) => return refusal(&error),
    };
    let (mut indices, mut values) = (vec![0; count], vec![0.0; count]);
    let (index_bytes, value_bytes) = rest.split_at((count * sparse::wire::ELEMENT_BYTES).min(rest.len()));
    let outcome = sparse::wire::decode_indices(index_bytes, dims, &mut indices)
        .and_then(|()| sparse::wire::decode_values(value_bytes, &mut values));
    match outcome {
        Err(error) => refusal(&error),
        Ok(()) if rest.len() != 2 * count * sparse::wire::ELEMENT_BYTES => Ok(false),
        Ok(()) => {
            let vector = Sparse {
                dims,
                indices: &indices,
                values: &values,
            };
            check_sparse(vector)?;
            same(&sparse::wire::encode(vector), input)
        }
    }
}

/// A refusal has one of the kinds that the parsers promise.
fn refusal(error: &Error) -> Outcome {
    match error.kind() {
        ErrorKind::InvalidText
        | ErrorKind::DataException
        | ErrorKind::OutOfRange
        | ErrorKind::LimitExceeded => Ok(false),
        kind => Err(format!("refused as {kind:?}: {error}")),
    }
}

fn check_all_finite<T: DenseElement>(elements: &[T]) -> Result<(), String> {
    if !elements.is_empty() && elements.iter().all(|element| element.is_finite()) {
        Ok(())
    } else {
        Err("accepted what no vector holds".to_owned())
    }
}

fn check_sparse(vector: Sparse<'_>) -> Result<(), String> {
    let inside = |index: &i32| usize::try_from(*index).is_ok_and(|index| index < vector.dims);
    let sound = (1..=1_000_000_000).contains(&vector.dims)
        && vector.indices.len() == vector.values.len()
        && vector.indices.iter().all(inside)
        && vector.indices.is_sorted_by(|a, b| a < b)
        && vector
            .values
            .iter()
            .all(|value| value.is_finite() && *value != 0.0);
    if sound {
        Ok(())
    } else {
        Err("accepted what no sparse vector holds".to_owned())
    }
}

fn same(back: &[u8], value: &[u8]) -> Outcome {
    if back == value {
        Ok(true)
    } else {
        Err("does not come back as the same value".to_owned())
    }
}
