//! How long a search of copied lists takes, for one query and for many, and which part of that each kernel does.
//!
//!     list_latency [ROWS [DIMS [LISTS [PAUSE [many]]]]]
//!
//! PAUSE: microseconds that the process does something else before each search of one query.
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::time::{Duration, Instant};

use vectorgpu_compute::{CopiedIndex, Engine, EngineBuilder, IndexCopies, Profiling};
use vectorgpu_core::Result;
use vectorgpu_core::ivf::copy::{ListCopies, ManyHits, Probed};
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows, RowCode};

/// Searches that are timed, and those before them.
const SEARCHES: usize = 400;
const WARM_UP: usize = 400;
/// Queries that are searched at once.
const QUERIES: usize = 10_000;

fn main() -> Result<()> {
    let only_many = std::env::args().nth(5).is_some();
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().unwrap_or(0));
    let rows = arguments.next().unwrap_or(100_000);
    let dims = arguments.next().unwrap_or(768);
    let lists = arguments.next().unwrap_or(100);
    let pause = Duration::from_micros(arguments.next().unwrap_or(0) as u64);
    let engine = EngineBuilder::new()
        .allow_software(true)
        .vram_limit(64 << 30)
        .open()?;
    println!("{}: {rows} x {dims}, {lists} lists", engine.adapter().name);
    let mut copies = copied(&engine, rows, dims, lists)?;
    for probes in [1, 10, 40, lists].into_iter().filter(|_| !only_many) {
        measure(&engine, &mut copies, dims, lists, probes.min(lists), pause)?;
    }
    for (queries, probes) in [(1000, 20), (QUERIES, 20), (QUERIES, 40), (1000, lists)] {
        measure_many(&engine, &mut copies, dims, lists, queries, probes.min(lists))?;
    }
    Ok(())
}

fn measure_many(
    engine: &Engine,
    copies: &mut IndexCopies,
    dims: usize,
    lists: usize,
    count: usize,
    probes: usize,
) -> Result<()> {
    let mut random = Random(5);
    let values: Vec<f32> = (0..count * dims).map(|_| random.float()).collect();
    let prepared = |query| ListQuery::new(Metric::L2, query).expect("an ordinary query");
    let queries: Vec<ListQuery<'_>> = values.chunks_exact(dims).map(prepared).collect();
    let chosen =
        |query: usize, probe: usize| u32::try_from((query * 131 + probe * 37) % lists).unwrap_or_default();
    let probed: Vec<Vec<u32>> = (0..count)
        .map(|query| {
            let mut probed: Vec<u32> = (0..probes).map(|probe| chosen(query, probe)).collect();
            probed.sort_unstable();
            probed.dedup();
            probed
        })
        .collect();
    let all: Vec<u32> = (0..u32::try_from(lists).unwrap_or_default()).collect();
    let lists_of = if probes == lists {
        Probed::Same(&all)
    } else {
        Probed::Each(&probed)
    };
    let once = |copies: &mut IndexCopies| {
        let mut found = ManyHits::default();
        let started = Instant::now();
        copies.nearest_of_many(&queries, lists_of, 16, &mut found, &mut || true)?;
        Ok::<Duration, vectorgpu_core::Error>(started.elapsed())
    };
    once(copies)?;
    let before = engine.counters();
    let mut times = (0..5).map(|_| once(copies)).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    let each = times[2] / u32::try_from(count).unwrap_or(1);
    println!(
        "{count} queries of {probes} lists at once: {:.1?}, {each:.2?} a query",
        times[2]
    );
    let after = engine.counters();
    println!(
        "    in five: {} submissions, {} waits of {:.1?} in all, {} allocations, {} MB up, {} MB down",
        after.submissions - before.submissions,
        after.waits - before.waits,
        after.wait_time - before.wait_time,
        after.allocations - before.allocations,
        (after.bytes_up - before.bytes_up) >> 20,
        (after.bytes_down - before.bytes_down) >> 20,
    );
    engine.set_profiling(Profiling::Kernels);
    engine.reset_profile();
    once(copies)?;
    for time in engine.profile() {
        println!(
            "    {:<22} {:>6} dispatches, {:.1?} in all",
            time.kernel, time.dispatches, time.total
        );
    }
    engine.set_profiling(Profiling::Off);
    Ok(())
}

fn copied(engine: &Engine, rows: usize, dims: usize, lists: usize) -> Result<IndexCopies> {
    let cache = engine.list_cache();
    println!("adds exactly: {}", cache.adds_exactly(Metric::L2, &mut || true)?);
    let index = CopiedIndex {
        number: 1,
        metric: Metric::L2,
        storage: Storage::F32,
        dims,
        rows: rows as u64,
        label: "vectorgpu.lists",
    };
    let mut copies = IndexCopies::open(&cache, index, Box::new(|_| false), &mut || true)?;
    copies.expect(rows as u64)?;
    let started = Instant::now();
    let mut batch = ListRows::new(Metric::L2, Storage::F32, dims);
    let mut random = Random(7);
    let pool: Vec<f32> = (0..dims * 1009).map(|_| random.float()).collect();
    for list in 0..lists {
        let count = rows * (list + 1) / lists - rows * list / lists;
        let number = u32::try_from(list).unwrap_or_default();
        copies.begin(number, count as u64, &mut || true)?;
        batch.clear();
        for row in 0..count {
            let start = (list * 7919 + row * 31) % (dims * 1008);
            let vector = &pool[start..start + dims];
            batch.push(row as u64 + 1, RowCode::F32(bytemuck::cast_slice(vector)), 0.0);
            if batch.len() == 4096 || row + 1 == count {
                copies.append(number, &batch, &mut || true)?;
                batch.clear();
            }
        }
        copies.finish(number, Default::default());
    }
    println!("copied in {:.2?}", started.elapsed());
    Ok(copies)
}

fn measure(
    engine: &Engine,
    copies: &mut IndexCopies,
    dims: usize,
    lists: usize,
    probes: usize,
    pause: Duration,
) -> Result<()> {
    let mut random = Random(3);
    let mut hits = Vec::new();
    let mut once = |copies: &mut IndexCopies| {
        let query: Vec<f32> = (0..dims).map(|_| random.float()).collect();
        let query = ListQuery::new(Metric::L2, &query).expect("an ordinary query");
        // Other lists each time, as queries of users have: what a cache holds of the last ones is of little use.
        let start = usize::try_from(random.bits() % lists as u64).unwrap_or_default();
        let chosen: Vec<u32> = (0..probes)
            .map(|probe| u32::try_from((start + probe * 37) % lists).unwrap_or_default())
            .collect();
        hits.clear();
        let paused = Instant::now();
        while paused.elapsed() < pause {
            std::hint::spin_loop();
        }
        let started = Instant::now();
        copies.nearest(&query, &chosen, 20, None, &mut hits, &mut || true)?;
        Ok::<Duration, vectorgpu_core::Error>(started.elapsed())
    };
    for _ in 0..WARM_UP {
        once(copies)?;
    }
    let before = engine.counters();
    let mut times = (0..SEARCHES).map(|_| once(copies)).collect::<Result<Vec<_>>>()?;
    let after = engine.counters();
    times.sort_unstable();
    let waited = (after.wait_time - before.wait_time) / u32::try_from(SEARCHES).unwrap_or(1);
    println!(
        "{probes} lists: p50 {:.1?}, p90 {:.1?}, waiting {:.1?}, {} dispatches, {} submissions, {} bytes up",
        times[SEARCHES / 2],
        times[SEARCHES * 9 / 10],
        waited,
        (after.dispatches - before.dispatches) / SEARCHES as u64,
        (after.submissions - before.submissions) / SEARCHES as u64,
        (after.bytes_up - before.bytes_up) / SEARCHES as u64,
    );
    engine.set_profiling(Profiling::Kernels);
    engine.reset_profile();
    for _ in 0..SEARCHES / 4 {
        once(copies)?;
    }
    for time in engine.profile() {
        let each = time.total / u32::try_from(time.dispatches.max(1)).unwrap_or(1);
        println!(
            "    {:<12} {:>6} dispatches, {each:.1?} each",
            time.kernel, time.dispatches
        );
    }
    engine.set_profiling(Profiling::Off);
    Ok(())
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn float(&mut self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
        let unit = (self.bits() >> 40) as f32 / 8_388_608.0;
        unit - 1.0
    }
}
