//! The text format `[1,2.5,-3e4]`: parsing and printing.
//!
//! Must not know PostgreSQL. Invariant: whatever [`format`] prints, [`parse`] reads back bit for bit; no input bytes
//! make [`parse`] panic. The grammar, the messages and the order in which mistakes are noticed are pgvector's.

use super::print_float::print;
use super::read_float::scan;
use super::{DenseElement, check_element};
use crate::error::Result;
use crate::limits::MAX_DIMS;

/// Longest text of one element with its separator: sign, nine digits, point, exponent `e-45`, comma.
const ELEMENT_TEXT_BYTES: usize = 16;

/// Digits of a number that an f32 holds whatever they are.
const SHORT_DIGITS: usize = 6;

/// Most elements that `text` can hold: how much room [`parse`] needs. At most `MAX_DIMS`.
pub fn element_capacity(text: &[u8]) -> usize {
    // Commas in chunks of 255 bytes: a byte-wide sum vectorises, and cannot overflow in that many steps.
    let commas: usize = text
        .chunks(255)
        .map(|chunk| usize::from(chunk.iter().fold(0u8, |sum, &byte| sum + u8::from(byte == b','))))
        .sum();
    (commas + 1).min(MAX_DIMS)
}

/// Parses `text` into the front of `elements` and returns the number of dimensions.
///
/// White space is allowed around every element and bracket. Elements are what C's `strtof` accepts, hexadecimal
/// numbers included, then rounded to the element type; a number too small for it becomes zero.
///
/// ```
/// use vectorgpu_core::vector::text;
///
/// let input = b" [1, 2.50,-3e4] ";
/// let mut elements = vec![0.0f32; text::element_capacity(input)];
/// let dims = text::parse(input, &mut elements)?;
/// assert_eq!(elements[..dims], [1.0, 2.5, -30_000.0]);
///
/// let mut printed = Vec::new();
/// text::format(&elements[..dims], &mut printed);
/// assert_eq!(printed, b"[1,2.5,-30000]");
/// assert!(text::parse(b"[1,]", &mut [0.0f32; 2]).is_err());
/// # Ok::<(), vectorgpu_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidText` for a malformed vector, `DataException` for no element, NaN or infinity, `OutOfRange` for a number
/// too large for the element type, `LimitExceeded` for more than `MAX_DIMS` elements.
///
/// # Panics
/// When `elements` is shorter than [`element_capacity`] of the same text.
pub fn parse<T: DenseElement>(text: &[u8], elements: &mut [T]) -> Result<usize> {
    let invalid = || T::TYPE.invalid_text(text);
    let mut at = skip_space(text, 0);
    if byte(text, at) != b'[' {
        return Err(invalid().with_detail("Vector contents must start with \"[\"."));
    }
    at = skip_space(text, at + 1);
    if byte(text, at) == b']' {
        T::TYPE.check_dims(0)?;
    }
    let mut dims = 0;
    loop {
        (at, dims) = short_integers(text, at, elements, dims);
        if dims == MAX_DIMS {
            return Err(T::TYPE.too_many_dims());
        }
        at = skip_space(text, at);
        let rest = text.get(at..).unwrap_or_default();
        let number = scan(rest).ok_or_else(invalid)?;
        let element = T::nearest(number.value);
        if number.overflowed || (number.value.is_finite() && !element.is_finite()) {
            return Err(T::TYPE.out_of_range(&rest[..number.bytes]));
        }
        check_element(element)?;
        elements[dims] = element;
        dims += 1;
        at = skip_space(text, at + number.bytes);
        match byte(text, at) {
            b',' => at += 1,
            b']' => break,
            _ => return Err(invalid()),
        }
    }
    if skip_space(text, at + 1) < text.len() {
        return Err(invalid().with_detail("Junk after closing right brace."));
    }
    Ok(dims)
}

/// Appends the text of `elements` to `out`: each as PostgreSQL prints a `real` of its value, the shortest text that
/// reads back as the same value.
pub fn format<T: DenseElement>(elements: &[T], out: &mut Vec<u8>) {
    out.reserve(elements.len() * ELEMENT_TEXT_BYTES + 2);
    out.push(b'[');
    T::visit(elements, |first, values| {
        for (index, &value) in values.iter().enumerate() {
            if first + index > 0 {
                out.push(b',');
            }
            print(value, out);
        }
    });
    out.push(b']');
}

/// The byte at `at`, or 0 past the end, which is never part of a vector.
#[inline]
pub(crate) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// Reads elements like those of vectors of counts and pixels from `at` on, up to six digits and a comma each, into
/// `elements` from `dims` on; stops at anything else, whose place is returned with the new `dims`.
///
/// Eight bytes are looked at together: a loop over digits is mispredicted wherever their number changes.
#[inline]
fn short_integers<T: DenseElement>(
    text: &[u8],
    mut at: usize,
    elements: &mut [T],
    mut dims: usize,
) -> (usize, usize) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let digits = u64::from_le_bytes(*bytes) ^ 0x3030_3030_3030_3030;
        // The top bit of every byte that is not 0 to 9; the sum carries from no byte into the next.
        let mut others = (((digits & !HIGH) + 0x7676_7676_7676_7676) | digits) & HIGH;
        let mut start = 0;
        while others != 0 {
            let end = others.trailing_zeros() as usize / 8;
            let length = end - start;
            if !(1..=SHORT_DIGITS).contains(&length) || bytes[end] != b',' || dims == MAX_DIMS {
                return (at + start, dims);
            }
            // The digits in the upper bytes, zeroes before them: then pairs, fours and all eight are put together.
            let eight = (digits << (64 - 8 * end)) & (u64::MAX << (64 - 8 * length));
            let pairs = eight.wrapping_mul(10 << 8 | 1) >> 8;
            let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
            let value = (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32;
            let element = T::nearest(value as f32);
            if !element.is_finite() {
                return (at + start, dims);
            }
            elements[dims] = element;
            dims += 1;
            start = end + 1;
            others &= others - 1;
        }
        if start == 0 {
            break;
        }
        at += start;
    }
    (at, dims)
}

#[inline]
pub(crate) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(byte(text, at), b' ' | b'\t'..=b'\r') {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;
    use crate::property::cases;

    fn parsed(text: &str) -> Result<Vec<f32>> {
        parsed_bytes(text.as_bytes())
    }

    fn parsed_bytes(text: &[u8]) -> Result<Vec<f32>> {
        let mut elements = vec![0.0; element_capacity(text)];
        let dims = parse(text, &mut elements)?;
        elements.truncate(dims);
        Ok(elements)
    }

    fn failure(text: &str) -> (ErrorKind, String, Option<String>) {
        let error = parsed(text).expect_err(text);
        (
            error.kind(),
            error.message().to_owned(),
            error.detail().map(str::to_owned),
        )
    }

    fn printed(elements: &[f32]) -> String {
        let mut out = Vec::new();
        format(elements, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn white_space_is_allowed_around_everything() {
        for text in [
            "[1,2,3]",
            " [ 1, 2 , 3 ] ",
            "\t[\n1\r,\x0b2\x0c,3 ]\n",
            "[1.,2e0,.3e1]",
            "[+1,0x2,0X.3p4]",
        ] {
            assert_eq!(parsed(text), Ok(vec![1.0, 2.0, 3.0]), "{text:?}");
        }
    }

    #[test]
    fn malformed_text_is_refused_with_its_detail() {
        for (text, detail) in [
            ("", Some("Vector contents must start with \"[\".")),
            ("1,2", Some("Vector contents must start with \"[\".")),
            ("[1,2]x", Some("Junk after closing right brace.")),
            ("[1,2],", Some("Junk after closing right brace.")),
            ("[", None),
            ("[1", None),
            ("[1,", None),
            ("[1,]", None),
            ("[,1]", None),
            ("[1,,2]", None),
            ("[1 2]", None),
            ("[1e]", None),
            ("[1e+]", None),
            ("[.]", None),
            ("[-]", None),
            ("[+-1]", None),
            ("[0x]", None),
            ("[abc]", None),
            ("[[1]]", None),
        ] {
            let message = format!("invalid input syntax for type vector: \"{text}\"");
            assert_eq!(
                failure(text),
                (ErrorKind::InvalidText, message, detail.map(str::to_owned))
            );
        }
    }

    #[test]
    fn text_in_another_encoding_is_quoted_in_ascii() {
        let message = |text: &[u8]| parsed_bytes(text).expect_err("malformed").message().to_owned();
        assert_eq!(
            message(b"[\xe9]"),
            "invalid input syntax for type vector: \"[\\xe9]\""
        );
        assert_eq!(
            message("[\u{e9}]".as_bytes()),
            "invalid input syntax for type vector: \"[\u{e9}]\""
        );
    }

    #[test]
    fn values_that_no_vector_holds_are_refused() {
        for text in ["[]", " [ ] "] {
            assert_eq!(failure(text).0, ErrorKind::DataException);
        }
        for text in ["[nan]", "[-NaN]", "[nan(7)]"] {
            assert_eq!(failure(text).1, "NaN not allowed in vector", "{text}");
        }
        for text in ["[inf]", "[-Infinity]", "[INFIN]"] {
            assert_eq!(failure(text).1, "infinite value not allowed in vector", "{text}");
        }
        for number in [
            "1e39",
            "-1e400",
            "0x1p128",
            "340282356779733661637539395458142568448",
        ] {
            let (kind, message, _) = failure(&format!("[ {number} ]"));
            assert_eq!(kind, ErrorKind::OutOfRange);
            assert_eq!(message, format!("\"{number}\" is out of range for type vector"));
        }
    }

    #[test]
    fn halves_are_rounded_or_refused_by_their_own_type() {
        let parsed = |text: &str| {
            let mut elements = vec![f16::ZERO; element_capacity(text.as_bytes())];
            let dims = parse(text.as_bytes(), &mut elements)?;
            elements.truncate(dims);
            let mut out = Vec::new();
            format(&elements, &mut out);
            Ok(String::from_utf8(out).expect("ASCII"))
        };
        for (text, expected) in [
            (" [1, 2.5 ,-3e4] ", "[1,2.5,-30000]"),
            ("[0.1,0.30000001]", "[0.099975586,0.30004883]"),
            ("[2049,2051,4097,4099]", "[2048,2052,4096,4100]"),
            ("[65504,65519,-65519.99]", "[65504,65504,-65504]"),
            (
                "[1e-8,-1e-8,5.9604645e-08,2.9802322e-08]",
                "[0,-0,5.9604645e-08,0]",
            ),
            ("[1,2,3,4,5,6,7,8,9,10]", "[1,2,3,4,5,6,7,8,9,10]"),
        ] {
            assert_eq!(parsed(text), Ok(expected.to_owned()), "{text}");
        }
        for (text, kind, message) in [
            (
                "[65520]",
                ErrorKind::OutOfRange,
                "\"65520\" is out of range for type halfvec",
            ),
            (
                "[1,2,3,999999,5,6,7,8,9]",
                ErrorKind::OutOfRange,
                "\"999999\" is out of range for type halfvec",
            ),
            (
                "[-1e400]",
                ErrorKind::OutOfRange,
                "\"-1e400\" is out of range for type halfvec",
            ),
            (
                "[inf]",
                ErrorKind::DataException,
                "infinite value not allowed in halfvec",
            ),
            ("[nan]", ErrorKind::DataException, "NaN not allowed in halfvec"),
            (
                "[]",
                ErrorKind::DataException,
                "halfvec must have at least 1 dimension",
            ),
            (
                "[1",
                ErrorKind::InvalidText,
                "invalid input syntax for type halfvec: \"[1\"",
            ),
        ] {
            let error: crate::Error = parsed(text).expect_err(text);
            assert_eq!((error.kind(), error.message()), (kind, message));
        }
    }

    #[test]
    fn every_half_reads_back_bit_for_bit() {
        let halves: Vec<f16> = (0..=u16::MAX)
            .map(f16::from_bits)
            .filter(|half| half.is_finite())
            .step_by(if cfg!(miri) { 997 } else { 1 })
            .collect();
        for run in halves.chunks(MAX_DIMS) {
            let mut text = Vec::new();
            format(run, &mut text);
            let mut back = vec![f16::ZERO; element_capacity(&text)];
            assert_eq!(parse(&text, &mut back), Ok(run.len()));
            let bits = |halves: &[f16]| halves.iter().map(|half| half.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&back), bits(run));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "64,000 numbers, and no unsafe code")]
    fn dimensions_are_bounded() {
        let at_limit = format!("[{}]", vec!["1"; MAX_DIMS].join(","));
        assert_eq!(parsed(&at_limit).map(|elements| elements.len()), Ok(MAX_DIMS));
        for tail in ["1]", "x", ""] {
            let beyond = format!("[{},{tail}", vec!["1"; MAX_DIMS].join(","));
            assert_eq!(failure(&beyond).0, ErrorKind::LimitExceeded);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "100,000 bytes, and no unsafe code")]
    fn commas_are_counted_across_chunks() {
        for commas in [0, 1, 254, 255, 256, 5000] {
            assert_eq!(element_capacity(&vec![b','; commas]), commas + 1);
        }
        assert_eq!(element_capacity(&vec![b','; 100_000]), MAX_DIMS);
    }

    #[test]
    fn numbers_print_as_postgresql_prints_a_real() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (123_456.0, "123456"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-5, "1.5e-05"),
            (f32::MAX, "3.4028235e+38"),
            (f32::MIN_POSITIVE, "1.1754944e-38"),
            (f32::from_bits(1), "1e-45"),
            (16_777_216.0, "1.6777216e+07"),
            (2.441_406_2e-4, "0.00024414062"),
        ] {
            assert_eq!(printed(&[value]), format!("[{text}]"));
        }
        // The decimal 3e10 lies exactly between two f32, as 9e9 does: it is not used, though it would read back.
        assert_eq!(
            printed(&[3e10, -9e9, 2e10]),
            "[3.0000001e+10,-8.999999e+09,2e+10]"
        );
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn printed_vectors_read_back_bit_for_bit(bits in prop::collection::vec(any::<u32>(), 1..50)) {
            let elements: Vec<f32> =
                bits.into_iter().map(f32::from_bits).map(|x| if x.is_finite() { x } else { 0.5 }).collect();
            let back = parsed(&printed(&elements)).expect("own output");
            prop_assert_eq!(
                back.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                elements.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            );
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parsed_bytes(&bytes);
        }

        #[test]
        fn almost_vectors_parse_to_finite_elements_or_an_error(text in "[ \\[]{0,2}[-+0-9.,eExXpPnaif \\]]{0,60}\\]?") {
            if let Ok(elements) = parsed(&text) {
                prop_assert!(!elements.is_empty());
                prop_assert!(elements.iter().all(|x| x.is_finite()));
            }
        }
    }
}
