#![allow(dead_code, reason = "each program that shares it uses a part")]
//! Work for measuring the kernels: shared by the Criterion suite and the autotune command.
//!
//! Every workload goes over data in device memory that is filled with noise; zeros would flatter the hardware.

use std::time::{Duration, Instant};

use vectorgpu_compute::{Array, Assignment, Engine, RowArray, RowFormat, RowScore, Step};
use vectorgpu_core::Result;
use vectorgpu_core::backend::NearestBy;

/// A label for everything measured.
const LABEL: &str = "vectorgpu.measure";

/// Something to measure.
pub(crate) struct Workload {
    /// The kernel that it is about.
    pub(crate) kernel: &'static str,
    /// The kernel and the shape.
    pub(crate) name: String,
    /// Bytes that must pass through device memory.
    pub(crate) bytes: u64,
    /// Multiply-adds, where those are what limits it; 0 elsewhere.
    pub(crate) multiply_adds: u64,
    record: Box<Record>,
}

type Record = dyn Fn(&mut Step) -> Result<()>;

/// How large the data is.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Bytes of rows that a scan reads.
    pub(crate) scan_bytes: usize,
    /// Side of the matrices.
    pub(crate) side: usize,
    /// Rows and lists of an assignment.
    pub(crate) assign: (usize, usize),
    /// Values of a selection.
    pub(crate) values: usize,
}

impl Scale {
    /// Far beyond the caches of a large GPU.
    pub(crate) const LARGE: Self = Self {
        scan_bytes: 1280 << 20,
        side: 4096,
        assign: (500_000, 4000),
        values: 1_000_000,
    };
    /// Little enough for a software driver.
    pub(crate) const SMALL: Self = Self {
        scan_bytes: 2 << 20,
        side: 128,
        assign: (512, 64),
        values: 20_000,
    };
}

/// What the device can do at most.
pub(crate) struct Ceilings {
    /// Bytes a second of a plain read.
    pub(crate) bytes_per_second: f64,
    /// Multiply-adds a second in registers.
    pub(crate) multiply_adds_per_second: f64,
}

fn go_on() -> bool {
    true
}

/// Bytes of noise: small f16 and f32 numbers alike, as every format's bits stay below those of infinity.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // f32 and f16 patterns between 0.5 and 2, of either sign.
        0x3800_3800_3800_3800 | state & 0x87ff_87ff_87ff_87ff
    };
    (0..bytes.div_ceil(8))
        .flat_map(|_| next().to_le_bytes())
        .take(bytes)
        .collect()
}

/// Rows of noise: one block of it, written again and again.
fn rows(engine: &Engine, format: RowFormat, count: usize, dims: usize) -> Result<RowArray> {
    let array = engine.row_array(LABEL, format, count, dims, &mut go_on)?;
    let row_bytes = format.row_bytes(dims);
    let step = ((8 << 20) / row_bytes).max(1);
    let block = noise(step * row_bytes);
    for first in (0..count).step_by(step) {
        let some = step.min(count - first) * row_bytes;
        engine.write_rows(&array, first, &block[..some], &mut go_on)?;
    }
    Ok(array)
}

fn numbers(engine: &Engine, count: usize) -> Result<Array<f32>> {
    let bytes = noise(count * 4);
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    let array = engine.array(LABEL, count, &mut go_on)?;
    engine.write(&array, &values, &mut go_on)?;
    Ok(array)
}

fn workload(
    kernel: &'static str,
    shape: &str,
    bytes: usize,
    multiply_adds: usize,
    record: impl Fn(&mut Step) -> Result<()> + 'static,
) -> Workload {
    Workload {
        kernel,
        name: format!("{kernel} {shape}"),
        bytes: bytes as u64,
        multiply_adds: multiply_adds as u64,
        record: Box::new(record),
    }
}

/// How workloads are made: those of one maker share their data, and only one maker's lie in device memory at a time.
pub(crate) type Maker = fn(&Engine, Scale) -> Result<Vec<Workload>>;

/// Every maker, and the kernels that its workloads are about.
pub(crate) const MAKERS: &[(&[&str], Maker)] = &[
    (&["score"], scans_768),
    (&["score"], scans_1536),
    (&["score"], scans_100),
    (&["score_int8", "score_bits"], codes),
    (
        &["normalize", "quantize_int8", "quantize_bits", "to_f16"],
        row_kernels,
    ),
    (&["add"], elements),
    (&["kmeans_assign"], assignments),
    (&["kmeans_assign_cooperative"], cooperative_assignments),
    (&["kmeans_update"], updates),
    (&["matmul"], products),
    (&["top_k", "select", "sort_scatter", "argmax"], selections),
];

fn scans(engine: &Engine, scale: Scale, dims: usize) -> Result<Vec<Workload>> {
    let mut made = Vec::new();
    for format in [RowFormat::F32, RowFormat::F16] {
        let count = scale.scan_bytes / format.stride_bytes(dims);
        let data = rows(engine, format, count, dims)?;
        let query = rows(engine, RowFormat::F32, 1, dims)?;
        let scores = engine.array::<f32>(LABEL, count, &mut go_on)?;
        let metrics = [
            ("l2", RowScore::SquaredL2),
            ("cosine", RowScore::Cosine { query_norm: 1.0 }),
        ];
        for (name, score) in metrics {
            let (data, query, scores) = (data.clone(), query.clone(), scores.clone());
            let shape = format!("{name} {format:?} {count} x {dims}");
            let bytes = count * (format.row_bytes(dims) + 4);
            made.push(workload("score", &shape, bytes, 0, move |step| {
                step.score(score, &query, &data, &scores)
            }));
        }
    }
    Ok(made)
}

fn scans_768(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    scans(engine, scale, 768)
}

fn scans_1536(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    scans(engine, scale, 1536)
}

fn scans_100(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    scans(engine, scale, 100)
}

fn codes(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    use vectorgpu_compute::{BitScore, Int8Rows, Int8Score};
    let dims = 768;
    let count = scale.scan_bytes / RowFormat::Int8.stride_bytes(dims);
    let int8 = |count| -> Result<Int8Rows> {
        let codes = rows(engine, RowFormat::Int8, count, dims)?;
        Int8Rows::new(codes, numbers(engine, count)?)
    };
    let (query, data) = (int8(1)?, int8(count)?);
    let scores = engine.array::<f32>(LABEL, count, &mut go_on)?;
    let bytes = count * (dims + 8);
    let int8 = workload(
        "score_int8",
        &format!("dot {count} x {dims}"),
        bytes,
        0,
        move |step| step.score_int8(Int8Score::Dot, &query, &data, &scores),
    );
    let count = scale.scan_bytes / 4 / RowFormat::Bits.stride_bytes(dims);
    let query = rows(engine, RowFormat::Bits, 1, dims)?;
    let data = rows(engine, RowFormat::Bits, count, dims)?;
    let scores = engine.array::<f32>(LABEL, count, &mut go_on)?;
    let bytes = count * (dims / 8 + 4);
    let bits = workload(
        "score_bits",
        &format!("hamming {count} x {dims}"),
        bytes,
        0,
        move |step| step.score_bits(BitScore::Hamming, &query, &data, &scores),
    );
    Ok(vec![int8, bits])
}

fn row_kernels(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    let dims = 768;
    let count = scale.scan_bytes / 2 / RowFormat::F32.stride_bytes(dims);
    let data = rows(engine, RowFormat::F32, count, dims)?;
    let shape = format!("{count} x {dims}");
    let mut made = Vec::new();
    let normal = engine.row_array(LABEL, RowFormat::F32, count, dims, &mut go_on)?;
    let source = data.clone();
    made.push(workload("normalize", &shape, count * dims * 8, 0, move |step| {
        step.normalize(&source, &normal)
    }));
    let int8 = engine.int8_rows(LABEL, count, dims, &mut go_on)?;
    let source = data.clone();
    made.push(workload(
        "quantize_int8",
        &shape,
        count * dims * 5,
        0,
        move |step| step.quantize_int8(&source, &int8),
    ));
    let bits = engine.row_array(LABEL, RowFormat::Bits, count, dims, &mut go_on)?;
    let source = data.clone();
    made.push(workload(
        "quantize_bits",
        &shape,
        count * dims * 4,
        0,
        move |step| step.quantize_bits(&source, &bits),
    ));
    let scaled = engine.scaled_rows(LABEL, count, dims, &mut go_on)?;
    made.push(workload("to_f16", &shape, count * dims * 6, 0, move |step| {
        step.to_f16(&data, &scaled)
    }));
    Ok(made)
}

fn elements(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    let count = scale.scan_bytes / 16;
    let (a, b) = (numbers(engine, count)?, numbers(engine, count)?);
    let sum = engine.array::<f32>(LABEL, count, &mut go_on)?;
    Ok(vec![workload(
        "add",
        &format!("{count}"),
        count * 12,
        0,
        move |step| step.add(&a, 2.0, &b, &sum),
    )])
}

fn result(engine: &Engine, count: usize) -> Result<Assignment> {
    Ok(Assignment {
        labels: engine.array(LABEL, count, &mut go_on)?,
        best: engine.array(LABEL, count, &mut go_on)?,
    })
}

fn assignments(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    let dims = 768;
    let (count, lists) = (scale.assign.0 / 4, scale.assign.1 / 4);
    let (data, centroids) = (
        rows(engine, RowFormat::F32, count, dims)?,
        rows(engine, RowFormat::F32, lists, dims)?,
    );
    let (norms, nearest) = (numbers(engine, lists)?, result(engine, count)?);
    let shape = format!("{count} x {dims}, {lists} lists");
    let work = count * lists * dims;
    Ok(vec![workload("kmeans_assign", &shape, 0, work, move |step| {
        step.kmeans_assign(NearestBy::L2, &centroids, &norms, &data, &nearest)
    })])
}

/// With the conversion to f16, which belongs to the assignment of new rows. Twice the rows of the scale, in two arrays.
fn cooperative_assignments(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    if !engine.adapter().cooperative_matrix {
        return Ok(Vec::new());
    }
    let dims = 768;
    let (count, lists) = scale.assign;
    let centroids = rows(engine, RowFormat::F32, lists, dims)?;
    let scaled_centroids = engine.scaled_rows(LABEL, lists, dims, &mut go_on)?;
    let scaled = engine.scaled_rows(LABEL, count, dims, &mut go_on)?;
    let norms = numbers(engine, lists)?;
    let halves = [
        (rows(engine, RowFormat::F32, count, dims)?, result(engine, count)?),
        (rows(engine, RowFormat::F32, count, dims)?, result(engine, count)?),
    ];
    let shape = format!("and to_f16 {} x {dims}, {lists} lists", 2 * count);
    let work = 2 * count * lists * dims;
    let record = move |step: &mut Step| {
        step.to_f16(&centroids, &scaled_centroids)?;
        for (data, nearest) in &halves {
            step.to_f16(data, &scaled)?;
            step.kmeans_assign_cooperative(NearestBy::L2, &scaled_centroids, &norms, &scaled, nearest)?;
        }
        Ok(())
    };
    Ok(vec![workload(
        "kmeans_assign_cooperative",
        &shape,
        0,
        work,
        record,
    )])
}

fn updates(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    let dims = 768;
    let (count, lists) = scale.assign;
    let data = numbers(engine, count * dims)?;
    let labels: Vec<u32> = (0..)
        .take(count)
        .map(|row: u32| row.wrapping_mul(2_654_435_761) % u32::try_from(lists).unwrap_or(1))
        .collect();
    let labels_array = engine.array::<u32>(LABEL, count, &mut go_on)?;
    engine.write(&labels_array, &labels, &mut go_on)?;
    let centroids = numbers(engine, lists * dims)?;
    let counts = engine.array::<u32>(LABEL, lists, &mut go_on)?;
    let shape = format!("{count} x {dims}, {lists} lists");
    let bytes = count * (dims * 4 + 4);
    let record =
        move |step: &mut Step| step.kmeans_update(&data, &labels_array, &centroids, &counts, &mut go_on);
    Ok(vec![workload("kmeans_update", &shape, bytes, 0, record)])
}

fn products(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    let side = scale.side;
    let mut made = Vec::new();
    for format in [RowFormat::F32, RowFormat::F16] {
        let (a, b) = (
            rows(engine, format, side, side)?,
            rows(engine, format, side, side)?,
        );
        let c = engine.array::<f32>(LABEL, side * side, &mut go_on)?;
        let units = if format == RowFormat::F16 && engine.adapter().cooperative_matrix {
            " on matrix units"
        } else {
            ""
        };
        let shape = format!("{format:?} {side} x {side} x {side}{units}");
        made.push(workload("matmul", &shape, 0, side * side * side, move |step| {
            step.matmul(&a, &b, &c)
        }));
    }
    Ok(made)
}

fn selections(engine: &Engine, scale: Scale) -> Result<Vec<Workload>> {
    let count = scale.values;
    let mut made = Vec::new();
    for k in [10, 256] {
        let values = numbers(engine, count)?;
        let (best, at) = (
            engine.array::<f32>(LABEL, k, &mut go_on)?,
            engine.array::<u32>(LABEL, k, &mut go_on)?,
        );
        let shape = format!("{k} of {count}");
        made.push(workload("top_k", &shape, count * 4, 0, move |step| {
            step.top_k(&values, k, &best, &at, &mut go_on)
        }));
    }
    let (values, k) = (numbers(engine, count * 10)?, (count / 100).max(1));
    let (best, at) = (
        engine.array::<f32>(LABEL, k, &mut go_on)?,
        engine.array::<u32>(LABEL, k, &mut go_on)?,
    );
    let (source, shape) = (values.clone(), format!("{k} of {}", count * 10));
    made.push(workload("select", &shape, count * 40, 0, move |step| {
        step.select(&source, None, &best, &at, &mut go_on)
    }));
    let sorted = engine.array::<f32>(LABEL, count * 10, &mut go_on)?;
    let at = engine.array::<u32>(LABEL, count * 10, &mut go_on)?;
    let (source, shape) = (values.clone(), format!("sort of {}", count * 10));
    made.push(workload("sort_scatter", &shape, count * 80, 0, move |step| {
        step.sort(&source, None, &sorted, &at, &mut go_on)
    }));
    let found = engine.array(LABEL, 1, &mut go_on)?;
    made.push(workload(
        "argmax",
        &format!("of {}", count * 10),
        count * 40,
        0,
        move |step| step.argmax(&values, &found, &mut go_on),
    ));
    Ok(made)
}

impl Workload {
    /// Runs it once; the time is the device's own where it can tell, else the host's.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Duration> {
        let mut step = engine.step();
        (self.record)(&mut step)?;
        engine.reset_profile();
        let started = Instant::now();
        step.run(&mut go_on)?;
        let elapsed = started.elapsed();
        let on_device: Duration = engine.profile().iter().map(|time| time.total).sum();
        Ok(if on_device.is_zero() { elapsed } else { on_device })
    }

    /// The median of `count` runs after one to warm up.
    pub(crate) fn median(&self, engine: &Engine, count: usize) -> Result<Duration> {
        self.run(engine)?;
        let mut times = (0..count).map(|_| self.run(engine)).collect::<Result<Vec<_>>>()?;
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }
}

/// Keeps the device busy for `time`: an idle one runs at half its clock.
pub(crate) fn warm_up(engine: &Engine, time: Duration) -> Result<()> {
    let software = engine.adapter().software;
    let (count, rounds) = if software { (4096, 64) } else { (1 << 20, 8192) };
    let results = engine.array::<f32>(LABEL, count, &mut go_on)?;
    let started = Instant::now();
    loop {
        let mut step = engine.step();
        step.multiply_add(rounds, 1.0, &results)?;
        step.run(&mut go_on)?;
        if started.elapsed() >= time {
            return Ok(());
        }
    }
}

/// Measures what the device can do at most.
pub(crate) fn ceilings(engine: &Engine, scale: Scale) -> Result<Ceilings> {
    let count = scale.scan_bytes / 4;
    let (values, found) = (
        numbers(engine, count)?,
        engine.array::<u32>(LABEL, 8448 * 256, &mut go_on)?,
    );
    let reader = workload("read", "of memory", count * 4, 0, move |step| {
        step.read(&values, &found)
    });
    let bytes = to_float(count * 4);
    let mut seconds = Vec::new();
    // Filling the memory left the device idle.
    warm_up(
        engine,
        if scale.side < 1000 {
            Duration::ZERO
        } else {
            Duration::from_secs(2)
        },
    )?;
    for _ in 0..9 {
        seconds.push(reader.run(engine)?.as_secs_f64());
    }
    drop(reader);
    let results = engine.array::<f32>(LABEL, if scale.side < 1000 { 4096 } else { 1 << 20 }, &mut go_on)?;
    let mut rates = Vec::new();
    for _ in 0..7 {
        let mut step = engine.step();
        let count = step.multiply_add(if scale.side < 1000 { 64 } else { 8192 }, 1.0, &results)?;
        engine.reset_profile();
        let started = Instant::now();
        step.run(&mut go_on)?;
        let on_device: Duration = engine.profile().iter().map(|time| time.total).sum();
        let time = if on_device.is_zero() {
            started.elapsed()
        } else {
            on_device
        };
        rates.push(to_float(usize::try_from(count).unwrap_or(usize::MAX)) / time.as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    rates.sort_by(f64::total_cmp);
    Ok(Ceilings {
        bytes_per_second: bytes / seconds[seconds.len() / 2],
        multiply_adds_per_second: rates[rates.len() / 2],
    })
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
pub(crate) fn to_float(count: usize) -> f64 {
    count as f64
}
