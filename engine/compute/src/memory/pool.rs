//! Transient buffers by purpose and size class, re-used instead of allocated.
//!
//! A buffer that its user drops is idle, or retired while the device may still use it (after a cancelled wait);
//! it is handed out again only when the last submission that used it has finished. Idle and retired buffers stay
//! charged to the budget; [`Pool::trim`] gives the idle ones back.

use std::cell::RefCell;
use std::rc::Rc;

use super::block::Block;
use super::budget::Label;
use super::buffer::{DeviceBuffer, Purpose};
use crate::context::Context;

/// Account of buffers that nobody uses.
pub(crate) const IDLE_LABEL: &str = "vectorgpu.pool.idle";
/// Account of dropped buffers that the device may still use.
pub(crate) const RETIRED_LABEL: &str = "vectorgpu.pool.retired";

const SMALLEST_CLASS_BYTES: u64 = 256;

/// The pool's buffers.
pub(crate) struct Pool {
    /// Most bytes kept idle.
    idle_bytes_max: u64,
    /// Least recently used first.
    idle: RefCell<Vec<Rc<DeviceBuffer>>>,
    /// With the last submission that uses each.
    retired: RefCell<Vec<(Rc<DeviceBuffer>, u64)>>,
}

impl Pool {
    /// An empty pool that keeps up to `idle_bytes_max` for re-use.
    pub(crate) fn new(idle_bytes_max: u64) -> Rc<Self> {
        Rc::new(Self {
            idle_bytes_max,
            idle: RefCell::default(),
            retired: RefCell::default(),
        })
    }

    /// The size to allocate for `bytes`: at most a quarter more, so that sizes repeat.
    pub(crate) fn size_class(bytes: u64, buffer_bytes_max: u64) -> u64 {
        let bytes = bytes.max(SMALLEST_CLASS_BYTES);
        let step = (1 << (bytes.ilog2() - 2)).max(SMALLEST_CLASS_BYTES);
        bytes.next_multiple_of(step).min(buffer_bytes_max.max(bytes))
    }

    /// An idle buffer of exactly this purpose and class, if there is one.
    pub(crate) fn take(
        self: &Rc<Self>,
        label: impl Into<Label>,
        purpose: Purpose,
        class_bytes: u64,
    ) -> Option<Rc<Block>> {
        let mut idle = self.idle.borrow_mut();
        let position = idle
            .iter()
            .rposition(|buffer| buffer.purpose() == purpose && buffer.bytes() == class_bytes)?;
        let buffer = idle.remove(position);
        buffer.relabel(label);
        Some(Block::transient(buffer, Rc::clone(self)))
    }

    /// Wraps a new buffer so that it comes here when dropped.
    pub(crate) fn adopt(self: &Rc<Self>, buffer: Rc<DeviceBuffer>) -> Rc<Block> {
        Block::transient(buffer, Rc::clone(self))
    }

    /// Takes a dropped buffer back; the device may use it until submission `last_use` has finished.
    pub(super) fn retire(&self, buffer: &Rc<DeviceBuffer>, last_use: u64) {
        buffer.relabel(RETIRED_LABEL);
        self.retired.borrow_mut().push((Rc::clone(buffer), last_use));
    }

    /// Makes retired buffers idle that the device has finished with. Returns how many idle ones it freed for that.
    pub(crate) fn reclaim(&self, context: &Context) -> usize {
        let completed = context.completed();
        let (finished, busy): (Vec<_>, Vec<_>) = self
            .retired
            .take()
            .into_iter()
            .partition(|&(_, last_use)| last_use <= completed);
        self.retired.borrow_mut().extend(busy);
        for (buffer, _) in finished {
            let unmapped = buffer.mapping().is_unmapped()
                || context.guarded("unmapping a buffer", |_| buffer.unmap()).is_ok();
            // On a lost device the buffer cannot be unmapped, and needs not be kept either.
            if unmapped {
                buffer.relabel(IDLE_LABEL);
                self.idle.borrow_mut().push(buffer);
            }
        }
        self.evict()
    }

    /// Frees the least recently used idle buffers beyond the bytes to keep.
    fn evict(&self) -> usize {
        let mut idle = self.idle.borrow_mut();
        let mut kept_bytes: u64 = idle.iter().map(|buffer| buffer.bytes()).sum();
        let surplus = idle.iter().take_while(|buffer| {
            let over = kept_bytes > self.idle_bytes_max;
            kept_bytes -= if over { buffer.bytes() } else { 0 };
            over
        });
        let surplus = surplus.count();
        idle.drain(..surplus);
        surplus
    }

    /// Frees every idle buffer; returns how many.
    pub(crate) fn trim(&self) -> usize {
        self.idle.take().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_at_most_a_quarter_and_are_stable() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 123_456_789, (1 << 31) - 4]) {
            let class = Pool::size_class(bytes, u64::MAX);
            assert!(class >= bytes && class.is_multiple_of(256), "{bytes} -> {class}");
            assert!(
                class <= 256.max(bytes + bytes / 4).max(bytes.next_multiple_of(256)),
                "{bytes} -> {class}"
            );
            assert_eq!(Pool::size_class(class, u64::MAX), class);
        }
    }

    #[test]
    fn a_size_class_does_not_pass_the_largest_buffer() {
        assert_eq!(Pool::size_class((1 << 27) - 256, 1 << 27), 1 << 27);
        assert_eq!(
            Pool::size_class((1 << 27) + 256, (1 << 27) + 512),
            (1 << 27) + 512
        );
    }
}
