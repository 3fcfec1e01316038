//! A backend with a second one behind it.
//!
//! Invariant: work that the first device did not finish is done again, whole, by the second; cancelling and misuse
//! are reported as they are.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Backend, HeldRows, KeepWaiting, Nearest, NearestBy, RowBlock, Unlabelled};
use crate::error::{Error, ErrorKind, Result};
use crate::metric::Score;

/// Told once when the first backend of a [`Fallback`] failed.
pub type OnFailure = Box<dyn FnMut(&Error)>;

/// A backend that another one takes over from when its device is lost or full.
///
/// Not exact, even after the change, so that a scan keeps to one way of ordering.
pub struct Fallback {
    first: Option<Box<dyn Backend>>,
    second: Box<dyn Backend>,
    on_failure: Rc<RefCell<OnFailure>>,
}

impl Fallback {
    /// `first` until it fails, then `second`.
    pub fn new(first: Box<dyn Backend>, second: Box<dyn Backend>, on_failure: OnFailure) -> Self {
        Self {
            first: Some(first),
            second,
            on_failure: Rc::new(RefCell::new(on_failure)),
        }
    }
}

/// Whether another device can do what failed with `error`.
pub fn is_device_failure(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DeviceLost | ErrorKind::OutOfMemory | ErrorKind::Unsupported
    )
}

impl Backend for Fallback {
    fn label(&self) -> &str {
        self.first.as_ref().unwrap_or(&self.second).label()
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn batch_bytes(&self) -> usize {
        self.first.as_ref().unwrap_or(&self.second).batch_bytes()
    }

    fn score(
        &mut self,
        score: Score,
        query: &[f32],
        block: RowBlock<'_>,
        scores: &mut Vec<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let start = scores.len();
        if let Some(first) = self.first.as_mut() {
            match first.score(score, query, block, scores, keep_waiting) {
                Err(error) if is_device_failure(&error) => {
                    self.first = None;
                    scores.truncate(start);
                    (self.on_failure.borrow_mut())(&error);
                }
                done => return done,
            }
        }
        self.second.score(score, query, block, scores, keep_waiting)
    }

    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>> {
        if let Some(first) = self.first.as_mut() {
            match first.nearest(centroids, dims, by, keep_waiting) {
                Ok(first) => {
                    let second = self.second.nearest(centroids, dims, by, keep_waiting)?;
                    let on_failure = Rc::clone(&self.on_failure);
                    return Ok(Box::new(FallbackNearest {
                        first: Some(first),
                        second,
                        on_failure,
                    }));
                }
                Err(error) if is_device_failure(&error) => {
                    self.first = None;
                    (self.on_failure.borrow_mut())(&error);
                }
                Err(error) => return Err(error),
            }
        }
        self.second.nearest(centroids, dims, by, keep_waiting)
    }

    /// What the first backend holds. Where that fails, later or now, nothing is held, and whoever asks for [`Backend::nearest`] then
    /// finds out whether the device is lost.
    fn hold(
        &mut self,
        rows: &[f32],
        dims: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Box<dyn HeldRows>>> {
        let Some(first) = self.first.as_mut() else {
            return self.second.hold(rows, dims, keep_waiting);
        };
        match first.hold(rows, dims, keep_waiting) {
            Err(error) if is_device_failure(&error) => Ok(None),
            held => held,
        }
    }
}

struct FallbackNearest {
    first: Option<Box<dyn Nearest>>,
    second: Box<dyn Nearest>,
    on_failure: Rc<RefCell<OnFailure>>,
}

impl Nearest for FallbackNearest {
    fn assign(&mut self, rows: &[f32], labels: &mut [u32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        self.assign_each(&mut [Unlabelled { rows, labels }], keep_waiting)
    }

    fn assign_each(
        &mut self,
        blocks: &mut [Unlabelled<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        if let Some(first) = self.first.as_mut() {
            match first.assign_each(blocks, keep_waiting) {
                Err(error) if is_device_failure(&error) => {
                    self.first = None;
                    (self.on_failure.borrow_mut())(&error);
                }
                done => return done,
            }
        }
        self.second.assign_each(blocks, keep_waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuBackend;
    use crate::metric::Element;

    /// Fails from its n-th call on, after having written part of the answer.
    struct Failing(u32, ErrorKind);

    impl Failing {
        fn step(&mut self) -> Result<()> {
            if self.0 == 0 {
                return Err(Error::new(self.1, "gone"));
            }
            self.0 -= 1;
            Ok(())
        }
    }

    impl Backend for Failing {
        fn label(&self) -> &str {
            "failing"
        }

        fn is_exact(&self) -> bool {
            false
        }

        fn batch_bytes(&self) -> usize {
            0
        }

        fn score(
            &mut self,
            score: Score,
            query: &[f32],
            block: RowBlock<'_>,
            scores: &mut Vec<f32>,
            keep_waiting: &mut KeepWaiting<'_>,
        ) -> Result<()> {
            scores.push(-1.0);
            self.step()?;
            scores.pop();
            CpuBackend::new().score(score, query, block, scores, keep_waiting)
        }

        fn nearest(
            &mut self,
            _: &[f32],
            _: usize,
            _: NearestBy,
            _: &mut KeepWaiting<'_>,
        ) -> Result<Box<dyn Nearest>> {
            self.step()?;
            Ok(Box::new(Failing(self.0, self.1)))
        }

        fn hold(
            &mut self,
            _: &[f32],
            _: usize,
            _: &mut KeepWaiting<'_>,
        ) -> Result<Option<Box<dyn HeldRows>>> {
            self.step()?;
            Ok(None)
        }
    }

    impl Nearest for Failing {
        fn assign(&mut self, _: &[f32], labels: &mut [u32], _: &mut KeepWaiting<'_>) -> Result<()> {
            labels.fill(99);
            self.step()
        }
    }

    fn fallback(calls: u32, kind: ErrorKind) -> (Fallback, Rc<RefCell<u32>>) {
        let failures = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&failures);
        let on_failure = Box::new(move |_: &Error| *counted.borrow_mut() += 1);
        (
            Fallback::new(
                Box::new(Failing(calls, kind)),
                Box::new(CpuBackend::new()),
                on_failure,
            ),
            failures,
        )
    }

    #[test]
    fn scores_after_a_lost_device_are_complete_and_warned_about_once() {
        let rows = [1.0f32, 2.0, 3.0, 4.0];
        let block = RowBlock {
            codes: bytemuck::cast_slice(&rows),
            element: Element::F32,
            dims: 2,
        };
        for kind in [ErrorKind::DeviceLost, ErrorKind::OutOfMemory] {
            let (mut backend, failures) = fallback(1, kind);
            for _ in 0..3 {
                let mut scores = Vec::new();
                backend
                    .score(Score::Dot, &[1.0, 1.0], block, &mut scores, &mut || true)
                    .expect("the CPU answers");
                assert_eq!(scores, [3.0, 7.0]);
            }
            assert_eq!(
                (*failures.borrow(), backend.label().starts_with("cpu")),
                (1, true)
            );
        }
    }

    #[test]
    fn assignment_after_a_lost_device_is_the_second_backends() {
        let (mut backend, failures) = fallback(1, ErrorKind::DeviceLost);
        let mut nearest = backend
            .nearest(&[0.0, 10.0], 1, NearestBy::L2, &mut || true)
            .expect("the first call succeeds");
        let mut labels = [0; 2];
        nearest
            .assign(&[1.0, 9.0], &mut labels, &mut || true)
            .expect("the CPU answers");
        assert_eq!((labels, *failures.borrow()), ([0, 1], 1));
    }

    #[test]
    fn of_several_blocks_all_are_the_second_backends() {
        let (mut backend, failures) = fallback(2, ErrorKind::DeviceLost);
        let mut nearest = backend
            .nearest(&[0.0, 10.0], 1, NearestBy::L2, &mut || true)
            .expect("the first call succeeds");
        let (mut one, mut two) = ([9; 2], [9; 1]);
        let mut blocks = [
            Unlabelled {
                rows: &[9.0, 1.0],
                labels: &mut one,
            },
            Unlabelled {
                rows: &[8.0],
                labels: &mut two,
            },
        ];
        nearest
            .assign_each(&mut blocks, &mut || true)
            .expect("the CPU answers");
        assert_eq!((one, two, *failures.borrow()), ([1, 0], [1], 1));
    }

    #[test]
    fn cancelling_is_not_a_device_failure() {
        let (mut backend, failures) = fallback(0, ErrorKind::Cancelled);
        let kind = backend
            .nearest(&[0.0], 1, NearestBy::L2, &mut || true)
            .map(|_| ())
            .map_err(|error| error.kind());
        assert_eq!((kind, *failures.borrow()), (Err(ErrorKind::Cancelled), 0));
    }

    #[test]
    fn rows_that_cannot_be_held_are_sent_and_only_a_device_that_fails_then_is_left() {
        let hold = |backend: &mut Fallback| {
            let held = backend.hold(&[1.0], 1, &mut || true);
            held.map(|held| held.is_some()).map_err(|error| error.kind())
        };
        for kind in [ErrorKind::DeviceLost, ErrorKind::OutOfMemory] {
            let (mut backend, failures) = fallback(0, kind);
            assert_eq!((hold(&mut backend), *failures.borrow()), (Ok(false), 0));
            backend
                .nearest(&[0.0], 1, NearestBy::L2, &mut || true)
                .expect("the CPU answers");
            assert_eq!((hold(&mut backend), *failures.borrow()), (Ok(false), 1));
        }
        let (mut backend, failures) = fallback(0, ErrorKind::Cancelled);
        let outcome = (hold(&mut backend), *failures.borrow());
        assert_eq!(outcome, (Err(ErrorKind::Cancelled), 0));
    }
}
