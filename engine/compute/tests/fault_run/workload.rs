//! Work that uses the engine as an index does: scans of rows in both formats, and assignment to centroids, of rows that are
//! sent or held.
//!
//! The rows are random, the right answers come from the CPU once. Each row for the assignment lies close to one
//! centroid, so that its label is beyond doubt on every device.

use std::cell::RefCell;
use std::rc::Rc;

use vectorgpu_compute::Engine;
use vectorgpu_core::backend::{
    Backend, Fallback, HeldRows, KeepWaiting, Nearest, NearestBy, Part, RowBlock, is_device_failure,
};
use vectorgpu_core::cpu::CpuBackend;
use vectorgpu_core::metric::{Element, Score};
use vectorgpu_core::{Error, Result};

use crate::support::{Random, encode, go_on};

/// One thing asked of a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// The scores of so many rows.
    Score(Element, usize),
    /// The nearest centroids of so many rows, in two calls.
    Assign(usize),
    /// The nearest centroids of so many rows, twice, held where that works and sent where it does not, as k-means does.
    Held(usize),
    /// Idle memory given back, so that the next step allocates again.
    Trim,
}

/// A list of steps with their data and right answers.
pub(crate) struct Workload {
    steps: Vec<Step>,
    dims: usize,
    query: Vec<f32>,
    codes_f32: Vec<u8>,
    codes_f16: Vec<u8>,
    scores_f32: Vec<f32>,
    scores_f16: Vec<f32>,
    centroids: Vec<f32>,
    members: Vec<f32>,
    labels: Vec<u32>,
}

/// The errors that a GPU backend returned.
pub(crate) type Errors = Rc<RefCell<Vec<Error>>>;

impl Workload {
    /// `steps` over rows of `dims` dimensions, with `lists` centroids.
    pub(crate) fn new(steps: Vec<Step>, dims: usize, lists: u32) -> Self {
        let mut random = Random(31);
        let count = |wanted: fn(&Step) -> Option<usize>| steps.iter().filter_map(wanted).max().unwrap_or(1);
        let rows = count(|step| match step {
            Step::Score(_, rows) => Some(*rows),
            _ => None,
        });
        let members = count(|step| match step {
            Step::Assign(rows) | Step::Held(rows) => Some(*rows),
            _ => None,
        });
        let query = random.floats(dims);
        let values = random.floats(rows * dims);
        let centroids = random.floats(usize::try_from(lists).unwrap() * dims);
        let labels: Vec<u32> = (0..lists).cycle().step_by(7).take(members).collect();
        let members = labels
            .iter()
            .flat_map(|&label| {
                let start = usize::try_from(label).unwrap() * dims;
                centroids[start..start + dims].iter()
            })
            .map(|x| x + 0.001 * random.float())
            .collect();
        let mut workload = Self {
            steps,
            dims,
            query,
            codes_f32: encode(Element::F32, &values),
            codes_f16: encode(Element::F16, &values),
            scores_f32: Vec::new(),
            scores_f16: Vec::new(),
            centroids,
            members,
            labels,
        };
        let mut cpu = CpuBackend::new();
        workload.scores_f32 = workload.score(&mut cpu, Element::F32, rows).unwrap();
        workload.scores_f16 = workload.score(&mut cpu, Element::F16, rows).unwrap();
        workload
    }

    /// Runs every step on `engine` with the CPU behind it, and checks every answer. Returns the GPU's errors.
    ///
    /// # Panics
    /// When an answer is wrong or missing: behind a GPU that fails the CPU always answers.
    pub(crate) fn run_with_fallback(&self, engine: &Engine) -> Vec<Error> {
        let errors = Errors::default();
        let first = Noting {
            inner: Box::new(engine.backend()) as Box<dyn Backend>,
            errors: Rc::clone(&errors),
        };
        let told = Rc::new(RefCell::new(0));
        let count = Rc::clone(&told);
        let on_failure = Box::new(move |_: &Error| *count.borrow_mut() += 1);
        let mut backend = Fallback::new(Box::new(first), Box::new(CpuBackend::new()), on_failure);
        for &step in &self.steps {
            self.run(engine, &mut backend, step).unwrap_or_else(|error| {
                panic!("{step:?} failed on both devices: {error}: {:?}", error.detail())
            });
        }
        drop(backend);
        assert_eq!(*told.borrow(), errors.borrow().len(), "each failure is told once");
        errors.take()
    }

    /// Runs the first `count` steps on the GPU alone. Answers that come are checked; returns the errors.
    pub(crate) fn run_alone(&self, engine: &Engine, count: usize) -> Vec<Error> {
        let mut backend = engine.backend();
        let steps = self.steps.iter().take(count);
        steps
            .filter_map(|&step| self.run(engine, &mut backend, step).err())
            .collect()
    }

    fn run(&self, engine: &Engine, backend: &mut dyn Backend, step: Step) -> Result<()> {
        match step {
            Step::Score(element, rows) => {
                let got = self.score(backend, element, rows)?;
                let want = match element {
                    Element::F32 => &self.scores_f32[..rows],
                    Element::F16 => &self.scores_f16[..rows],
                };
                self.check_scores(step, &got, want);
            }
            Step::Assign(rows) => {
                let mut nearest = backend.nearest(&self.centroids, self.dims, NearestBy::L2, &mut || true)?;
                for labels in self.labels[..rows].chunks(rows.div_ceil(2)).enumerate() {
                    let (half, want) = labels;
                    let start = half * rows.div_ceil(2) * self.dims;
                    let members = &self.members[start..start + want.len() * self.dims];
                    let mut got = vec![u32::MAX; want.len()];
                    nearest.assign(members, &mut got, &mut go_on)?;
                    assert_eq!(got, want, "{step:?}");
                }
            }
            Step::Held(rows) => self.assign_held(backend, rows)?,
            Step::Trim => engine.trim(),
        }
        Ok(())
    }

    fn assign_held(&self, backend: &mut dyn Backend, rows: usize) -> Result<()> {
        let members = &self.members[..rows * self.dims];
        let numbers: Vec<u32> = (0u32..).take(rows).collect();
        let mut held = backend.hold(members, self.dims, &mut go_on)?;
        for _ in 0..2 {
            let mut got = vec![u32::MAX; rows];
            let mut parts = [Part {
                rows: &numbers,
                centroids: &self.centroids,
                labels: &mut got,
            }];
            let assign = |held: &mut Box<dyn HeldRows>| held.assign(&mut parts, NearestBy::L2, &mut go_on);
            match held.as_mut().map(assign) {
                Some(Ok(())) => {}
                Some(Err(error)) if !is_device_failure(&error) => return Err(error),
                _ => {
                    held = None;
                    let mut nearest =
                        backend.nearest(&self.centroids, self.dims, NearestBy::L2, &mut go_on)?;
                    nearest.assign(members, &mut got, &mut go_on)?;
                }
            }
            assert_eq!(got, self.labels[..rows], "rows that are held");
        }
        Ok(())
    }

    fn score(&self, backend: &mut dyn Backend, element: Element, rows: usize) -> Result<Vec<f32>> {
        let codes = match element {
            Element::F32 => &self.codes_f32,
            Element::F16 => &self.codes_f16,
        };
        let block = RowBlock {
            codes: &codes[..rows * element.code_bytes(self.dims)],
            element,
            dims: self.dims,
        };
        let mut scores = Vec::new();
        backend.score(Score::SquaredL2, &self.query, block, &mut scores, &mut go_on)?;
        Ok(scores)
    }

    /// Both sums round each of d terms and d additions, in any order; all terms are positive.
    fn check_scores(&self, step: Step, got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len(), "{step:?}");
        let dims = f32::from(u16::try_from(self.dims).unwrap());
        for (row, (got, want)) in got.iter().zip(want).enumerate() {
            let allowed = 4.0 * (dims + 4.0) * f32::EPSILON * want;
            assert!(
                (got - want).abs() <= allowed,
                "{step:?} row {row}: {got} for {want}"
            );
        }
    }
}

/// A backend that keeps every error of the one within.
struct Noting<T> {
    inner: T,
    errors: Errors,
}

impl<T> Noting<T> {
    fn note<R>(&self, outcome: Result<R>) -> Result<R> {
        outcome.inspect_err(|error| self.errors.borrow_mut().push(error.clone()))
    }
}

impl Backend for Noting<Box<dyn Backend>> {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn is_exact(&self) -> bool {
        self.inner.is_exact()
    }

    fn batch_bytes(&self) -> usize {
        self.inner.batch_bytes()
    }

    fn score(
        &mut self,
        score: Score,
        query: &[f32],
        block: RowBlock<'_>,
        scores: &mut Vec<f32>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let outcome = self.inner.score(score, query, block, scores, keep_waiting);
        self.note(outcome)
    }

    fn nearest(
        &mut self,
        centroids: &[f32],
        dims: usize,
        by: NearestBy,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Box<dyn Nearest>> {
        let outcome = self.inner.nearest(centroids, dims, by, keep_waiting);
        let inner = self.note(outcome)?;
        Ok(Box::new(Noting {
            inner,
            errors: Rc::clone(&self.errors),
        }))
    }

    /// Nobody is told of these errors: the rows are sent then.
    fn hold(
        &mut self,
        rows: &[f32],
        dims: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<Option<Box<dyn HeldRows>>> {
        self.inner.hold(rows, dims, keep_waiting)
    }
}

impl Nearest for Noting<Box<dyn Nearest>> {
    fn assign(&mut self, rows: &[f32], labels: &mut [u32], keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let outcome = self.inner.assign(rows, labels, keep_waiting);
        self.note(outcome)
    }
}
