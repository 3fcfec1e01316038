//! Every table that this machine supports against a plain definition: integer sums are exact, so equal.

use proptest::prelude::*;

use crate::cpu::{Ahead, Kernels, LOOKUP_BITS, LOOKUP_BYTES, LOOKUP_QUAD, LOOKUP_ROWS, NIBBLE_STEP};
use crate::metric::CodeScore;
use crate::property::cases;

const SCORES: [CodeScore; 4] = [
    CodeScore::DotI8,
    CodeScore::SquaredL2I8,
    CodeScore::Hamming,
    CodeScore::AndCount,
];
const LENGTHS: &[usize] = if cfg!(miri) {
    &[0, 4, 31, 65]
} else {
    &[
        0, 1, 3, 4, 12, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 100, 768, 1536, 2000, 16_000,
    ]
};

const ROWS: &[usize] = if cfg!(miri) {
    &[0, 1, 5]
} else {
    &[0, 1, 2, 3, 4, 5, 8, 33]
};

/// The score by its formula, in 64 bits.
fn defined(score: CodeScore, query: &[u8], row: &[u8]) -> i64 {
    let terms = query.iter().zip(row).map(|(q, x)| {
        let (qi, xi) = (i64::from(q.cast_signed()), i64::from(x.cast_signed()));
        match score {
            CodeScore::DotI8 => qi * xi,
            CodeScore::SquaredL2I8 => (qi - xi).pow(2),
            CodeScore::Hamming => i64::from((q ^ x).count_ones()),
            CodeScore::AndCount => i64::from((q & x).count_ones()),
        }
    });
    terms.sum()
}

/// `len` bytes of a fixed stream; every eighth stream holds only extremes.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let byte = state.to_be_bytes()[0];
            match (seed % 8, byte & 3) {
                (0, 0) => 0x80,
                (0, 1) => 0x7f,
                (0, _) => 0xff,
                _ => byte,
            }
        })
        .collect()
}

/// Compares blocks of `n` rows, which start one byte into `storage`, and single rows with the definition; and the
/// products with two queries at once with those with each.
fn check(query: &[u8], storage: &[u8], n: usize) {
    let rows = &storage[1..];
    let encoded: Vec<u8> = query.iter().map(|q| if *q == 0x80 { 0x81 } else { *q }).collect();
    let other: Vec<u8> = encoded.iter().rev().copied().collect();
    for table in Kernels::all_supported() {
        let mut pairs = vec![[i32::MIN; 2]; n];
        table.dot_i8_pairs([&encoded, &other], rows, &mut pairs);
        for (which, query) in [&encoded, &other].into_iter().enumerate() {
            let mut scores = vec![i32::MIN; n];
            table.code_block(CodeScore::DotI8, query, rows, &mut scores);
            let got: Vec<i32> = pairs.iter().map(|pair| pair[which]).collect();
            assert_eq!(got, scores, "{} {} query {which}", table.name(), query.len());
        }
    }
    for score in SCORES {
        let query = if score == CodeScore::DotI8 {
            &encoded
        } else {
            query
        };
        let expected: Vec<i64> = (0..n)
            .map(|i| defined(score, query, &rows[i * query.len()..][..query.len()]))
            .collect();
        for table in Kernels::all_supported() {
            let mut scores = vec![i32::MIN; n];
            table.code_block(score, query, rows, &mut scores);
            for (i, expected) in expected.iter().enumerate() {
                let name = table.name();
                let len = query.len();
                assert_eq!(i64::from(scores[i]), *expected, "{name} {score:?} {len} row {i}");
                if i < 4 {
                    let row = table.code_row(score, query, &rows[i * len..][..len]);
                    assert_eq!(row, scores[i], "{name} {score:?} {len} row {i} alone");
                }
            }
        }
    }
}

#[test]
fn every_table_computes_the_defined_scores_at_every_length() {
    for (i, len) in LENGTHS.iter().enumerate() {
        for n in ROWS.iter().copied() {
            for seed in 0..2 {
                let seed = seed * 8 + u64::try_from(i).expect("a small number");
                check(&bytes(*len, seed), &bytes(n * len + 1, seed + 8), n);
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "a large block, whose loops the short ones run through too")]
fn every_table_computes_the_defined_scores_of_large_blocks() {
    for (len, n) in [
        (1, 100_000),
        (3, 100_000),
        (96, 30_001),
        (768, 5_002),
        (16_000, 203),
    ] {
        check(&bytes(len, 1), &bytes(n * len + 1, 2), n);
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "16,000 dimensions a score, and nothing that shorter rows do not do"
)]
fn the_largest_sums_fit_in_every_order_of_summation() {
    let len = crate::limits::MAX_DIMS;
    for table in Kernels::all_supported() {
        for (q, x) in [(0x80u8, 0x80u8), (0x80, 0x7f), (0x7f, 0x7f), (0x7f, 0x80)] {
            for score in SCORES {
                let q = if score == CodeScore::DotI8 && q == 0x80 {
                    0x81
                } else {
                    q
                };
                let (query, row) = (vec![q; len], vec![x; len]);
                let got = i64::from(table.code_row(score, &query, &row));
                assert_eq!(
                    got,
                    defined(score, &query, &row),
                    "{} {score:?} {q} {x}",
                    table.name()
                );
            }
        }
    }
}

#[test]
fn lengths_that_differ_are_refused() {
    for table in Kernels::all_supported() {
        for (query, rows, n) in [(4, 5, 1), (4, 4, 2), (4, 9, 2), (0, 1, 1)] {
            let refused = std::panic::catch_unwind(|| {
                table.code_block(
                    CodeScore::DotI8,
                    &[0; 8][..query],
                    &[0; 16][..rows],
                    &mut vec![0; n],
                );
            });
            assert!(refused.is_err(), "{} {query} {rows} {n}", table.name());
            let refused = std::panic::catch_unwind(|| {
                let queries = [&[0; 8][..query], &[0; 8][..query]];
                table.dot_i8_pairs(queries, &[0; 16][..rows], &mut vec![[0; 2]; n]);
            });
            assert!(refused.is_err(), "{} {query} {rows} {n}", table.name());
        }
    }
}

/// The sums by their definition: byte `k` of row `r` is `block[16 k + r]`.
fn looked_up(tables: &[u8], block: &[u8]) -> [u32; LOOKUP_ROWS] {
    std::array::from_fn(|row| {
        let codes = block.iter().skip(row).step_by(LOOKUP_ROWS).enumerate();
        let sums = codes.map(|(k, code)| {
            let quad = &tables[k / LOOKUP_QUAD * LOOKUP_QUAD * LOOKUP_BYTES..][..LOOKUP_QUAD * LOOKUP_BYTES];
            let byte = |part: usize, value: u8| {
                u32::from(quad[part * 64 + k % LOOKUP_QUAD * 16 + usize::from(value)])
            };
            let number = |part: usize, value: u8| byte(part, value) + (byte(part + 1, value) << LOOKUP_BITS);
            number(0, code & 15) + number(2, code >> 4)
        });
        sums.sum()
    })
}

#[test]
fn every_table_looks_up_the_defined_sums() {
    let lengths: &[usize] = if cfg!(miri) {
        &[0, 4, 12]
    } else {
        &[0, 4, 8, 12, 100, 128, 132, 256, 260, 2000, 16_384]
    };
    for (seed, bytes_of_row) in (0..).zip(lengths) {
        for extreme in [false, true] {
            let (tables, block) = if extreme {
                (
                    vec![(1 << LOOKUP_BITS) - 1; bytes_of_row * LOOKUP_BYTES],
                    vec![0xff; bytes_of_row * LOOKUP_ROWS],
                )
            } else {
                (
                    bytes(bytes_of_row * LOOKUP_BYTES, seed * 2 + 1)
                        .into_iter()
                        .map(|byte| byte & ((1 << LOOKUP_BITS) - 1))
                        .collect(),
                    bytes(bytes_of_row * LOOKUP_ROWS, seed * 2 + 3),
                )
            };
            let expected = looked_up(&tables, &block);
            for table in Kernels::all_supported() {
                let mut sums = [7; LOOKUP_ROWS];
                table.lookup_block(
                    &tables,
                    &block,
                    &mut sums,
                    Ahead::new(block.as_ptr(), block.len()),
                );
                assert_eq!(sums, expected, "{} {bytes_of_row} {extreme}", table.name());
            }
        }
    }
}

#[test]
fn blocks_and_tables_that_do_not_fit_each_other_are_refused() {
    for table in Kernels::all_supported() {
        for (tables, block) in [(256, 63), (255, 64), (0, 64), (64, 16), (512, 64)] {
            let refused = std::panic::catch_unwind(|| {
                table.lookup_block(
                    &vec![0; tables],
                    &vec![0; block],
                    &mut [0; LOOKUP_ROWS],
                    Ahead::NONE,
                );
            });
            assert!(refused.is_err(), "{} {tables} {block}", table.name());
        }
    }
}

#[test]
fn every_table_computes_the_defined_products_with_nibbles() {
    let lengths: &[usize] = if cfg!(miri) {
        &[0, 1, 33, 65]
    } else {
        &[0, 1, 4, 31, 32, 33, 52, 64, 65, 392, 8000]
    };
    for (seed, len) in (0..).zip(lengths) {
        for extreme in [false, true] {
            let half = len.next_multiple_of(NIBBLE_STEP);
            let (code, mut query) = if extreme {
                (vec![0xff; *len], vec![0x80; 2 * half])
            } else {
                (bytes(*len, seed * 3), bytes(2 * half, seed * 3 + 1))
            };
            let other: Vec<u8> = query.iter().map(|q| q.wrapping_add(3)).collect();
            let sum = |query: &[u8]| -> i32 {
                let element = |at: usize| i32::from(query[at].cast_signed());
                let byte = |(at, byte): (usize, &u8)| {
                    i32::from(byte & 15) * element(at) + i32::from(byte >> 4) * element(half + at)
                };
                code.iter().enumerate().map(byte).sum()
            };
            let expected = [sum(&query), sum(&other)];
            for table in Kernels::all_supported() {
                assert_eq!(
                    table.dot_nibbles([&query, &other], &code),
                    expected,
                    "{} {len}",
                    table.name()
                );
                query.push(0);
                let refused = std::panic::catch_unwind(|| table.dot_nibbles([&query, &other], &code));
                assert!(refused.is_err(), "{} {len}", table.name());
                query.pop();
            }
        }
    }
}

const MOST_BYTES: usize = if cfg!(miri) { 70 } else { 200 };
const MOST_ROWS: usize = if cfg!(miri) { 6 } else { 40 };

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn every_table_computes_the_defined_scores(
        query in prop::collection::vec(any::<u8>(), 0..MOST_BYTES), n in 0usize..MOST_ROWS, seed in any::<u64>(),
    ) {
        check(&query, &bytes(n * query.len() + 1, seed), n);
    }
}
