//! What a GPU measures of itself.

mod support;

use vectorgpu_compute::EngineBuilder;
use vectorgpu_core::ErrorKind;
use vectorgpu_core::cpu;
use vectorgpu_core::estimate::Rates;

#[test]
fn a_machine_has_usable_rates() {
    let Some(engine) = support::engine(&EngineBuilder::new(), "a_machine_has_usable_rates") else {
        return;
    };
    let gpu = engine.measure(&mut || true).expect("rates");
    let cpu = cpu::measure(&mut || true).expect("rates");
    let rates = Rates { cpu, gpu };
    assert!(rates.are_usable(), "{rates:?}");
    // Wide limits, for any machine: a mistaken unit is a thousand times off.
    assert!((1e8..1e13).contains(&cpu.multiply_adds_per_s), "{rates:?}");
    assert!((1e7..1e16).contains(&gpu.multiply_adds_per_s), "{rates:?}");
    assert!((1e6..1e13).contains(&gpu.upload_bytes_per_s), "{rates:?}");
    assert!((1e6..1e12).contains(&gpu.copy_bytes_per_s), "{rates:?}");
    assert!((1e-3..60.0).contains(&gpu.start_s), "{rates:?}");
    assert!((1e-6..1e7).contains(&gpu.search_s), "{rates:?}");
    assert!(
        engine
            .memory()
            .labels
            .iter()
            .all(|label| !label.label.ends_with("measured") || label.bytes == 0)
    );
}

#[test]
fn measuring_can_be_cancelled() {
    let Some(engine) = support::engine(&EngineBuilder::new(), "measuring_can_be_cancelled") else {
        return;
    };
    let stopped = engine.measure(&mut || false);
    assert!(stopped.is_err_and(|error| error.kind() == ErrorKind::Cancelled));
}
