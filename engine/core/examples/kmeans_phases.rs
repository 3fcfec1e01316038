//! What k-means takes, and how well it clusters:
//! `cargo run --release -p vectorgpu-core --example kmeans_phases -- ROWS DIMS LISTS THREADS`.
//!
//! Rows are drawn around twice as many centres as there are lists, so they neither separate nor are noise. The backend holds them, as a
//! GPU does, so gathering them counts as assigning. Prints the seconds of all, of those the seconds in which rows were assigned, what is
//! left for the host beside a GPU, and the inertia for each row.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]

use std::time::Instant;

use vectorgpu_core::Result;
use vectorgpu_core::backend::{
    Backend, HeldRows, KeepWaiting, Meter, Metered, Nearest, NearestBy, Part, RowBlock,
};
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::crew::Crew;
use vectorgpu_core::distance;
use vectorgpu_core::kmeans::{ITERATIONS, KmeansTask, kmeans};
use vectorgpu_core::metric::Score;
use vectorgpu_core::random::Random;

/// Rows that find their cluster together.
const ROWS_TOGETHER: usize = 1024;

fn main() {
    let mut given = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |assumed: usize| given.next().and_then(Result::ok).unwrap_or(assumed).max(1);
    let (rows, dims, lists) = (next(50_000), next(768), next(1000));
    let crew = Crew::new(next(1), || Box::new(()));
    let samples = around_centres(rows, dims, 2 * lists);
    for by in [NearestBy::L2, NearestBy::Dot] {
        let task = KmeansTask {
            samples: &samples,
            dims,
            lists,
            by,
            seed: 1,
            max_iterations: ITERATIONS,
        };
        let meter = Meter::default();
        let mut backend = Metered::new(Box::new(Holding(CpuBackend::new())), meter.clone());
        let started = Instant::now();
        let centroids = kmeans(&mut backend, crew, &task, &mut |_| (), &mut || true).expect("clusters");
        let (all, (_, assigning)) = (started.elapsed(), meter.read());
        println!(
            "{by:?}: {:.3} s, assigning {:.3} s, host {:.3} s, inertia {:.9} a row",
            all.as_secs_f64(),
            assigning.as_secs_f64(),
            all.saturating_sub(assigning).as_secs_f64(),
            inertia(&task, &centroids) / rows as f64
        );
    }
}

/// The CPU, which holds rows.
struct Holding(CpuBackend);

struct Held {
    rows: Vec<f32>,
    dims: usize,
}

impl Backend for Holding {
    fn label(&self) -> &str {
        self.0.label()
    }

    fn is_exact(&self) -> bool {
        self.0.is_exact()
    }

    fn batch_bytes(&self) -> usize {
        self.0.batch_bytes()
    }

    fn score(
        &mut self,
        score: Score,
        query: &[f32],
        block: RowBlock<'_>,
        scores: &mut Vec<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        self.0.score(score, query, block, scores, keep_waiting)
    }

    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>> {
        self.0.nearest(centroids, dims, by, keep_waiting)
    }

    fn hold(
        &mut self,
        rows: &[f32],
        dims: usize,
        _: &mut KeepWaiting<'_>,
    ) -> Result<Option<Box<dyn HeldRows>>> {
        let rows = rows.to_vec();
        Ok(Some(Box::new(Held { rows, dims })))
    }
}

impl HeldRows for Held {
    fn assign(
        &mut self,
        parts: &mut [Part<'_>],
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let row = |number: &u32| &self.rows[*number as usize * self.dims..][..self.dims];
        for part in parts {
            let mut nearest = CpuBackend::new().nearest(part.centroids, self.dims, by, keep_waiting)?;
            let labels = part.labels.chunks_mut(ROWS_TOGETHER);
            for (numbers, labels) in part.rows.chunks(ROWS_TOGETHER).zip(labels) {
                let rows: Vec<f32> = numbers.iter().flat_map(row).copied().collect();
                nearest.assign(&rows, labels, keep_waiting)?;
            }
        }
        Ok(())
    }
}

fn around_centres(rows: usize, dims: usize, centres: usize) -> Vec<f32> {
    let mut random = Random::new(7);
    let mut float = move || random.float() + random.float() - 1.0;
    let centres: Vec<f32> = (0..centres * dims).map(|_| float()).collect();
    let of_centre = centres.chunks_exact(dims).cycle().take(rows);
    of_centre
        .flat_map(|centre| centre.iter().map(|c| c + float()).collect::<Vec<_>>())
        .collect()
}

/// The sum of squared distances from the nearest centroid, of directions for `Dot`.
fn inertia(task: &KmeansTask<'_>, centroids: &[f32]) -> f64 {
    let mut labels = vec![0; task.samples.len() / task.dims];
    CpuBackend::new()
        .nearest(centroids, task.dims, task.by, &mut || true)
        .and_then(|mut nearest| nearest.assign(task.samples, &mut labels, &mut || true))
        .expect("labels");
    let rows = task.samples.chunks_exact(task.dims).zip(labels);
    rows.map(|(row, label)| {
        let centroid = &centroids[label as usize * task.dims..][..task.dims];
        match task.by {
            NearestBy::L2 => distance::l2(row, centroid).powi(2),
            NearestBy::Dot => 2.0 * distance::cosine(row, centroid),
        }
    })
    .sum()
}
