//! What the distance of two values takes with each of the machine's instruction sets, both in the cache, as the SQL
//! operators compute it: `cargo run --release -p vectorgpu-core --example pair_rates`. Nanoseconds, the best of ten rounds.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]

use std::hint::black_box;
use std::time::Instant;

use vectorgpu_core::cpu::Kernels;
use vectorgpu_core::metric::{CodeScore, Element, Score};
use vectorgpu_core::random::Random;
use vectorgpu_core::sparse::{Sparse, distance};
use vectorgpu_core::vector::{DenseElement, f16};

const CALLS: u32 = 20_000;
const ROUNDS: usize = 10;

fn main() {
    for dims in [100, 768, 1536] {
        let mut random = Random::new(7);
        let mut floats = || -> Vec<f32> { (0..dims).map(|_| random.float() - 0.5).collect() };
        let (a, b) = (floats(), floats());
        let halves = |values: &[f32]| {
            let mut halves = vec![f16::ZERO; dims];
            f16::narrow(values, &mut halves);
            halves
        };
        let (half_a, half_b) = (halves(&a), halves(&b));
        let (half_a, half_b): (&[u8], &[u8]) = (bytemuck::cast_slice(&half_a), bytemuck::cast_slice(&half_b));
        // As many bits as a vector has elements, and a long bit string.
        let bits: [&[u8]; 2] = [&half_a[..dims / 8], half_a];
        let other_bits: [&[u8]; 2] = [&half_b[..dims / 8], half_b];
        for kernels in Kernels::all_supported() {
            let l2 = time(|| kernels.row(Score::SquaredL2, Element::F32, &a, bytemuck::cast_slice(&b)));
            let cosine = time(|| kernels.cosine_parts(&a, &b));
            let half_l2 = time(|| kernels.half_pair(Score::SquaredL2, half_a, half_b));
            let half_cosine = time(|| kernels.half_cosine_parts(half_a, half_b));
            let half_l1 = time(|| kernels.half_pair(Score::L1, half_a, half_b));
            let hamming =
                [0, 1].map(|i| time(|| kernels.code_row(CodeScore::Hamming, bits[i], other_bits[i])));
            println!(
                "{:11} {dims:4}: l2 {l2:.0}, cosine {cosine:.0}; halfvec l2 {half_l2:.0}, cosine {half_cosine:.0}, l1 {half_l1:.0}; \
                 hamming of {} bits {:.1}, of {} bits {:.1}",
                kernels.name(),
                8 * bits[0].len(),
                hamming[0],
                8 * bits[1].len(),
                hamming[1]
            );
        }
        let indices = |step: usize| -> Vec<i32> {
            (0..dims)
                .map(|i| i32::try_from(i * step + i % step).expect("small"))
                .collect()
        };
        let (first, second) = (indices(3), indices(2));
        let sparse = |indices, values| Sparse {
            dims: 3 * dims + 3,
            indices,
            values,
        };
        let (a, b) = (sparse(&first, &a), sparse(&second, &b));
        let [l2, dot] = [
            time(|| distance::l2_squared(a, b)),
            time(|| distance::inner_product(a, b)),
        ];
        println!("sparsevec   {dims:4} elements each: l2 {l2:.0}, inner product {dot:.0}");
    }
}

/// Nanoseconds that a call takes.
fn time<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        best = best.min(started.elapsed().as_secs_f64());
    }
    best / f64::from(CALLS) * 1e9
}
