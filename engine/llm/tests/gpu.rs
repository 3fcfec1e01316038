//! Models on a GPU against the same models on the CPU, on whatever Vulkan device there is.
#![expect(clippy::cast_possible_truncation, reason = "sizes of small models")]

mod support;

use std::rc::Rc;
use std::sync::Arc;

use support::{LLAMA, QWEN, Shape, Weights, random_model};
use vectorgpu_compute::{Engine, EngineBuilder};
use vectorgpu_core::ErrorKind;
use vectorgpu_core::random::Random;
use vectorgpu_llm::batch::{Part, Wants};
use vectorgpu_llm::cache::BlockTable;
use vectorgpu_llm::decoder::{Decoder, OnCpu, OnGpu};
use vectorgpu_llm::format::ModelFile;
use vectorgpu_llm::gpu::plan::Plan;
use vectorgpu_llm::gpu::{Ahead, AheadText, GpuShape, Next};
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::sample::{Sampler, SamplingOptions};
use vectorgpu_llm::threads::Threads;

const CONTEXT: usize = 128;

fn go_on() -> bool {
    true
}

/// Opens whatever device there is, or says loudly that the test did not run.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn engine(test: &str) -> Option<Rc<Engine>> {
    let builder = EngineBuilder::new().allow_software(true);
    if builder.devices().expect("listing devices never fails").is_empty() {
        assert!(
            std::env::var_os("VECTORGPU_REQUIRE_VULKAN").is_none(),
            "{test}: no Vulkan adapter"
        );
        eprintln!("SKIPPED {test}: this machine has no Vulkan adapter, not even a software one");
        return None;
    }
    Some(Rc::new(builder.open().expect("a device that is there opens")))
}

fn threads() -> Arc<Threads> {
    Arc::new(Threads::new(2, || Box::new(())).expect("threads"))
}

fn on_cpu(model: &Arc<Llama>) -> OnCpu {
    OnCpu::new(Arc::clone(model), threads(), CONTEXT, 8 * CONTEXT).expect("memory")
}

fn on_gpu(engine: &Rc<Engine>, model: &Arc<Llama>, plan: Plan) -> OnGpu {
    let shape = GpuShape::of(model, CONTEXT, 8 * CONTEXT, 48);
    OnGpu::new(engine, Arc::clone(model), threads(), shape, plan, &mut go_on).expect("memory")
}

fn everything(model: &Llama) -> Plan {
    Plan {
        layers: model.parameters().layers,
        ends: true,
    }
}

fn table(decoder: &mut dyn Decoder, tokens: usize) -> BlockTable {
    let mut table = BlockTable::default();
    decoder.pool().reserve(&mut table, tokens).expect("room");
    table
}

fn tokens(seed: u64, count: usize, shape: Shape) -> Vec<u32> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|_| random.below(shape.vocabulary as usize) as u32)
        .collect()
}

/// The logits after each of `tokens`, read `chunks` at a time.
fn every_logit(decoder: &mut dyn Decoder, tokens: &[u32], chunks: &[usize]) -> Vec<f32> {
    let mut table = table(decoder, tokens.len());
    let (mut all, mut logits, mut rest) = (Vec::new(), Vec::new(), tokens);
    for chunk in chunks.iter().copied().cycle() {
        let (now, later) = rest.split_at(chunk.min(rest.len()));
        let part = Part {
            tokens: now,
            table: &table,
            wants: Wants::Every,
        };
        decoder.forward(&[part], &mut go_on, &mut logits).expect("a pass");
        table.advance(now.len());
        all.extend_from_slice(&logits);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    decoder.pool().release(table);
    all
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = (0..).zip(logits).max_by(|a, b| a.1.total_cmp(b.1));
    best.expect("tokens").0
}

/// A text of `count` tokens after `prompt`, each the likeliest.
fn greedy(decoder: &mut dyn Decoder, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut table = table(decoder, prompt.len() + count);
    let (mut written, mut logits, mut unread) = (Vec::new(), Vec::new(), prompt.to_vec());
    while written.len() < count {
        for chunk in unread.chunks(decoder.rows_at_once()) {
            let part = Part {
                tokens: chunk,
                table: &table,
                wants: Wants::Last,
            };
            decoder.forward(&[part], &mut go_on, &mut logits).expect("a pass");
            table.advance(chunk.len());
        }
        unread = vec![likeliest(&logits)];
        written.extend_from_slice(&unread);
    }
    decoder.pool().release(table);
    written
}

/// Logits are of the size of 1. What they may be off by: keys and values are rounded to f16 from numbers that were summed in another
/// order, so some of them differ by a unit of 1/1,024, and the CPU rounds activations to bytes where weights are blocks.
fn assert_close(got: &[f32], want: &[f32], allowed: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let worst = got
        .iter()
        .zip(want)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst <= allowed, "{what}: off by {worst}");
}

#[test]
fn logits_are_those_of_the_cpu_however_the_tokens_are_read() {
    let Some(engine) = engine("logits_are_those_of_the_cpu_however_the_tokens_are_read") else {
        return;
    };
    for (shape, weights, allowed) in [
        (LLAMA, Weights::F16, 0.01),
        (QWEN, Weights::F16, 0.01),
        (LLAMA, Weights::Q8, 0.15),
    ] {
        let model = random_model(shape, weights, 1);
        let text = tokens(2, 70, shape);
        let want = every_logit(&mut on_cpu(&model), &text, &[64]);
        let mut device = on_gpu(&engine, &model, everything(&model));
        for chunks in [&[48][..], &[1], &[5, 1, 30]] {
            let got = every_logit(&mut device, &text, chunks);
            assert_close(
                &got,
                &want,
                allowed,
                &format!("{} {chunks:?}", shape.architecture),
            );
        }
    }
    assert!(
        engine
            .memory()
            .in_use()
            .all(|usage| usage.label != "vectorgpu.llm.cache")
    );
}

#[test]
fn any_split_between_gpu_and_cpu_writes_the_same_text() {
    let Some(engine) = engine("any_split_between_gpu_and_cpu_writes_the_same_text") else {
        return;
    };
    for shape in [LLAMA, QWEN] {
        let model = random_model(shape, Weights::F16, 3);
        let prompt = tokens(4, 21, shape);
        let want = greedy(&mut on_cpu(&model), &prompt, 24);
        let layers = model.parameters().layers;
        let mut plans: Vec<Plan> = (0..=layers).map(|layers| Plan { layers, ends: false }).collect();
        plans.push(everything(&model));
        for plan in plans {
            let mut device = on_gpu(&engine, &model, plan);
            assert_eq!(device.device_layers(), plan.layers);
            assert_eq!(device.chooser().is_some(), plan.ends);
            assert_eq!(greedy(&mut device, &prompt, 24), want, "{plan:?}");
        }
    }
}

#[test]
fn parts_of_a_pass_do_not_disturb_each_other() {
    let Some(engine) = engine("parts_of_a_pass_do_not_disturb_each_other") else {
        return;
    };
    let model = random_model(LLAMA, Weights::F16, 5);
    for plan in [
        everything(&model),
        Plan {
            layers: 2,
            ends: false,
        },
    ] {
        let mut device = on_gpu(&engine, &model, plan);
        let texts: Vec<Vec<u32>> = (0..5)
            .map(|i| tokens(6 + i, [18, 1, 7, 1, 11][i as usize], LLAMA))
            .collect();
        let alone: Vec<Vec<f32>> = texts
            .iter()
            .map(|text| every_logit(&mut device, text, &[48]))
            .collect();
        let tables: Vec<BlockTable> = texts.iter().map(|text| table(&mut device, text.len())).collect();
        let wants = [
            Wants::Last,
            Wants::Every,
            Wants::Every,
            Wants::Nothing,
            Wants::Last,
        ];
        let parts: Vec<Part<'_>> = texts
            .iter()
            .zip(&tables)
            .zip(wants)
            .map(|((tokens, table), wants)| Part { tokens, table, wants })
            .collect();
        let mut logits = Vec::new();
        device.forward(&parts, &mut go_on, &mut logits).expect("a pass");
        let of_row = model.vocabulary();
        let last = |text: usize| &alone[text][alone[text].len() - of_row..];
        let want = [last(0), &alone[1], &alone[2], last(4)].concat();
        assert_close(&logits, &want, 0.01, "together");
        tables.into_iter().for_each(|table| device.pool().release(table));
    }
}

/// Texts that the device writes by itself, until they have `count` tokens each; after `drop_at` steps the second one is let go.
fn ahead(
    device: &mut OnGpu,
    prompts: &[Vec<u32>],
    next: &Next,
    count: usize,
    drop_at: usize,
) -> Vec<Vec<u32>> {
    let texts = prompts.iter().map(|prompt| {
        let mut table = BlockTable::default();
        device
            .pool()
            .reserve(&mut table, prompt.len() + count)
            .expect("room");
        AheadText {
            unread: prompt.clone(),
            table,
            next: next.clone(),
        }
    });
    let texts = texts.collect();
    let model = device.chooser().expect("all on the device");
    let mut ahead = Ahead::begin(model, texts, &mut go_on).expect("prompts");
    let mut written = vec![Vec::new(); prompts.len()];
    let mut numbers: Vec<usize> = (0..prompts.len()).collect();
    for step in 0..count {
        if step == drop_at {
            for gone in ahead.keep(|number| number != 1, &mut go_on).expect("kept") {
                device.pool().release(gone.table);
            }
            numbers.remove(1);
        }
        let model = device.chooser().expect("all on the device");
        let tokens = ahead.step(model, &mut go_on).expect("a step").expect("room");
        assert_eq!(tokens.len(), numbers.len());
        for (number, token) in numbers.iter().zip(tokens) {
            written[*number].push(token);
        }
    }
    for gone in ahead.keep(|_| false, &mut go_on).expect("kept") {
        device.pool().release(gone.table);
    }
    let model = device.chooser().expect("all on the device");
    assert_eq!(ahead.step(model, &mut go_on), Ok(None));
    written
}

#[test]
fn texts_written_ahead_are_those_written_step_by_step() {
    let Some(engine) = engine("texts_written_ahead_are_those_written_step_by_step") else {
        return;
    };
    for shape in [LLAMA, QWEN] {
        let model = random_model(shape, Weights::F16, 7);
        let mut device = on_gpu(&engine, &model, everything(&model));
        let free = device.pool().free();
        let prompts: Vec<Vec<u32>> = (0..3)
            .map(|i| tokens(8 + i, [60, 1, 9][i as usize], shape))
            .collect();
        let written = ahead(&mut device, &prompts, &Next::Likeliest, 20, 6);
        for (number, (prompt, written)) in prompts.iter().zip(&written).enumerate() {
            let count = if number == 1 { 6 } else { 20 };
            assert_eq!(written.len(), count);
            assert_eq!(&greedy(&mut device, prompt, count), written);
        }
        assert_eq!(device.pool().free(), free);
    }
}

#[test]
fn tokens_drawn_on_the_device_are_those_that_the_sampler_draws() {
    let Some(engine) = engine("tokens_drawn_on_the_device_are_those_that_the_sampler_draws") else {
        return;
    };
    let model = random_model(LLAMA, Weights::F16, 9);
    let mut device = on_gpu(&engine, &model, everything(&model));
    let options = SamplingOptions {
        temperature: 0.8,
        top_k: 20,
        seed: 11,
        ..SamplingOptions::default()
    };
    let next = Next::of(&options, model.vocabulary()).expect("a device can draw so");
    let prompt = tokens(10, 12, LLAMA);
    let written = ahead(&mut device, std::slice::from_ref(&prompt), &next, 40, usize::MAX);
    let mut sampler = Sampler::new(options, &prompt).expect("sound options");
    let mut text = prompt.clone();
    for (number, token) in written[0].iter().enumerate() {
        let logits = every_logit(&mut device, &text, &[48]);
        let last = &logits[logits.len() - model.vocabulary()..];
        let chosen = sampler.choose(last).expect("a token").token;
        assert_eq!(chosen, *token, "token {number}");
        text.push(chosen);
    }
}

#[test]
fn only_what_depends_on_logits_alone_is_chosen_on_the_device() {
    let plain = SamplingOptions::default();
    assert!(matches!(Next::of(&plain, 50_000), Some(Next::Likeliest)));
    let drawn = SamplingOptions {
        temperature: 1.0,
        top_k: 40,
        ..SamplingOptions::default()
    };
    assert!(matches!(
        Next::of(&drawn, 50_000),
        Some(Next::Drawn { k: 40, .. })
    ));
    let others = [
        SamplingOptions {
            top_k: 0,
            ..drawn.clone()
        },
        SamplingOptions {
            top_k: 65,
            ..drawn.clone()
        },
        SamplingOptions {
            top_p: 0.9,
            ..drawn.clone()
        },
        SamplingOptions {
            min_p: 0.1,
            ..drawn.clone()
        },
        SamplingOptions {
            typical_p: 0.5,
            ..drawn.clone()
        },
        SamplingOptions {
            dynatemp_range: 0.5,
            ..drawn.clone()
        },
        SamplingOptions {
            repeat_penalty: 1.1,
            ..plain.clone()
        },
        SamplingOptions {
            frequency_penalty: 0.1,
            ..plain.clone()
        },
        SamplingOptions {
            presence_penalty: 0.1,
            ..plain.clone()
        },
        SamplingOptions {
            logit_bias: vec![(1, 1.0)],
            ..plain
        },
    ];
    for options in others {
        assert!(Next::of(&options, 50_000).is_none(), "{options:?}");
    }
}

#[test]
fn a_request_to_stop_is_heard_and_the_next_pass_is_right() {
    let Some(engine) = engine("a_request_to_stop_is_heard_and_the_next_pass_is_right") else {
        return;
    };
    let model = random_model(LLAMA, Weights::F16, 12);
    let mut device = on_gpu(&engine, &model, everything(&model));
    let text = tokens(13, 40, LLAMA);
    let want = every_logit(&mut device, &text, &[40]);
    let table = table(&mut device, 40);
    let part = Part {
        tokens: &text,
        table: &table,
        wants: Wants::Every,
    };
    for stop_at in 0..4 {
        let (mut asked, mut logits) = (0, Vec::new());
        let mut keep_waiting = || {
            asked += 1;
            asked <= stop_at
        };
        let stopped = device.forward(&[part], &mut keep_waiting, &mut logits);
        if let Err(error) = stopped {
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        }
        device.forward(&[part], &mut go_on, &mut logits).expect("a pass");
        assert_close(&logits, &want, 0.0, "after a stop");
    }
}

#[test]
fn what_a_device_cannot_do_is_an_error() {
    let Some(engine) = engine("what_a_device_cannot_do_is_an_error") else {
        return;
    };
    let model = random_model(LLAMA, Weights::F16, 14);
    let mut device = on_gpu(&engine, &model, everything(&model));
    let (table, mut logits) = (table(&mut device, 16), Vec::new());
    let mut kind = |tokens: &[u32], table: &BlockTable| {
        let wants = Wants::Last;
        let parts = [Part { tokens, table, wants }];
        device
            .forward(&parts, &mut go_on, &mut logits)
            .expect_err("refused")
            .kind()
    };
    assert_eq!(kind(&[300], &table), ErrorKind::InvalidArgument);
    assert_eq!(kind(&[1; 17], &table), ErrorKind::Internal, "no room");
    assert_eq!(kind(&[1; 49], &table), ErrorKind::Internal, "too many rows");
    let small = EngineBuilder::new()
        .allow_software(true)
        .vram_limit(4 << 20)
        .open();
    let small = Rc::new(small.expect("a small device"));
    let shape = GpuShape::of(&model, CONTEXT, 1 << 20, 48);
    let plan = everything(&model);
    let full = OnGpu::new(&small, Arc::clone(&model), threads(), shape, plan, &mut go_on);
    assert_eq!(full.err().map(|error| error.kind()), Some(ErrorKind::OutOfMemory));
    engine.simulate_loss().expect("a device that works");
    let wants = Wants::Last;
    let part = Part {
        tokens: &[1],
        table: &table,
        wants,
    };
    let lost = device
        .forward(&[part], &mut go_on, &mut logits)
        .expect_err("lost");
    assert_eq!(lost.kind(), ErrorKind::DeviceLost);
}

#[test]
fn a_plans_sizes_are_what_the_device_then_uses() {
    let Some(engine) = engine("a_plans_sizes_are_what_the_device_then_uses") else {
        return;
    };
    for shape in [LLAMA, QWEN] {
        let model = random_model(shape, Weights::Q8, 15);
        let of_gpu = GpuShape::of(&model, CONTEXT, 8 * CONTEXT, 48);
        let sizes = of_gpu.sizes(&model).expect("a sound shape");
        let plan = Plan::new(&sizes, u64::MAX);
        assert_eq!(plan, everything(&model));
        let device = on_gpu(&engine, &model, plan);
        let memory = engine.memory();
        let used: u64 = memory
            .in_use()
            .filter(|usage| usage.label.starts_with("vectorgpu.llm"))
            .map(|usage| usage.bytes)
            .sum();
        // Blocks of memory are multiples of 256 bytes, of which a layer has some ten; buffers are up to a quarter larger.
        let planned = plan.bytes(&sizes);
        let slack = 256 * 20 * (model.parameters().layers as u64 + 2) + sizes.layer_cache * shape.layers / 4;
        assert!(used <= planned + slack, "{used} bytes, {planned} planned");
        assert!(used >= planned / 2, "{used} bytes, {planned} planned");
        drop(device);
    }
}

/// With `VECTORGPU_TEST_MODEL` naming a GGUF file.
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn a_real_model_writes_what_it_writes_on_the_cpu() {
    let test = "a_real_model_writes_what_it_writes_on_the_cpu";
    let Some(path) = std::env::var_os("VECTORGPU_TEST_MODEL") else {
        eprintln!("SKIPPED {test}: VECTORGPU_TEST_MODEL names no model");
        return;
    };
    let Some(engine) = engine(test) else { return };
    let file = ModelFile::open(path.as_ref()).expect("a model");
    let model = Arc::new(Llama::read(&file).expect("a sound model"));
    let vocabulary = model.vocabulary() as u32;
    let prompt: Vec<u32> = (0..24).map(|i| 1000 + i * 37 % (vocabulary - 1000)).collect();
    let mut cpu = on_cpu(&model);
    let want = every_logit(&mut cpu, &prompt, &[64]);
    let layers = model.parameters().layers;
    for plan in [
        everything(&model),
        Plan {
            layers: layers / 2,
            ends: false,
        },
    ] {
        let mut device = on_gpu(&engine, &model, plan);
        let got = every_logit(&mut device, &prompt, &[24]);
        let worst = got
            .iter()
            .zip(&want)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        eprintln!("{plan:?}: logits off by {worst} at most");
        // The CPU rounds activations to bytes.
        assert!(worst < 3.0);
        let of_rows = |logits: &[f32]| {
            logits
                .chunks(model.vocabulary())
                .map(likeliest)
                .collect::<Vec<_>>()
        };
        let same = of_rows(&got)
            .iter()
            .zip(of_rows(&want))
            .filter(|(a, b)| **a == *b)
            .count();
        eprintln!(
            "{plan:?}: {same} of {} likeliest tokens are the same",
            prompt.len()
        );
        assert!(same * 10 >= prompt.len() * 8);
    }
}
