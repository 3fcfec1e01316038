//! What the host gives a step and takes from it.

mod support;

use support::{engines, filled, go_on};
use vectorgpu_compute::PendingRead;
use vectorgpu_core::ErrorKind;

#[test]
fn results_read_later_are_those_of_their_own_step() {
    for engine in engines("results_read_later_are_those_of_their_own_step") {
        let numbers = filled(&engine, 3, 0.0);
        let sum = filled(&engine, 3, f32::NAN);
        let mut pending: Vec<PendingRead<f32>> = Vec::new();
        for i in 0..5_u8 {
            let i = f32::from(i);
            let mut step = engine.step().whole();
            step.write(&numbers, &[i, 10.0 * i, -i], &mut go_on).unwrap();
            step.add(&numbers, 1.0, &numbers, &sum).unwrap();
            pending.push(step.submit_reading(&sum, &mut go_on).unwrap());
        }
        for (i, pending) in (0..5_u8).zip(pending) {
            let i = f32::from(i);
            assert_eq!(pending.take(&mut go_on).unwrap(), [2.0 * i, 20.0 * i, -2.0 * i]);
        }
        drop((numbers, sum));
        assert_eq!(engine.memory().in_use().count(), 0);
    }
}

#[test]
fn a_whole_step_is_one_submission_and_one_pass_whatever_its_length() {
    for engine in engines("a_whole_step_is_one_submission_and_one_pass_whatever_its_length") {
        let numbers = filled(&engine, 4, 1.0);
        let sum = filled(&engine, 4, f32::NAN);
        let mut submissions = [0; 2];
        for (is_whole, submissions) in [false, true].into_iter().zip(&mut submissions) {
            let mut step = engine.step();
            if is_whole {
                step = step.whole();
            }
            step.write(&numbers, &[2.0; 4], &mut go_on).unwrap();
            for _ in 0..200 {
                step.add(&numbers, 1.0, &numbers, &sum).unwrap();
            }
            let before = engine.counters();
            assert_eq!(step.run_reading(&sum, &mut go_on).unwrap(), [4.0; 4]);
            let after = engine.counters();
            assert_eq!(after.dispatches - before.dispatches, 200);
            *submissions = after.submissions - before.submissions;
        }
        // Without immediates the ring of parameters limits a submission, too.
        assert!(submissions[0] == 3 && submissions[1] <= 2, "{submissions:?}");
    }
}

#[test]
fn a_step_that_is_dropped_writes_nothing() {
    for engine in engines("a_step_that_is_dropped_writes_nothing") {
        let numbers = filled(&engine, 2, 1.0);
        let mut step = engine.step();
        step.write(&numbers, &[7.0, 8.0], &mut go_on).unwrap();
        drop(step);
        let mut step = engine.step();
        step.write(&numbers, &[3.0], &mut go_on).unwrap();
        assert_eq!(step.run_reading(&numbers, &mut go_on).unwrap(), [3.0, 1.0]);
    }
}

#[test]
fn what_does_not_fit_is_not_written() {
    for engine in engines("what_does_not_fit_is_not_written") {
        let numbers = filled(&engine, 2, 1.0);
        let refused = engine.step().write(&numbers, &[0.0; 3], &mut go_on);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let bytes = engine.array("vectorgpu.test", 8, &mut go_on).unwrap();
        let refused = engine.step().write(&bytes, &[1_u8; 3], &mut go_on);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
