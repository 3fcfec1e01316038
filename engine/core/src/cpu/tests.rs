//! Every table that this machine supports against an f64 reference and, bit for bit, against the scalar table.

use half::f16;

use super::*;
use crate::backend::{Backend, NearestBy, RowBlock};
use crate::error::ErrorKind;
use crate::metric::{Element, Score};

const DIMS: &[usize] = if cfg!(miri) {
    &[1, 3, 16, 33]
} else {
    &[
        1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 100, 768, 784, 1536, 2000, 16_000,
    ]
};
const ROWS: &[usize] = if cfg!(miri) {
    &[0, 1, 5]
} else {
    &[0, 1, 2, 3, 4, 5, 7, 9, 33]
};
const SCORES: [Score; 3] = [Score::SquaredL2, Score::Dot, Score::L1];
/// Miri knows AVX2, but not the instructions of F16C.
const STORAGES: &[Element] = if cfg!(all(miri, target_feature = "f16c")) {
    &[Element::F32]
} else {
    &[Element::F32, Element::F16]
};

/// A fixed stream of values in `[-1, 1)`.
struct Values(u64);

impl Values {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn vector(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }

    /// Values over the whole exponent range, with zeros, subnormals, infinities and NaN among them.
    fn wild(&mut self, len: usize) -> Vec<f32> {
        (0..len)
            .map(|_| {
                self.next();
                let kind = self.0 >> 59;
                self.next();
                let bits = (self.0 >> 32) as u32;
                match kind {
                    0 => 0.0,
                    1 => -0.0,
                    2 => f32::from_bits(bits & 0x807f_ffff),
                    3 => 65_520.0,
                    4 => f32::from_bits(bits),
                    5 => f32::NAN,
                    _ => f32::from_bits(bits & 0x8fff_ffff | 0x3000_0000),
                }
            })
            .collect()
    }
}

fn encode(element: Element, x: &[f32]) -> Vec<u8> {
    match element {
        Element::F32 => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Element::F16 => x.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
    }
}

fn decode(element: Element, codes: &[u8]) -> Vec<f32> {
    match element {
        Element::F32 => codes
            .chunks(4)
            .map(|c| f32::from_le_bytes(c.try_into().expect("4 bytes")))
            .collect(),
        Element::F16 => codes
            .chunks(2)
            .map(|c| f16::from_le_bytes(c.try_into().expect("2 bytes")).to_f32())
            .collect(),
    }
}

/// The score in f64, and the sum of its terms' absolute values.
fn reference(score: Score, a: &[f32], b: &[f32]) -> (f64, f64) {
    let terms = a.iter().zip(b).map(|(a, b)| match score {
        Score::SquaredL2 => (f64::from(*a) - f64::from(*b)).powi(2),
        Score::Dot => f64::from(*a) * f64::from(*b),
        Score::L1 => (f64::from(*a) - f64::from(*b)).abs(),
    });
    (terms.clone().sum(), terms.map(f64::abs).sum())
}

fn l1(table: &Kernels, a: &[f32], b: &[f32]) -> f32 {
    table.row(Score::L1, Element::F32, a, bytemuck::cast_slice(b))
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// A copy of `bytes` that starts at an odd address.
struct Unaligned(Vec<u8>);

impl Unaligned {
    fn new(bytes: &[u8]) -> Self {
        let mut shifted = vec![0; bytes.len() + 1];
        let start = shifted.as_ptr().addr() % 2;
        shifted[1 - start..][..bytes.len()].copy_from_slice(bytes);
        Self(shifted)
    }

    fn bytes(&self) -> &[u8] {
        let start = 1 - self.0.as_ptr().addr() % 2;
        &self.0[start..start + self.0.len() - 1]
    }
}

#[test]
fn scores_stay_within_the_rounding_bound_of_an_f64_sum() {
    let mut values = Values(1);
    for table in Kernels::all_supported() {
        for (dims, score, element) in cases() {
            let (q, x) = (values.vector(dims), values.vector(dims));
            let codes = encode(element, &x);
            let (exact, magnitude) = reference(score, &q, &decode(element, &codes));
            let got = f64::from(table.row(score, element, &q, &codes));
            // n / 32 chained additions, 5 in the fold, and the rounding of the terms; 2^-24 each.
            let tolerance = magnitude * (dims as f64 / 32.0 + 10.0) * 2f64.powi(-24);
            assert!(
                (got - exact).abs() <= tolerance,
                "{} {score:?} {element:?} {dims}: {got} {exact}",
                table.name
            );
        }
        for dims in DIMS.iter().copied() {
            let (a, b) = (values.vector(dims), values.vector(dims));
            let exact: f64 = a
                .iter()
                .zip(&b)
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs())
                .sum();
            let tolerance = exact * (dims as f64 / 32.0 + 10.0) * 2f64.powi(-24);
            assert!(
                (f64::from(l1(table, &a, &b)) - exact).abs() <= tolerance,
                "{} l1 {dims}",
                table.name
            );
        }
    }
}

#[test]
fn every_table_computes_the_bits_of_the_scalar_one() {
    let mut values = Values(2);
    for table in Kernels::all_supported() {
        for (dims, score, element) in cases() {
            for wild in [false, true] {
                let draw = |values: &mut Values| {
                    if wild {
                        values.wild(dims)
                    } else {
                        values.vector(dims)
                    }
                };
                let (q, x) = (draw(&mut values), draw(&mut values));
                let codes = encode(element, &x);
                let unaligned = Unaligned::new(&codes);
                let expected = scalar::KERNELS.row(score, element, &q, &codes);
                let got = table.row(score, element, &q, unaligned.bytes());
                assert!(
                    same(got, expected),
                    "{} {score:?} {element:?} {dims}: {got} {expected}",
                    table.name
                );
                let (got, expected) = (l1(table, &q, &x), l1(&scalar::KERNELS, &q, &x));
                assert!(same(got, expected), "{} l1 {dims}: {got} {expected}", table.name);
            }
        }
    }
}

#[test]
fn scores_of_f16_rows_are_those_of_the_decoded_rows() {
    let mut values = Values(3);
    for table in Kernels::all_supported() {
        for (dims, score, _) in cases() {
            let (q, x) = (values.vector(dims), values.vector(dims));
            let codes = encode(Element::F16, &x);
            let decoded = encode(Element::F32, &decode(Element::F16, &codes));
            let got = table.row(score, Element::F16, &q, &codes);
            assert!(
                same(got, table.row(score, Element::F32, &q, &decoded)),
                "{} {score:?} {dims}",
                table.name
            );
        }
    }
}

#[test]
fn cosine_parts_are_the_dot_kernels_values() {
    let mut values = Values(4);
    for table in Kernels::all_supported() {
        for dims in DIMS.iter().copied() {
            for wild in [false, true] {
                let draw = |values: &mut Values| {
                    if wild {
                        values.wild(dims)
                    } else {
                        values.vector(dims)
                    }
                };
                let (a, b) = (draw(&mut values), draw(&mut values));
                let dot =
                    |a: &[f32], b: &[f32]| table.row(Score::Dot, Element::F32, a, bytemuck::cast_slice(b));
                let parts = table.cosine_parts(&a, &b);
                assert!(same(parts.dot, dot(&a, &b)), "{} {dims}", table.name);
                assert!(same(parts.norm_sq_a, dot(&a, &a)), "{} {dims}", table.name);
                assert!(same(parts.norm_sq_b, dot(&b, &b)), "{} {dims}", table.name);
            }
        }
    }
}

#[test]
fn block_scores_are_those_of_single_rows() {
    let mut values = Values(5);
    for table in Kernels::all_supported() {
        for (dims, score, element) in cases() {
            for rows in ROWS.iter().copied() {
                let q = values.vector(dims);
                let codes = Unaligned::new(&encode(element, &values.vector(rows * dims)));
                let mut scores = vec![f32::NAN; rows];
                table.block(score, element, &q, codes.bytes(), &mut scores);
                for (i, (row, got)) in codes
                    .bytes()
                    .chunks(element.code_bytes(dims))
                    .zip(&scores)
                    .enumerate()
                {
                    let expected = table.row(score, element, &q, row);
                    assert!(
                        same(*got, expected),
                        "{} {score:?} {element:?} {dims} row {i}",
                        table.name
                    );
                }
            }
        }
    }
}

#[test]
fn l1_blocks_are_those_of_single_vectors() {
    let mut values = Values(9);
    for table in Kernels::all_supported() {
        for (dims, element) in DIMS
            .iter()
            .copied()
            .flat_map(|dims| STORAGES.iter().map(move |element| (dims, *element)))
        {
            for rows in ROWS.iter().copied() {
                let (q, wild) = (values.vector(dims), values.wild(rows * dims));
                let codes = Unaligned::new(&encode(element, &wild));
                let mut scores = vec![f32::NAN; rows];
                table.block(Score::L1, element, &q, codes.bytes(), &mut scores);
                for (row, got) in decode(element, codes.bytes()).chunks(dims).zip(scores) {
                    let expected = l1(&scalar::KERNELS, &q, row);
                    assert!(same(got, expected), "{} {element:?} {dims}", table.name);
                }
            }
        }
    }
}

#[test]
fn f16_codes_round_to_even_clamp_and_come_back() {
    let mut values = Values(6);
    for table in Kernels::all_supported() {
        for dims in DIMS.iter().copied() {
            let mut x = values.wild(dims);
            x[0] = f32::INFINITY;
            let mut codes = vec![0xaa; 2 * dims];
            table.encode_f16(&x, &mut codes);
            let mut back = vec![0.0; dims];
            table.decode_f16(&codes, &mut back);
            for ((x, code), back) in x.iter().zip(codes.chunks(2)).zip(&back) {
                let expected = f16::from_f32_const(x.clamp(-65504.0, 65504.0));
                let code = f16::from_le_bytes(code.try_into().expect("2 bytes"));
                assert!(
                    code.to_bits() == expected.to_bits() || x.is_nan() && code.is_nan(),
                    "{} {x}",
                    table.name
                );
                assert!(same(*back, expected.to_f32_const()), "{} {x}", table.name);
                assert!(x.is_nan() || back.is_finite(), "{} {x}", table.name);
            }
        }
    }
}

#[test]
fn assignment_finds_a_nearest_centroid_and_fused_tables_find_the_same() {
    let mut values = Values(7);
    for (dims, lists, rows) in [
        (1, 1, 3),
        (3, 5, 200),
        (16, 33, 97),
        (100, 245, 130),
        (784, 31, 13),
        (1600, 70, 5),
    ]
    .into_iter()
    .filter(|(dims, lists, rows)| !cfg!(miri) || dims * lists * rows < 1_000)
    {
        for by in [NearestBy::L2, NearestBy::Dot] {
            let (centroids, x) = (values.vector(lists * dims), values.vector(rows * dims));
            let expected = labels(kernels(), &centroids, &x, dims, by);
            for table in Kernels::all_supported() {
                let got = labels(table, &centroids, &x, dims, by);
                let fused = table.name != "scalar" && kernels().name != "scalar";
                assert!(got == expected || !fused, "{} {dims} {by:?}", table.name);
                for (row, label) in x.chunks(dims).zip(got) {
                    let scores: Vec<f64> = centroids.chunks(dims).map(|c| exact_score(by, row, c)).collect();
                    let best = scores.iter().copied().fold(f64::INFINITY, f64::min);
                    // |x|^2 + |c|^2 is at most 4 dims; each of dims additions rounds by 2^-24 of it, twice.
                    let tolerance = 4.0 * (dims * dims) as f64 * 2f64.powi(-23);
                    let label = usize::try_from(label).expect("a label");
                    assert!(
                        scores[label] <= best + tolerance,
                        "{} {dims} {by:?} {best}",
                        table.name
                    );
                }
            }
        }
    }
}

#[test]
fn assignment_takes_the_lower_of_equal_centroids() {
    for table in Kernels::all_supported() {
        for (lists, dims) in [(2, 3), (40, 3), (100, 20)] {
            if cfg!(miri) && dims > 3 {
                continue;
            }
            // Two distinct centroids, each repeated: 0 and 1 are the first of their kinds.
            let centroids: Vec<f32> = (0..lists * dims).map(|i| ((i / dims) % 2) as f32 + 1.0).collect();
            let x: Vec<f32> = (0..30 * dims)
                .map(|i| if (i / dims) % 2 == 0 { 1.1 } else { 2.1 })
                .collect();
            let expected: Vec<u32> = (0..30).map(|i| i % 2).collect();
            assert_eq!(
                labels(table, &centroids, &x, dims, NearestBy::L2),
                expected,
                "{}",
                table.name
            );
        }
    }
}

#[test]
fn assignment_labels_rows_beyond_f32() {
    let centroids = [0.0, 0.0, 1e30, 1e30, -1e30, 1e30];
    let rows = [
        9e29,
        8e29,
        -2e30,
        1e30,
        f32::NAN,
        0.0,
        f32::INFINITY,
        1.0,
        1.0,
        1.0,
    ];
    for table in Kernels::all_supported() {
        let got = labels(table, &centroids, &rows, 2, NearestBy::L2);
        assert_eq!((got[0], got[1], got[4]), (1, 2, 0), "{}", table.name);
        assert!(got.iter().all(|label| *label < 3), "{}", table.name);
        let got = labels(
            table,
            &[1.0, 0.0, 0.5, 0.5, 0.0, 1.0],
            &[3e38, 3e38, 3e38, -3e38],
            2,
            NearestBy::Dot,
        );
        assert_eq!(got, [0, 0], "{}", table.name);
    }
}

#[test]
fn assignment_does_not_depend_on_which_rows_come_together() {
    let mut values = Values(8);
    let (dims, lists, rows) = if cfg!(miri) { (3, 33, 9) } else { (50, 67, 211) };
    let (centroids, x) = (values.vector(lists * dims), values.vector(rows * dims));
    for table in Kernels::all_supported() {
        let together = labels(table, &centroids, &x, dims, NearestBy::L2);
        let alone: Vec<u32> = x
            .chunks(dims)
            .flat_map(|row| labels(table, &centroids, row, dims, NearestBy::L2))
            .collect();
        assert_eq!(together, alone, "{}", table.name);
    }
}

#[test]
#[cfg_attr(miri, ignore = "scores megabytes, in kernels that other tests check")]
fn work_stops_when_the_closure_says_so() {
    let mut backend = CpuBackend::new();
    let dims = 1000;
    let codes = vec![0u8; 4000 * 600];
    let block = RowBlock {
        codes: &codes,
        element: Element::F32,
        dims,
    };
    let query = vec![0.0; dims];
    let stopped = backend.score(Score::Dot, &query, block, &mut Vec::new(), &mut || false);
    assert_eq!(stopped.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    let mut nearest = backend
        .nearest(&vec![0.0; 500 * dims], dims, NearestBy::L2, &mut || true)
        .expect("nearest");
    let mut calls = 0;
    let stopped = nearest.assign(&vec![0.0; 600 * dims], &mut [0; 600], &mut || {
        calls += 1;
        calls < 3
    });
    assert_eq!(stopped.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert_eq!(calls, 3);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let mut backend = CpuBackend::new();
    let block = RowBlock {
        codes: &[0; 10],
        element: Element::F32,
        dims: 2,
    };
    let refused = backend.score(Score::Dot, &[0.0; 2], block, &mut Vec::new(), &mut || true);
    assert_eq!(refused.expect_err("10 bytes").kind(), ErrorKind::InvalidArgument);
    for centroids in [&[][..], &[1.0; 3]] {
        let refused = backend
            .nearest(centroids, 2, NearestBy::L2, &mut || true)
            .map(|_| ());
        assert_eq!(
            refused.expect_err("no rows of 2").kind(),
            ErrorKind::InvalidArgument
        );
    }
    let mut nearest = backend
        .nearest(&[1.0, 2.0], 2, NearestBy::L2, &mut || true)
        .expect("nearest");
    let refused = nearest.assign(&[0.0; 3], &mut [0; 2], &mut || true);
    assert_eq!(refused.expect_err("3 values").kind(), ErrorKind::InvalidArgument);
}

fn cases() -> impl Iterator<Item = (usize, Score, Element)> {
    DIMS.iter()
        .copied()
        .flat_map(|dims| SCORES.map(|score| (dims, score)))
        .flat_map(|(dims, score)| STORAGES.iter().map(move |element| (dims, score, *element)))
}

fn labels(table: &'static Kernels, centroids: &[f32], rows: &[f32], dims: usize, by: NearestBy) -> Vec<u32> {
    let mut labels = vec![u32::MAX; rows.len() / dims];
    let mut nearest = CpuBackend::with_kernels(table)
        .nearest(centroids, dims, by, &mut || true)
        .expect("nearest");
    nearest.assign(rows, &mut labels, &mut || true).expect("assign");
    labels
}

fn exact_score(by: NearestBy, row: &[f32], centroid: &[f32]) -> f64 {
    match by {
        NearestBy::L2 => reference(Score::SquaredL2, row, centroid).0,
        NearestBy::Dot => -reference(Score::Dot, row, centroid).0,
    }
}
