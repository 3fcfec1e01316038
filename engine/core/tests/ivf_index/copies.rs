//! Copies of lists in memory, searched as a device would: keys by the shader's arithmetic, in f32.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::cpu::kernels;
use vectorgpu_core::error::{Error, ErrorKind, Result};
use vectorgpu_core::ivf::copy::{CopiesSearched, CopyHit, CopyMark, ListCopies};
use vectorgpu_core::metric::{Element, Metric};
use vectorgpu_core::quantize::decode;
use vectorgpu_core::quantize::list_row::key::{key_of_dot, key_of_square};
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows};

#[derive(Default)]
struct Copy {
    mark: Option<CopyMark>,
    rows: Option<ListRows>,
}

/// What the copies of an index hold, and what happened to them.
#[derive(Default)]
pub(crate) struct Device {
    copies: HashMap<u32, Copy>,
    pub(crate) begun: usize,
    pub(crate) appended_rows: usize,
    pub(crate) searches: usize,
    /// Lists that fit; more are out of memory.
    pub(crate) room: Option<usize>,
    /// The search at which the device is lost.
    pub(crate) fail_at: Option<usize>,
    /// Whether the pages may be read instead.
    pub(crate) may_fail: bool,
}

/// The copies of one index.
#[derive(Clone)]
pub(crate) struct MemoryCopies {
    pub(crate) device: Rc<RefCell<Device>>,
    metric: Metric,
    is_exact: bool,
}

impl MemoryCopies {
    pub(crate) fn new(metric: Metric, is_exact: bool) -> Self {
        Self {
            device: Rc::default(),
            metric,
            is_exact,
        }
    }
}

impl ListCopies for MemoryCopies {
    fn label(&self) -> &str {
        "memory"
    }

    fn is_exact(&self) -> bool {
        self.is_exact
    }

    fn mark(&self, list: u32) -> Option<CopyMark> {
        self.device.borrow().copies.get(&list)?.mark
    }

    fn begin(&mut self, list: u32, _rows: u64, _keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let mut device = self.device.borrow_mut();
        device.begun += 1;
        device.copies.remove(&list);
        if device.room == Some(device.copies.len()) {
            return Err(Error::new(ErrorKind::OutOfMemory, "no room for a list"));
        }
        device.copies.insert(list, Copy::default());
        Ok(())
    }

    fn append(&mut self, list: u32, rows: &ListRows, _keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        let mut device = self.device.borrow_mut();
        device.appended_rows += rows.len();
        let copy = device.copies.get_mut(&list).expect("begun");
        let Some(held) = &mut copy.rows else {
            copy.rows = Some(rows.clone());
            return Ok(());
        };
        held.codes.extend(&rows.codes);
        held.heads.extend(&rows.heads);
        held.tids.extend(&rows.tids);
        held.norms.extend(&rows.norms);
        held.vectors.extend(&rows.vectors);
        Ok(())
    }

    fn finish(&mut self, list: u32, mark: CopyMark) {
        self.device
            .borrow_mut()
            .copies
            .get_mut(&list)
            .expect("begun")
            .mark = Some(mark);
    }

    fn discard(&mut self, list: u32) {
        self.device.borrow_mut().copies.remove(&list);
    }

    fn nearest(
        &mut self,
        query: &ListQuery<'_>,
        lists: &[u32],
        wanted: usize,
        after: Option<(f32, u64)>,
        hits: &mut Vec<CopyHit>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<CopiesSearched> {
        if !keep_waiting() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        let mut device = self.device.borrow_mut();
        device.searches += 1;
        let mut found = Vec::new();
        for list in lists {
            let copy = &device.copies[list];
            assert!(copy.mark.is_some(), "an unfinished copy is searched");
            if let Some(rows) = &copy.rows {
                found.extend((0..rows.len()).map(|row| self.hit(query, rows, row)));
            }
        }
        if device.fail_at == Some(device.searches) {
            return Err(Error::new(ErrorKind::DeviceLost, "lost"));
        }
        let rows = found.len() as u64;
        found.sort_by(|a, b| a.key.total_cmp(&b.key).then(a.tid.cmp(&b.tid)));
        for hit in &mut found {
            let (key, tid) = after.unwrap_or((f32::NEG_INFINITY, 0));
            if hit.key.total_cmp(&key).then(hit.tid.cmp(&tid)).is_le() {
                hit.key = f32::INFINITY;
            }
        }
        found.sort_by(|a, b| a.key.total_cmp(&b.key));
        found.truncate(wanted);
        let cut = (rows > wanted as u64).then(|| found[wanted - 1].key);
        hits.extend(found);
        Ok(CopiesSearched { rows, cut })
    }

    fn failed(&mut self, error: Error) -> Result<()> {
        let device = self.device.borrow();
        if device.may_fail && error.kind() != ErrorKind::Cancelled {
            Ok(())
        } else {
            Err(error)
        }
    }
}

impl MemoryCopies {
    fn hit(&self, query: &ListQuery<'_>, rows: &ListRows, row: usize) -> CopyHit {
        let (metric, dims) = (self.metric, rows.dims());
        let mut codes = Vec::new();
        let bytes = &rows.codes[row * dims * 2..][..dims * 2];
        decode(Element::F16, bytes, &mut codes).expect("memory");
        let head = rows.heads[row];
        let pairs = query.values.iter().zip(codes.iter().map(|code| code * head[0]));
        let key = if metric == Metric::L2 {
            let sum = pairs.map(|(q, x)| (q - x) * (q - x)).sum();
            key_of_square(sum, query.bounds.rounding, head)
        } else {
            key_of_dot(metric, pairs.map(|(q, x)| q * x).sum(), head, query.bounds.head)
        };
        let exact = self.is_exact.then(|| {
            let vector = bytemuck::cast_slice(&rows.vectors[row * dims..][..dims]);
            let score = kernels().row(metric.score(), Element::F32, query.values, vector);
            (score, rows.norms[row])
        });
        CopyHit {
            tid: rows.tids[row],
            key,
            exact,
        }
    }
}
