//! The text format `{1:1.5,3:2}/5`: parsing and printing. Indices count from 1 there.
//!
//! Must not know PostgreSQL. Invariant: whatever [`format`] prints, [`parse`] reads back bit for bit; no input bytes
//! make [`parse`] panic. The grammar, the messages and the order in which mistakes are noticed are pgvector's.

use std::io::Write as _;

use super::{Sparse, SparseBuffer, check_index, check_value, too_many_elements};
use crate::error::{Error, Result};
use crate::limits::MAX_NON_ZERO;
use crate::vector::print_float::print;
use crate::vector::read_float::scan;
use crate::vector::text::{byte, skip_space};
use crate::vector_type::{VectorType, check_typmod};

/// Longest text of one element: index of ten digits, colon, sign, nine digits, point, exponent `e-45`, comma.
const ELEMENT_TEXT_BYTES: usize = 27;

/// Parses a sparse vector, whose dimensions `typmod` (negative: any) has to allow.
///
/// White space is allowed around every part. Indices come in any order; elements written as zero are dropped.
///
/// ```
/// use vectorgpu_core::sparse::text;
///
/// let vector = text::parse(b" {3 : 2, 1:1.50, 2:0} / 5", -1)?;
/// let mut printed = Vec::new();
/// text::format(vector.as_sparse(), &mut printed);
/// assert_eq!(printed, b"{1:1.5,3:2}/5");
/// # Ok::<(), vectorgpu_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidText` for malformed text; `DataException` for NaN, infinity, an index outside the vector, two equal indices
/// or the wrong number of dimensions; `OutOfRange` for a number too large for an `f32`, or so small that it would become
/// zero; `LimitExceeded` for more than `MAX_NON_ZERO` elements, zeros included, or too many dimensions.
pub fn parse(text: &[u8], typmod: i32) -> Result<SparseBuffer> {
    // Before the syntax is looked at, as pgvector does.
    if text.iter().filter(|&&byte| byte == b',').count() >= MAX_NON_ZERO {
        return Err(too_many_elements());
    }
    let mut at = skip_space(text, 0);
    if byte(text, at) != b'{' {
        return Err(invalid(text).with_detail("Vector contents must start with \"{\"."));
    }
    at = skip_space(text, at + 1);
    let mut elements = Vec::new();
    if byte(text, at) == b'}' {
        at += 1;
    } else {
        at = parse_elements(text, at, &mut elements)?;
    }
    at = skip_space(text, at);
    if byte(text, at) != b'/' {
        return Err(invalid(text).with_detail("Unexpected end of input."));
    }
    let dims;
    (dims, at) = integer(text, skip_space(text, at + 1)).ok_or_else(|| invalid(text))?;
    if skip_space(text, at) < text.len() {
        return Err(invalid(text).with_detail("Junk after closing."));
    }
    let dims = usize::try_from(dims).unwrap_or(0);
    VectorType::Sparsevec.check_dims(dims)?;
    check_typmod(typmod, dims)?;
    elements.sort_by_key(|(index, _)| *index);
    let (indices, values): (Vec<i32>, Vec<f32>) = elements.into_iter().unzip();
    let mut previous = None;
    for &index in &indices {
        check_index(index, previous, dims)?;
        previous = Some(index);
    }
    Ok(SparseBuffer {
        dims,
        indices,
        values,
    })
}

/// Parses `1:1.5,3:2}` from `at` on and returns the place behind it. Indices in `elements` count from 0, and may be
/// outside any vector.
fn parse_elements(text: &[u8], mut at: usize, elements: &mut Vec<(i32, f32)>) -> Result<usize> {
    loop {
        let index;
        (index, at) = integer(text, skip_space(text, at)).ok_or_else(|| invalid(text))?;
        at = skip_space(text, at);
        if byte(text, at) != b':' {
            return Err(invalid(text));
        }
        at = skip_space(text, at + 1);
        let rest = text.get(at..).unwrap_or_default();
        let number = scan(rest).ok_or_else(|| invalid(text))?;
        let written = &rest[..number.bytes];
        if number.overflowed || (number.value == 0.0 && !is_zero(written)) {
            return Err(VectorType::Sparsevec.out_of_range(written));
        }
        check_value(number.value)?;
        if number.value != 0.0 {
            elements.push((index.saturating_sub(1), number.value));
        }
        at = skip_space(text, at + number.bytes);
        match byte(text, at) {
            b',' => at += 1,
            b'}' => return Ok(at + 1),
            _ => return Err(invalid(text)),
        }
    }
}

/// Appends the text of `vector` to `out`; each value as PostgreSQL prints a `real`, the shortest text that reads back as
/// the same value.
pub fn format(vector: Sparse<'_>, out: &mut Vec<u8>) {
    out.reserve(vector.indices.len() * ELEMENT_TEXT_BYTES + 13);
    out.push(b'{');
    for (at, (&index, &value)) in vector.indices.iter().zip(vector.values).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        append_integer(i64::from(index) + 1, out);
        out.push(b':');
        print(value, out);
    }
    out.extend_from_slice(b"}/");
    append_integer(i64::try_from(vector.dims).unwrap_or(i64::MAX), out);
}

fn append_integer(number: i64, out: &mut Vec<u8>) {
    write!(out, "{number}").expect("memory is the only limit of a Vec");
}

/// Reads what C's `strtol` reads at `at`, without white space: the number, or the nearest i32, and the place behind it;
/// nothing when there is no digit.
fn integer(text: &[u8], at: usize) -> Option<(i32, usize)> {
    let (is_negative, start) = match byte(text, at) {
        b'-' => (true, at + 1),
        b'+' => (false, at + 1),
        _ => (false, at),
    };
    let mut magnitude = 0i32;
    let mut end = start;
    while let digit @ b'0'..=b'9' = byte(text, end) {
        magnitude = magnitude
            .saturating_mul(10)
            .saturating_add(i32::from(digit - b'0'));
        end += 1;
    }
    (end > start).then_some((if is_negative { -magnitude } else { magnitude }, end))
}

/// Whether a number, decimal or hexadecimal, is zero as it is written, not only after rounding.
fn is_zero(number: &[u8]) -> bool {
    let unsigned = match number {
        [b'-' | b'+', rest @ ..] => rest,
        rest => rest,
    };
    let (digits, exponent_mark) = match unsigned {
        [b'0', b'x' | b'X', rest @ ..] => (rest, b'p'),
        rest => (rest, b'e'),
    };
    digits
        .iter()
        .take_while(|byte| !byte.eq_ignore_ascii_case(&exponent_mark))
        .all(|byte| matches!(byte, b'0' | b'.'))
}

#[cold]
fn invalid(text: &[u8]) -> Error {
    VectorType::Sparsevec.invalid_text(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::strategy::{sparse, value};
    use super::*;
    use crate::error::ErrorKind;
    use crate::property::cases;

    fn printed(vector: &SparseBuffer) -> String {
        let mut out = Vec::new();
        format(vector.as_sparse(), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    fn failure(text: &str) -> (ErrorKind, String) {
        let error = parse(text.as_bytes(), -1).expect_err(text);
        let message = match error.detail() {
            Some(detail) => format!("{} | {detail}", error.message()),
            None => error.message().to_owned(),
        };
        (error.kind(), message)
    }

    #[test]
    fn well_formed_text_is_sorted_and_loses_its_zeros() {
        for (text, expected) in [
            ("{1:1.5,3:2}/5", "{1:1.5,3:2}/5"),
            ("{3:2,1:1.5}/5", "{1:1.5,3:2}/5"),
            ("\t{ 1 : 1.5 ,\n3\x0b:\x0c2 \r} / 5 ", "{1:1.5,3:2}/5"),
            ("{}/5", "{}/5"),
            (" { } / 5", "{}/5"),
            ("{1:0,2:-0,3:0e9,4:0x0p5,5:+0.0}/5", "{}/5"),
            ("{1:0,1:1}/1", "{1:1}/1"),
            ("{+1:+1e2}/+7", "{1:100}/7"),
            ("{0001:0x10}/0010", "{1:16}/10"),
            ("{1000000000:1}/1000000000", "{1000000000:1}/1000000000"),
            ("{1:1e-45,2:1e-44}/2", "{1:1e-45,2:1e-44}/2"),
            ("{9:0}/2", "{}/2"),
        ] {
            let vector = parse(text.as_bytes(), -1).expect(text);
            assert_eq!(printed(&vector), expected, "{text:?}");
        }
        assert!(parse(b"{}/5", 5).is_ok());
    }

    #[test]
    fn malformed_text_is_refused_with_its_detail() {
        for (text, detail) in [
            ("", " | Vector contents must start with \"{\"."),
            ("[1,2]", " | Vector contents must start with \"{\"."),
            ("{", ""),
            ("{1", ""),
            ("{1:", ""),
            ("{1:1", ""),
            ("{1:1,", ""),
            ("{1:1,}/2", ""),
            ("{,}/2", ""),
            ("{:1}/2", ""),
            ("{a:1}/2", ""),
            ("{-:1}/2", ""),
            ("{1:a}/2", ""),
            ("{1 1}/2", ""),
            ("{1:1 2:1}/2", ""),
            ("{1.5:1}/2", ""),
            ("{1:1}", " | Unexpected end of input."),
            ("{}", " | Unexpected end of input."),
            ("{1:1}x/2", " | Unexpected end of input."),
            ("{1:1}/", ""),
            ("{1:1}/a", ""),
            ("{1:1}/-", ""),
            ("{1:1}/2x", " | Junk after closing."),
            ("{1:1}/2.5", " | Junk after closing."),
        ] {
            let message = format!("invalid input syntax for type sparsevec: \"{text}\"{detail}");
            assert_eq!(failure(text), (ErrorKind::InvalidText, message));
        }
    }

    #[test]
    fn indices_and_dimensions_are_bounded() {
        for (text, kind, message) in [
            (
                "{0:1}/2",
                ErrorKind::DataException,
                "sparsevec index out of bounds",
            ),
            (
                "{3:1}/2",
                ErrorKind::DataException,
                "sparsevec index out of bounds",
            ),
            (
                "{-9223372036854775809:1}/2",
                ErrorKind::DataException,
                "sparsevec index out of bounds",
            ),
            (
                "{9223372036854775808:1}/2",
                ErrorKind::DataException,
                "sparsevec index out of bounds",
            ),
            (
                "{2:1,1:1,2:2}/2",
                ErrorKind::DataException,
                "sparsevec indices must not contain duplicates",
            ),
            (
                "{}/0",
                ErrorKind::DataException,
                "sparsevec must have at least 1 dimension",
            ),
            (
                "{}/-1",
                ErrorKind::DataException,
                "sparsevec must have at least 1 dimension",
            ),
            (
                "{}/1000000001",
                ErrorKind::LimitExceeded,
                "sparsevec cannot have more than 1000000000 dimensions",
            ),
            (
                "{}/99999999999999999999",
                ErrorKind::LimitExceeded,
                "sparsevec cannot have more than 1000000000 dimensions",
            ),
        ] {
            assert_eq!(failure(text), (kind, message.to_owned()), "{text}");
        }
        let error = parse(b"{}/5", 4).expect_err("typmod");
        assert_eq!(error.message(), "expected 4 dimensions, not 5");
    }

    #[test]
    fn values_that_no_sparse_vector_holds_are_refused() {
        for (text, kind, message) in [
            (
                "{1:nan}/2",
                ErrorKind::DataException,
                "NaN not allowed in sparsevec",
            ),
            (
                "{1:-inf}/2",
                ErrorKind::DataException,
                "infinite value not allowed in sparsevec",
            ),
            (
                "{1:4e38}/2",
                ErrorKind::OutOfRange,
                "\"4e38\" is out of range for type sparsevec",
            ),
            (
                "{1:-1e-46}/2",
                ErrorKind::OutOfRange,
                "\"-1e-46\" is out of range for type sparsevec",
            ),
            (
                "{1:0x1p-151}/2",
                ErrorKind::OutOfRange,
                "\"0x1p-151\" is out of range for type sparsevec",
            ),
        ] {
            assert_eq!(failure(text), (kind, message.to_owned()), "{text}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "16,000 numbers, and no unsafe code")]
    fn elements_are_bounded_before_the_syntax_is_looked_at() {
        let message = "sparsevec cannot have more than 16000 non-zero elements";
        let commas = ",".repeat(MAX_NON_ZERO);
        assert_eq!(failure(&commas), (ErrorKind::LimitExceeded, message.to_owned()));
        let zeros = format!("{{{}}}/1", vec!["1:0"; MAX_NON_ZERO].join(","));
        assert!(parse(zeros.as_bytes(), -1).is_ok());
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn printed_vectors_read_back_bit_for_bit(
            vector in prop_oneof![1i32..50, Just(1_000_000_000)].prop_flat_map(|dims| sparse(dims, value()))
        ) {
            let back = parse(printed(&vector).as_bytes(), -1).expect("own output");
            prop_assert_eq!(&back.indices, &vector.indices);
            prop_assert_eq!(back.dims, vector.dims);
            let bits = |vector: &SparseBuffer| vector.values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&back), bits(&vector));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, -1);
        }

        #[test]
        fn almost_vectors_parse_to_vectors_or_an_error(text in "\\{([0-9]{1,2}:[-+0-9.ex]{1,5},?){0,6}\\}?/[0-9]{1,2}") {
            if let Ok(vector) = parse(text.as_bytes(), -1) {
                prop_assert!(vector.values.iter().all(|x| x.is_finite() && *x != 0.0));
                prop_assert!(vector.indices.is_sorted_by(|a, b| a < b));
            }
        }
    }
}
