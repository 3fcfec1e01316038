//! Linear layers over weights of every type against their CPU twins.

mod support;

use half::{bf16, f16};
use support::{Random, UNIT, engine, filled, go_on};
use vectorgpu_compute::{
    Array, DeviceKind, Engine, EngineBuilder, Feature, Gelu, LayerNorm, LinearInput, LinearWeights, Outcome,
    RmsNorm, WeightRows, WeightType, reference,
};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::blocks::BlockType;

/// The machine's device as it is, and without what is optional. Compiling a kernel for software Vulkan takes longer than running
/// it, so no more of them than take every way of a kernel.
fn devices(test: &str) -> impl Iterator<Item = Engine> {
    let plain = EngineBuilder::new()
        .without(Feature::Subgroups)
        .without(Feature::Immediates)
        .without(Feature::CooperativeMatrix);
    [EngineBuilder::new(), plain]
        .into_iter()
        .filter_map(move |builder| engine(&builder, test))
}

/// Types of several kinds of numbers and factors, where not each has to be shown: software Vulkan compiles for seconds.
const SOME: [WeightType; 4] = [
    WeightType::BF16,
    WeightType::Blocks(BlockType::Q5_1),
    WeightType::Blocks(BlockType::Q4K),
    WeightType::Blocks(BlockType::Q3K),
];

/// Where the f16 of a block are, whose other bytes may be anything.
fn halves(of_type: BlockType) -> &'static [usize] {
    match of_type {
        BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => &[0],
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        BlockType::Q2K => &[80, 82],
        BlockType::Q3K => &[108],
        BlockType::Q6K => &[208],
    }
}

/// A matrix of some type with random weights, and the numbers that it stands for.
struct Matrix {
    weight_type: WeightType,
    inputs: usize,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl Matrix {
    fn random(weight_type: WeightType, outputs: usize, inputs: usize, random: &mut Random) -> Self {
        let bytes: Vec<u8> = match weight_type {
            WeightType::F32 => {
                let floats = random.floats(outputs * inputs);
                floats.iter().flat_map(|x| x.to_le_bytes()).collect()
            }
            WeightType::F16 => {
                let floats = random.floats(outputs * inputs);
                floats
                    .iter()
                    .flat_map(|&x| f16::from_f32(x).to_le_bytes())
                    .collect()
            }
            WeightType::BF16 => {
                let floats = random.floats(outputs * inputs);
                floats
                    .iter()
                    .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
                    .collect()
            }
            WeightType::Blocks(of_type) => {
                let count = outputs * inputs / of_type.elements();
                (0..count).flat_map(|_| random_block(of_type, random)).collect()
            }
        };
        let values = reference::weights(weight_type, inputs, &bytes).unwrap();
        Self {
            weight_type,
            inputs,
            bytes,
            values,
        }
    }

    fn outputs(&self) -> usize {
        self.values.len() / self.inputs
    }

    fn rows(&self) -> WeightRows<'_> {
        WeightRows {
            weight_type: self.weight_type,
            outputs: self.outputs(),
            bytes: &self.bytes,
        }
    }
}

fn random_block(of_type: BlockType, random: &mut Random) -> Vec<u8> {
    let mut block: Vec<u8> = (0..of_type.bytes())
        .map(|_| random.bits().to_le_bytes()[3])
        .collect();
    for &at in halves(of_type) {
        block[at..at + 2].copy_from_slice(&f16::from_f32(random.float() * 0.01).to_le_bytes());
    }
    block
}

fn upload(engine: &Engine, matrices: &[&Matrix]) -> LinearWeights {
    let rows: Vec<_> = matrices.iter().map(|matrix| matrix.rows()).collect();
    engine
        .upload_weights("vectorgpu.test", matrices[0].inputs, &rows, &mut go_on)
        .unwrap()
}

fn floats(engine: &Engine, values: &[f32]) -> Array<f32> {
    engine.upload("vectorgpu.test", values, &mut go_on).unwrap()
}

/// What sums of `magnitude` may be off by, where numbers are of up to `largest`: rounding x, each term's own roundings, and
/// the additions that it passes through. Matrix units multiply f16.
fn allowed(magnitude: f64, inputs: usize, units: bool) -> f64 {
    let terms = f64::from(u32::try_from(inputs).unwrap());
    let of_inputs = if units {
        2.0 * 2.0_f64.powi(-11)
    } else {
        1.0 / 32_512.0
    };
    magnitude * (of_inputs + (terms + 40.0) * UNIT) + 1e-30
}

/// Whether many rows are multiplied on matrix units.
fn has_units(engine: &Engine) -> bool {
    engine.adapter().cooperative_matrix && engine.adapter().kind != DeviceKind::Software
}

/// What each sum may be off by. The rounding of x is that of the largest of 32, which stands for each of them.
fn bounds(x: &[f64], values: &[f32], (inputs, units): (usize, bool)) -> Vec<f64> {
    let largest: Vec<f64> = x
        .chunks(32)
        .flat_map(|x| vec![x.iter().fold(0.0_f64, |most, x| most.max(x.abs())); x.len()])
        .collect();
    let absolute: Vec<f32> = values.iter().map(|x| x.abs()).collect();
    let magnitudes = reference::linear(&largest, &absolute, inputs).into_iter();
    magnitudes
        .map(|magnitude| allowed(magnitude, inputs, units))
        .collect()
}

/// Compares `got` with `want`, which is what `x`, `[rows, inputs]`, gives with weights of `values`.
#[track_caller]
fn compare(got: &[f32], want: &[f64], x: &[f64], values: &[f32], (inputs, units): (usize, bool), what: &str) {
    let bounds = bounds(x, values, (inputs, units));
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, ((got, want), allowed)) in got.iter().zip(want).zip(bounds).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(
            error <= allowed,
            "{what}: element {at}: {got} for {want}, off by {error}, not {allowed}"
        );
    }
}

fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Runs a layer over `x` into results that are `filling` before.
fn run(engine: &Engine, weights: &LinearWeights, x: &[f32], outcome: Outcome, filling: f32) -> Vec<f32> {
    let rows = x.len() / weights.inputs();
    let out = filled(engine, rows * weights.outputs(), filling);
    let mut step = engine.step();
    let input = LinearInput {
        x: &floats(engine, x),
        norm: None,
    };
    step.linear(weights, input, &out, outcome, &mut go_on).unwrap();
    step.run(&mut go_on).unwrap();
    engine.download(&out, &mut go_on).unwrap()
}

/// Checks what a layer of `matrix` makes of `x` against its twin.
fn check_against_twin(engine: &Engine, weights: &LinearWeights, matrix: &Matrix, x: &[f32], what: &str) {
    let (outputs, inputs) = (matrix.outputs(), matrix.values.len() / matrix.outputs());
    let got = run(engine, weights, x, Outcome::Written, 7.0);
    let x = exact(x);
    let want = reference::linear(&x, &matrix.values, inputs);
    let how = (inputs, has_units(engine));
    compare(
        &got,
        &want,
        &x,
        &matrix.values,
        how,
        &format!("{what} {outputs} x {inputs}"),
    );
}

#[test]
fn layers_agree_with_their_twin_for_every_type_and_number_of_rows() {
    let mut random = Random(61);
    for engine in devices("layers_agree_with_their_twin_for_every_type_and_number_of_rows") {
        for weight_type in WeightType::all() {
            for (outputs, inputs) in [(37, 256), (5, 1536)] {
                if inputs > 256 && !SOME.contains(&weight_type) {
                    continue;
                }
                let matrix = Matrix::random(weight_type, outputs, inputs, &mut random);
                let weights = upload(&engine, &[&matrix]);
                for rows in [1, 3, 9] {
                    let x = random.floats(rows * inputs);
                    check_against_twin(
                        &engine,
                        &weights,
                        &matrix,
                        &x,
                        &format!("{weight_type:?} of {rows} rows"),
                    );
                }
            }
        }
    }
}

#[test]
fn layers_agree_with_their_twin_for_the_shapes_of_models() {
    let mut random = Random(62);
    for engine in devices("layers_agree_with_their_twin_for_the_shapes_of_models") {
        for weight_type in WeightType::all() {
            for (outputs, inputs) in [(576, 64), (130, 576), (3, 896), (33, 4096), (9, 14_336)] {
                if weight_type.row_bytes(inputs).is_err() {
                    continue;
                }
                let matrix = Matrix::random(weight_type, outputs, inputs, &mut random);
                let weights = upload(&engine, &[&matrix]);
                let x = random.floats(inputs);
                check_against_twin(&engine, &weights, &matrix, &x, &format!("{weight_type:?}"));
            }
        }
    }
}

#[test]
fn layers_of_many_rows_agree_with_their_twin_for_every_type() {
    let mut random = Random(71);
    for engine in devices("layers_of_many_rows_agree_with_their_twin_for_every_type") {
        for weight_type in WeightType::all() {
            for (rows, outputs, inputs) in [(33, 37, 256), (130, 200, 64), (129, 129, 512)] {
                if weight_type.row_bytes(inputs).is_err() {
                    continue;
                }
                let matrix = Matrix::random(weight_type, outputs, inputs, &mut random);
                let weights = upload(&engine, &[&matrix]);
                let x: Vec<f32> = random.floats(rows * inputs).iter().map(|x| x * 1e6).collect();
                check_against_twin(
                    &engine,
                    &weights,
                    &matrix,
                    &x,
                    &format!("{weight_type:?} of {rows} rows"),
                );
            }
        }
    }
}

#[test]
fn a_layer_of_many_short_rows_agrees_with_its_twin() {
    let mut random = Random(63);
    for engine in devices("a_layer_of_many_short_rows_agrees_with_its_twin") {
        for weight_type in [WeightType::F16, WeightType::Blocks(BlockType::Q8_0)] {
            let (outputs, inputs) = (16_001, 576);
            let matrix = Matrix::random(weight_type, outputs, inputs, &mut random);
            let weights = upload(&engine, &[&matrix]);
            let x = random.floats(inputs);
            check_against_twin(&engine, &weights, &matrix, &x, &format!("{weight_type:?}"));
        }
    }
}

#[test]
fn a_result_is_added_to_with_norm_and_bias() {
    let mut random = Random(64);
    for engine in devices("a_result_is_added_to_with_norm_and_bias") {
        for weight_type in SOME {
            for rows in [1, 3, 33] {
                let (outputs, inputs) = (19, 512);
                let matrix = Matrix::random(weight_type, outputs, inputs, &mut random);
                let bias = random.floats(outputs);
                let weights = upload(&engine, &[&matrix])
                    .with_bias(floats(&engine, &bias))
                    .unwrap();
                let x: Vec<f32> = random.floats(rows * inputs).iter().map(|x| x * 9.0).collect();
                let (of_norm, epsilon) = (random.floats(inputs), 1e-5);
                let out = filled(&engine, rows * outputs, 0.5);
                let norm = floats(&engine, &of_norm);
                let input = LinearInput {
                    x: &floats(&engine, &x),
                    norm: Some(RmsNorm {
                        weights: &norm,
                        epsilon,
                    }),
                };
                let mut step = engine.step();
                step.linear(&weights, input, &out, Outcome::Added, &mut go_on)
                    .unwrap();
                step.run(&mut go_on).unwrap();
                let got = engine.download(&out, &mut go_on).unwrap();
                let x = reference::rms_norm(&x, &of_norm, epsilon);
                let mut want = reference::linear(&x, &matrix.values, inputs);
                for want in want.chunks_mut(outputs) {
                    want.iter_mut()
                        .zip(&bias)
                        .for_each(|(want, &bias)| *want += 0.5 + f64::from(bias));
                }
                compare(
                    &got,
                    &want,
                    &x,
                    &matrix.values,
                    (inputs, has_units(&engine)),
                    &format!("{weight_type:?} {rows}"),
                );
            }
        }
    }
}

#[test]
fn matrices_of_any_types_put_together_give_what_each_gives() {
    let mut random = Random(65);
    let inputs = 256;
    let kinds = [
        WeightType::Blocks(BlockType::Q4K),
        WeightType::Blocks(BlockType::Q4K),
        WeightType::Blocks(BlockType::Q6K),
        WeightType::F16,
    ];
    for engine in devices("matrices_of_any_types_put_together_give_what_each_gives") {
        let matrices: Vec<_> = kinds.into_iter().zip([33, 7, 5, 64]).collect();
        let matrices: Vec<_> = matrices
            .into_iter()
            .map(|(kind, outputs)| Matrix::random(kind, outputs, inputs, &mut random))
            .collect();
        let together = upload(&engine, &matrices.iter().collect::<Vec<_>>());
        for rows in [1, 4, 40] {
            let x = random.floats(rows * inputs);
            let all = run(&engine, &together, &x, Outcome::Written, 7.0);
            let mut first = 0;
            for matrix in &matrices {
                let alone = run(&engine, &upload(&engine, &[matrix]), &x, Outcome::Written, 7.0);
                for (row, alone) in alone.chunks(matrix.outputs()).enumerate() {
                    let part = &all[row * together.outputs() + first..][..matrix.outputs()];
                    assert_eq!(part, alone, "{:?}", matrix.weight_type);
                }
                first += matrix.outputs();
            }
        }
    }
}

#[test]
fn a_gated_layer_agrees_with_its_twin_whether_or_not_its_types_differ() {
    let mut random = Random(66);
    let (outputs, inputs) = (35, 256);
    for engine in devices("a_gated_layer_agrees_with_its_twin_whether_or_not_its_types_differ") {
        for gate_type in SOME {
            for up_type in [gate_type, WeightType::Blocks(BlockType::Q6K)] {
                let gate = Matrix::random(gate_type, outputs, inputs, &mut random);
                let up = Matrix::random(up_type, outputs, inputs, &mut random);
                let weights = engine
                    .upload_gated("vectorgpu.test", inputs, gate.rows(), up.rows(), &mut go_on)
                    .unwrap();
                for rows in [1, 2, 9, 34] {
                    let x = random.floats(rows * inputs);
                    let out = filled(&engine, rows * outputs, 7.0);
                    let mut step = engine.step();
                    let input = LinearInput {
                        x: &floats(&engine, &x),
                        norm: None,
                    };
                    step.gated(&weights, input, &out, &mut go_on).unwrap();
                    step.run(&mut go_on).unwrap();
                    let got = engine.download(&out, &mut go_on).unwrap();
                    let x = exact(&x);
                    let of_gate = reference::linear(&x, &gate.values, inputs);
                    let of_up = reference::linear(&x, &up.values, inputs);
                    let want = reference::gated(&of_gate, &of_up);
                    let how = (inputs, has_units(&engine));
                    let bounds = bounds(&x, &gate.values, how)
                        .into_iter()
                        .zip(bounds(&x, &up.values, how));
                    for (at, (of_gate_off, of_up_off)) in bounds.enumerate() {
                        // SiLU is nowhere steeper than 1.1 and never larger than its argument.
                        let allowed = 1.1 * of_gate_off * (of_up[at].abs() + of_up_off)
                            + of_gate[at].abs() * of_up_off
                            + 1e-6 * want[at].abs();
                        let error = (f64::from(got[at]) - want[at]).abs();
                        assert!(
                            error <= allowed,
                            "{gate_type:?} {up_type:?} {rows}: {} for {}, off by {error}, not {allowed}",
                            got[at],
                            want[at]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_whatever_the_other_rows_are() {
    let mut random = Random(67);
    for engine in devices("a_row_has_the_same_bits_whatever_the_other_rows_are") {
        for weight_type in SOME {
            let (outputs, inputs) = (21, 1536);
            let matrix = Matrix::random(weight_type, outputs, inputs, &mut random);
            let weights = upload(&engine, &[&matrix]);
            let x = random.floats(8 * inputs);
            let alone: Vec<f32> = x
                .chunks(inputs)
                .flat_map(|x| run(&engine, &weights, x, Outcome::Written, 7.0))
                .collect();
            for rows in [2, 8] {
                let together = run(&engine, &weights, &x[..rows * inputs], Outcome::Written, 7.0);
                assert_eq!(together, alone[..rows * outputs], "{weight_type:?} {rows}");
            }
        }
    }
}

#[test]
fn embedding_gives_rows_of_weights_and_zeros_for_what_is_no_row() {
    let mut random = Random(68);
    for engine in devices("embedding_gives_rows_of_weights_and_zeros_for_what_is_no_row") {
        for weight_type in WeightType::all() {
            let inputs = 512;
            let (first, second) = (
                Matrix::random(weight_type, 5, inputs, &mut random),
                Matrix::random(WeightType::F32, 4, inputs, &mut random),
            );
            let weights = upload(&engine, &[&first, &second]);
            let tokens = [3_u32, 0, 8, 9, u32::MAX, 4, 5];
            let out = filled(&engine, tokens.len() * inputs, 7.0);
            let mut step = engine.step();
            let on_device = engine.upload("vectorgpu.test", &tokens, &mut go_on).unwrap();
            step.embed(&weights, &on_device, &out).unwrap();
            step.run(&mut go_on).unwrap();
            let got = engine.download(&out, &mut go_on).unwrap();
            let values = [first.values.as_slice(), &second.values].concat();
            let want = reference::embed(&values, inputs, &tokens);
            for (got, want) in got.iter().zip(&want) {
                // One product and one sum, rounded, of which the largest part is 64 times a scale of 0.01.
                assert!(
                    (got - want).abs() <= 4e-6 * (1.0 + want.abs()),
                    "{weight_type:?}: {got} for {want}"
                );
            }
        }
    }
}

#[test]
fn gelu_and_layer_norm_agree_with_their_twins() {
    let mut random = Random(72);
    for engine in devices("gelu_and_layer_norm_agree_with_their_twins") {
        let x: Vec<f32> = random.floats(5000).iter().map(|x| x * 8.0).collect();
        for form in [Gelu::Exact, Gelu::Tanh] {
            let on_device = filled(&engine, x.len(), 0.0);
            engine.write(&on_device, &x, &mut go_on).unwrap();
            let mut step = engine.step();
            step.gelu(form, &on_device).unwrap();
            step.run(&mut go_on).unwrap();
            let got = engine.download(&on_device, &mut go_on).unwrap();
            for ((got, want), x) in got.iter().zip(reference::gelu(form, &x)).zip(&x) {
                // Half of x, times what the error function or the tangent is off by.
                let error = (f64::from(*got) - want).abs();
                assert!(
                    error <= 1e-6 * f64::from(x.abs()) + 1e-7,
                    "{form:?} of {x}: {got} for {want}"
                );
            }
        }
        for (rows, dims) in [(1, 384), (7, 33), (40, 1000)] {
            let (x, add) = (random.floats(rows * dims), random.floats(rows * dims));
            let (scale, shift) = (random.floats(dims), random.floats(dims));
            for add in [None, Some(add)] {
                let out = filled(&engine, rows * dims, 7.0);
                let norm = LayerNorm {
                    scale: &floats(&engine, &scale),
                    shift: &floats(&engine, &shift),
                    epsilon: 1e-12,
                };
                let on_device = add.as_ref().map(|add| floats(&engine, add));
                let mut step = engine.step();
                step.layer_norm(&floats(&engine, &x), on_device.as_ref(), norm, &out)
                    .unwrap();
                step.run(&mut go_on).unwrap();
                let got = engine.download(&out, &mut go_on).unwrap();
                let mut both = exact(&x);
                for (both, add) in both.iter_mut().zip(add.unwrap_or_default()) {
                    *both += f64::from(add);
                }
                let want = reference::layer_norm(&both, &scale, &shift, 1e-12);
                for (got, want) in got.iter().zip(&want) {
                    assert!(
                        (f64::from(*got) - want).abs() <= 1e-5,
                        "{rows} x {dims}: {got} for {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn other_shapes_are_refused() {
    let Some(engine) = engine(&EngineBuilder::new(), "other_shapes_are_refused") else {
        return;
    };
    let matrix = Matrix::random(WeightType::F32, 4, 64, &mut Random(69));
    let weights = upload(&engine, &[&matrix]);
    let array = |len| filled(&engine, len, 0.0);
    let refused = |x: &Array<f32>, norm: Option<&Array<f32>>, out: &Array<f32>| {
        let norm = norm.map(|weights| RmsNorm {
            weights,
            epsilon: 1e-6,
        });
        let mut step = engine.step();
        let outcome = step.linear(
            &weights,
            LinearInput { x, norm },
            out,
            Outcome::Written,
            &mut go_on,
        );
        outcome.unwrap_err().kind()
    };
    let x = array(128);
    assert_eq!(refused(&x, None, &array(7)), ErrorKind::InvalidArgument);
    assert_eq!(refused(&array(100), None, &array(8)), ErrorKind::InvalidArgument);
    assert_eq!(
        refused(&x, Some(&array(63)), &array(8)),
        ErrorKind::InvalidArgument
    );
    let shared = array(64);
    let out = shared.slice(0..4).unwrap();
    assert_eq!(refused(&shared, None, &out), ErrorKind::InvalidArgument);
    let mut rows = matrix.rows();
    rows.outputs = 5;
    let kind = |rows| {
        engine
            .upload_weights("vectorgpu.test", 64, &[rows], &mut go_on)
            .err()
            .unwrap()
            .kind()
    };
    assert_eq!(kind(rows), ErrorKind::InvalidArgument);
    assert_eq!(
        engine
            .upload_weights("vectorgpu.test", 33, &[matrix.rows()], &mut go_on)
            .err()
            .unwrap()
            .kind(),
        ErrorKind::Unsupported
    );
    drop(weights);
}

/// Software Vulkan binds 128 MiB at a time; a device that binds more sees one part, which has to give the same.
#[test]
fn a_matrix_that_no_binding_holds_lies_in_parts() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "a_matrix_that_no_binding_holds_lies_in_parts",
    ) else {
        return;
    };
    let (outputs, inputs) = (33_001, 1024);
    let matrix = Matrix::random(WeightType::F32, outputs, inputs, &mut Random(73));
    let weights = upload(&engine, &[&matrix]);
    let x = Random(74).floats(inputs);
    let out = filled(&engine, outputs, 7.0);
    let mut step = engine.step();
    let input = LinearInput {
        x: &floats(&engine, &x),
        norm: None,
    };
    step.linear(&weights, input, &out, Outcome::Written, &mut go_on)
        .unwrap();
    let software = engine.adapter().kind == DeviceKind::Software;
    assert!(step.dispatches() == 2 || !software, "a run for each part");
    step.run(&mut go_on).unwrap();
    let got = engine.download(&out, &mut go_on).unwrap();
    let x = exact(&x);
    let want = reference::linear(&x, &matrix.values, inputs);
    compare(&got, &want, &x, &matrix.values, (inputs, false), "in parts");
    let tokens = [32_767_u32, 32_768, 33_000, 33_001];
    let rows = filled(&engine, tokens.len() * inputs, 7.0);
    let on_device = engine.upload("vectorgpu.test", &tokens, &mut go_on).unwrap();
    let mut step = engine.step();
    step.embed(&weights, &on_device, &rows).unwrap();
    step.run(&mut go_on).unwrap();
    let want = reference::embed(&matrix.values, inputs, &tokens);
    assert_eq!(engine.download(&rows, &mut go_on).unwrap(), want);
}

#[test]
fn weights_are_charged_to_their_label_and_given_back() {
    let Some(engine) = engine(
        &EngineBuilder::new(),
        "weights_are_charged_to_their_label_and_given_back",
    ) else {
        return;
    };
    let matrix = Matrix::random(WeightType::Blocks(BlockType::Q6K), 512, 1024, &mut Random(70));
    let weights = upload(&engine, &[&matrix]);
    let charged = engine.memory().in_use().map(|usage| usage.bytes).sum::<u64>();
    assert!(charged >= weights.bytes() && weights.bytes() >= matrix.bytes.len() as u64);
    drop(weights);
    engine.step().run(&mut go_on).unwrap();
    assert_eq!(engine.memory().in_use().count(), 0);
}
