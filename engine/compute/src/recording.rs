//! Commands as data: what a step wants done, in order, before anything touches wgpu.

use std::rc::Rc;

use crate::device::PARAMS_BYTES_MAX;
use crate::memory::block::Block;
use crate::memory::buffer::DeviceBuffer;
use crate::memory::view::View;
use crate::pipeline::Pipeline;

/// One command.
pub(crate) enum Command {
    /// Copies bytes between buffers; offsets and length are multiples of 4.
    Copy { source: End, target: End, bytes: u64 },
    /// Runs a kernel over the views that it binds in their order.
    Dispatch(Dispatch),
}

/// One run of a kernel.
pub(crate) struct Dispatch {
    pub(crate) pipeline: Rc<Pipeline>,
    pub(crate) params: Params,
    pub(crate) views: Vec<View>,
    pub(crate) workgroups: [u32; 2],
    /// How much work it is, in the units of the kernel's pace.
    pub(crate) units: u64,
}

/// A kernel's parameters.
#[derive(Clone, Copy)]
pub(crate) struct Params {
    bytes: [u8; PARAMS_BYTES_MAX as usize],
    length: usize,
}

/// One end of a copy.
#[derive(Clone)]
pub(crate) enum End {
    /// Within a buffer of one of the rings.
    Ring(Rc<DeviceBuffer>, u64),
    /// Within a block, from the start of the view.
    View(View),
}

/// Commands in order; consecutive dispatches share one pass.
#[derive(Default)]
pub(crate) struct Recording {
    pub(crate) commands: Vec<Command>,
}

impl Params {
    /// Parameters of at most [`PARAMS_BYTES_MAX`] bytes, a multiple of 4; `None` otherwise.
    pub(crate) fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; PARAMS_BYTES_MAX as usize];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        from.len().is_multiple_of(4).then_some(Self {
            bytes,
            length: from.len(),
        })
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl End {
    /// The buffer.
    pub(crate) fn buffer(&self) -> &Rc<DeviceBuffer> {
        match self {
            Self::Ring(buffer, _) => buffer,
            Self::View(view) => view.buffer(),
        }
    }

    /// Where in the buffer.
    pub(crate) fn offset(&self) -> u64 {
        match self {
            Self::Ring(_, offset) => *offset,
            Self::View(view) => view.offset(),
        }
    }

    fn block(&self) -> Option<&Rc<Block>> {
        match self {
            Self::Ring(..) => None,
            Self::View(view) => Some(view.block()),
        }
    }
}

impl Recording {
    /// Appends a copy of `bytes`.
    pub(crate) fn copy(&mut self, source: End, target: End, bytes: u64) {
        self.commands.push(Command::Copy {
            source,
            target,
            bytes,
        });
    }

    /// The dispatches in their order.
    pub(crate) fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(|command| match command {
            Command::Dispatch(dispatch) => Some(dispatch),
            Command::Copy { .. } => None,
        })
    }

    /// Runs of dispatches that no copy interrupts.
    pub(crate) fn passes(&self) -> usize {
        let is_dispatch = |command: &Command| matches!(command, Command::Dispatch(_));
        let runs = self.commands.chunk_by(|a, b| is_dispatch(a) == is_dispatch(b));
        runs.filter(|run| run.first().is_some_and(is_dispatch)).count()
    }

    /// Takes off what follows the first `count` dispatches.
    pub(crate) fn split_off(&mut self, count: usize) -> Self {
        let mut seen = 0;
        let at = self.commands.iter().position(|command| {
            seen += usize::from(matches!(command, Command::Dispatch(_)));
            seen > count
        });
        let at = at.unwrap_or(self.commands.len());
        Self {
            commands: self.commands.split_off(at),
        }
    }

    /// Notes in every block that submission `number` uses it.
    pub(crate) fn stamp(&self, number: u64) {
        for command in &self.commands {
            match command {
                Command::Copy { source, target, .. } => {
                    let blocks = [source, target].into_iter().filter_map(End::block);
                    blocks.for_each(|block| block.stamp(number));
                }
                Command::Dispatch(dispatch) => {
                    dispatch.views.iter().for_each(|view| view.block().stamp(number));
                }
            }
        }
    }
}
