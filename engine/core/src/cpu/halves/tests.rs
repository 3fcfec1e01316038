//! Every table that this machine supports, bit for bit against the f32 kernels on the widened elements.

use half::f16;
use proptest::prelude::*;

use crate::cpu::{CosineParts, Kernels};
use crate::metric::{Element, Score};
use crate::property::cases;

/// Bit patterns of finite halves: all of them, or those around 1, whose sums round more.
fn half() -> impl Strategy<Value = u16> {
    prop_oneof![
        any::<u16>().prop_map(|bits| if bits & 0x7c00 == 0x7c00 {
            bits & 0x83ff
        } else {
            bits
        }),
        (0x3800u16..0x4000, any::<bool>()).prop_map(|(bits, minus)| bits | u16::from(minus) << 15),
    ]
}

/// Two vectors of one length, which is often one where kernels have a tail.
fn two_vectors() -> impl Strategy<Value = (Vec<u16>, Vec<u16>)> {
    let most = if cfg!(miri) { 40usize } else { 300 };
    (1..most).prop_flat_map(|dims: usize| {
        (
            prop::collection::vec(half(), dims),
            prop::collection::vec(half(), dims),
        )
    })
}

/// The codes from an odd address on.
fn unaligned(codes: &[u16]) -> (Vec<u8>, usize) {
    let mut bytes = vec![0; 2 * codes.len() + 1];
    let start = 1 - bytes.as_ptr().addr() % 2;
    for (two, code) in bytes[start..].as_chunks_mut::<2>().0.iter_mut().zip(codes) {
        *two = code.to_le_bytes();
    }
    (bytes, start)
}

fn widened(codes: &[u16]) -> Vec<f32> {
    codes
        .iter()
        .map(|code| f16::from_bits(*code).to_f32_const())
        .collect()
}

fn bits(parts: CosineParts) -> [u32; 3] {
    [parts.dot, parts.norm_sq_a, parts.norm_sq_b].map(f32::to_bits)
}

/// Miri knows AVX2, but not the instructions of F16C.
fn tables() -> Vec<&'static Kernels> {
    let mut tables = Kernels::all_supported();
    tables.retain(|table| !cfg!(miri) || table.name() == "scalar");
    tables
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn values_are_bit_for_bit_those_of_the_widened_elements((a, b) in two_vectors()) {
        let (wide_a, wide_b) = (widened(&a), widened(&b));
        let ((a, a_start), (b, b_start)) = (unaligned(&a), unaligned(&b));
        let (a, b) = (&a[a_start..][..2 * wide_a.len()], &b[b_start..][..2 * wide_b.len()]);
        for table in tables() {
            for reference in tables() {
                for score in [Score::SquaredL2, Score::Dot] {
                    let expected = reference.row(score, Element::F32, &wide_a, bytemuck::cast_slice(&wide_b));
                    let value = table.half_pair(score, a, b);
                    prop_assert_eq!(value.to_bits(), expected.to_bits(), "{:?} {}", score, table.name());
                }
                let expected = reference.row(Score::L1, Element::F32, &wide_a, bytemuck::cast_slice(&wide_b));
                prop_assert_eq!(table.half_pair(Score::L1, a, b).to_bits(), expected.to_bits(), "l1 {}", table.name());
                let expected = reference.cosine_parts(&wide_a, &wide_b);
                prop_assert_eq!(bits(table.half_cosine_parts(a, b)), bits(expected), "{}", table.name());
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of elements, in kernels that the property checks")]
fn long_vectors_sum_alike() {
    for dims in [768, 1000, 1536, 4096, 16_000] {
        let codes = |seed: u64| -> Vec<u16> {
            let mut random = crate::random::Random::new(seed);
            (0..dims)
                .map(|_| f16::from_f32_const(random.float() - 0.5).to_bits())
                .collect()
        };
        let (a, b) = (codes(1), codes(2));
        let (wide_a, wide_b) = (widened(&a), widened(&b));
        let (a, b) = (bytemuck::cast_slice(&a), bytemuck::cast_slice(&b));
        for table in tables() {
            let expected = table.row(
                Score::SquaredL2,
                Element::F32,
                &wide_a,
                bytemuck::cast_slice(&wide_b),
            );
            assert_eq!(
                table.half_pair(Score::SquaredL2, a, b).to_bits(),
                expected.to_bits()
            );
            let expected = table.row(Score::Dot, Element::F32, &wide_a, bytemuck::cast_slice(&wide_b));
            assert_eq!(table.half_pair(Score::Dot, a, b).to_bits(), expected.to_bits());
            assert_eq!(
                table.half_pair(Score::L1, a, b).to_bits(),
                table
                    .row(Score::L1, Element::F32, &wide_a, bytemuck::cast_slice(&wide_b))
                    .to_bits()
            );
            assert_eq!(
                bits(table.half_cosine_parts(a, b)),
                bits(table.cosine_parts(&wide_a, &wide_b))
            );
        }
    }
}
