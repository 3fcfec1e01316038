//! The measuring kernels compute what they claim to, or their rates would mean nothing.

mod support;

use support::{engines, go_on};
use vectorgpu_compute::reference;
use vectorgpu_core::ErrorKind;

#[test]
fn multiply_add_runs_every_round_of_every_chain() {
    for engine in engines("multiply_add_runs_every_round_of_every_chain") {
        for rounds in [0, 1, 5, 1000] {
            let results = engine.array::<f32>("vectorgpu.test", 512, &mut go_on).unwrap();
            let mut step = engine.step();
            let count = step.multiply_add(rounds, 3.0, &results).unwrap();
            assert_eq!(count, 512 * 16 * u64::from(rounds));
            step.run(&mut go_on).unwrap();
            let got = engine.download(&results, &mut go_on).unwrap();
            for (invocation, got) in (0..).zip(got) {
                let want = reference::multiply_add(invocation, rounds, 3.0);
                // Halving is exact; adding rounds once a round and converges.
                let allowed = want * 16.0 * f64::from(f32::EPSILON);
                assert!(
                    (f64::from(got) - want).abs() <= allowed,
                    "{invocation} {rounds}: {got} for {want}"
                );
            }
        }
        let odd = engine.array::<f32>("vectorgpu.test", 100, &mut go_on).unwrap();
        let refused = engine.step().multiply_add(1, 1.0, &odd).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn read_reads_every_word_once() {
    for engine in engines("read_reads_every_word_once") {
        for n in [0, 4, 1000, 100_004] {
            let mut random = support::Random(61);
            let words: Vec<u32> = (0..n).map(|_| random.float().to_bits()).collect();
            let values: Vec<f32> = words.iter().map(|word| f32::from_bits(*word)).collect();
            let array = engine.upload("vectorgpu.test", &values, &mut go_on).unwrap();
            let results = engine.array::<u32>("vectorgpu.test", 512, &mut go_on).unwrap();
            let mut step = engine.step();
            if n == 0 {
                assert!(step.read(&array, &results).is_err());
                continue;
            }
            step.read(&array, &results).unwrap();
            step.run(&mut go_on).unwrap();
            let got = engine.download(&results, &mut go_on).unwrap();
            assert_eq!(reference::read(&got), reference::read(&words), "{n} words");
        }
        let odd = engine
            .upload("vectorgpu.test", &[0.0_f32; 3], &mut go_on)
            .unwrap();
        let results = engine.array::<u32>("vectorgpu.test", 256, &mut go_on).unwrap();
        let refused = engine.step().read(&odd, &results).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
}
