//! What encoding rows of a `rabitq` index takes: `cargo run --release -p vectorgpu-core --example encode_rate -- DIMS`.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]

use std::time::Instant;

use vectorgpu_core::metric::Metric;
use vectorgpu_core::quantize::rabitq::RabitqEncoder;
use vectorgpu_core::quantize::rotation::Rotation;
use vectorgpu_core::random::Random;

const ROWS: usize = 256;
const ROUNDS: usize = 400;

fn main() {
    let dims = std::env::args()
        .nth(1)
        .and_then(|dims| dims.parse().ok())
        .unwrap_or(768);
    let mut random = Random::new(7);
    let mut rows: Vec<f32> = (0..ROWS * dims).map(|_| random.float() - 0.5).collect();
    let centroid: Vec<f32> = (0..dims).map(|_| random.float() - 0.5).collect();
    let (mut code, mut fine_code) = (Vec::new(), Vec::new());
    for metric in [Metric::L2, Metric::Cosine] {
        let mut encoder = RabitqEncoder::new(metric, dims, 1);
        let started = Instant::now();
        let mut sum = 0.0;
        for _ in 0..ROUNDS {
            for row in rows.chunks_exact(dims) {
                code.clear();
                fine_code.clear();
                let factors = encoder
                    .encode(1, row, 3, &centroid, &mut code, &mut fine_code)
                    .expect("memory");
                sum += factors.base
                    + factors.error
                    + f32::from(code[dims / 16])
                    + f32::from(fine_code[dims / 3]);
            }
        }
        let each = started.elapsed().as_secs_f64() / (ROUNDS * ROWS) as f64;
        println!("{metric:?}: {:.3} us a row, {sum}", each * 1e6);
    }
    let rotation = Rotation::new(dims, 1);
    let started = Instant::now();
    for _ in 0..ROUNDS {
        rows.chunks_exact_mut(dims).for_each(|row| rotation.apply(row));
    }
    let each = started.elapsed().as_secs_f64() / (ROUNDS * ROWS) as f64;
    println!("rotation: {:.3} us a row", each * 1e6);
}
