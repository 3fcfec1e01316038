//! Commands as data: what a step wants done, in order, before anything touches wgpu.

use std::rc::Rc;

use crate::memory::buffer::DeviceBuffer;
use crate::pipeline::Pipeline;

/// One command.
pub(crate) enum Command {
    /// Copies bytes between buffers; offsets and length are multiples of 4.
    Copy {
        source: Rc<DeviceBuffer>,
        source_offset: u64,
        target: Rc<DeviceBuffer>,
        target_offset: u64,
        bytes: u64,
    },
    /// Runs a kernel; binding i is the first `bytes` of the i-th buffer.
    Dispatch {
        pipeline: Rc<Pipeline>,
        bindings: Vec<(Rc<DeviceBuffer>, u64)>,
        workgroups: u32,
    },
}

/// Commands in order; consecutive dispatches share one pass.
#[derive(Default)]
pub(crate) struct Recording {
    pub(crate) commands: Vec<Command>,
}

impl Recording {
    /// Appends a copy of `bytes`.
    pub(crate) fn copy(
        &mut self,
        source: &Rc<DeviceBuffer>,
        source_offset: u64,
        target: &Rc<DeviceBuffer>,
        target_offset: u64,
        bytes: u64,
    ) {
        self.commands.push(Command::Copy {
            source: Rc::clone(source),
            source_offset,
            target: Rc::clone(target),
            target_offset,
            bytes,
        });
    }

    /// Appends a run of `pipeline` over the first `bytes` of each of `bindings`.
    pub(crate) fn dispatch(
        &mut self,
        pipeline: &Rc<Pipeline>,
        bindings: &[(&Rc<DeviceBuffer>, u64)],
        workgroups: u32,
    ) {
        self.commands.push(Command::Dispatch {
            pipeline: Rc::clone(pipeline),
            bindings: bindings
                .iter()
                .map(|&(buffer, bytes)| (Rc::clone(buffer), bytes))
                .collect(),
            workgroups,
        });
    }
}
