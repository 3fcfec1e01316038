//! Bind groups kept for the next dispatch over the same buffers.
//!
//! A step of a language model runs the same hundreds of dispatches for each token; making a bind group costs more
//! than recording the dispatch. A bind group keeps its buffers alive, so those of a freed buffer are let go before the
//! next allocation: the budget and the device must not disagree for long.

use std::cell::RefCell;
use std::collections::HashMap;

use super::Layout;
use crate::memory::buffer::Freed;
use crate::memory::view::View;

/// Beyond this all are let go: a program that never repeats a dispatch must not fill the memory.
const GROUPS_MAX: usize = 4096;

/// What a bind group is made of: the layout's number, and buffer, offset and bytes of each binding.
type Key = (usize, Vec<(u64, u64, u64)>);

/// Bind groups by what they bind.
#[derive(Default)]
pub(crate) struct BindGroups {
    groups: RefCell<HashMap<Key, wgpu::BindGroup>>,
    freed: Freed,
}

impl BindGroups {
    /// Where buffers leave their number when they are freed.
    pub(crate) fn freed(&self) -> &Freed {
        &self.freed
    }

    /// The bind group over `views`, and whether it was made before. Call inside [`crate::context::Context::guarded`].
    pub(crate) fn group(
        &self,
        device: &wgpu::Device,
        label: &str,
        layout: &Layout,
        views: &[View],
    ) -> (wgpu::BindGroup, bool) {
        let bound = views
            .iter()
            .map(|view| (view.buffer().number(), view.offset(), view.bytes()))
            .collect();
        let key = (layout.number, bound);
        let mut groups = self.groups.borrow_mut();
        if let Some(group) = groups.get(&key) {
            return (group.clone(), true);
        }
        if groups.len() >= GROUPS_MAX {
            groups.clear();
        }
        let entries: Vec<_> = (0..)
            .zip(views)
            .map(|(binding, view)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: view.buffer().raw(),
                    offset: view.offset(),
                    size: std::num::NonZero::new(view.bytes()),
                }),
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &layout.raw,
            entries: &entries,
        });
        groups.insert(key, group.clone());
        (group, false)
    }

    /// Lets go of the bind groups over freed buffers.
    pub(crate) fn forget_freed(&self) {
        let freed = self.freed.take();
        if !freed.is_empty() {
            self.groups
                .borrow_mut()
                .retain(|(_, bound), _| !bound.iter().any(|(number, _, _)| freed.contains(number)));
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.groups.borrow().len()
    }
}
