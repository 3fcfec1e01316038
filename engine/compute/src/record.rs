//! Appending a checked dispatch to a recording.

use std::rc::Rc;

use bytemuck::Pod;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::memory::view::{RangeError, View};
use crate::pipeline::Pipeline;
use crate::recording::{Command, Dispatch, Params, Recording};
use crate::runtime::Runtime;

/// How large a run of a kernel is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Workgroups in x and y.
    pub(crate) workgroups: [u32; 2],
    /// The amount of work, in the unit of the kernel's pace.
    pub(crate) units: u64,
}

impl Runtime {
    /// Appends a run of `pipeline` with `params` over `views`.
    ///
    /// # Errors
    /// `Internal` for parameters, bindings or workgroups that the kernel does not have, `InvalidArgument` for views
    /// that cannot be bound.
    pub(crate) fn record(
        &self,
        recording: &mut Recording,
        pipeline: &Rc<Pipeline>,
        params: &impl Pod,
        views: &[&View],
        extent: Extent,
    ) -> Result<()> {
        let params = self.checked(pipeline, bytemuck::bytes_of(params), views, extent.workgroups)?;
        recording.commands.push(Command::Dispatch(Dispatch {
            pipeline: Rc::clone(pipeline),
            params,
            views: views.iter().copied().cloned().collect(),
            workgroups: extent.workgroups,
            units: extent.units,
        }));
        Ok(())
    }

    fn checked(
        &self,
        pipeline: &Pipeline,
        params: &[u8],
        views: &[&View],
        workgroups: [u32; 2],
    ) -> Result<Params> {
        let broken = |what: String| Error::new(ErrorKind::Internal, format!("{}: {what}", pipeline.label));
        let capabilities = self.capabilities();
        let expected = &pipeline.layout.bindings;
        if views.len() != expected.len() {
            return Err(broken(format!(
                "{} buffers for {} bindings",
                views.len(),
                expected.len()
            )));
        }
        for (index, (view, binding)) in views.iter().zip(expected).enumerate() {
            let shared = |other: &View| other.buffer().number() == view.buffer().number();
            let mut others = views.iter().enumerate().filter(|(other, _)| *other != index);
            if !binding.read_only && others.any(|(_, other)| shared(other)) {
                return Err(RangeError::Shared.into());
            }
            view.check_binding(
                capabilities.storage_alignment,
                binding.bytes_min,
                capabilities.binding_bytes,
            )?;
        }
        if workgroups.iter().any(|&n| n == 0 || n > capabilities.workgroups) {
            return Err(broken(format!("cannot run {workgroups:?} workgroups")));
        }
        Params::new(params)
            .filter(|_| u32::try_from(params.len()) == Ok(pipeline.params_bytes))
            .ok_or_else(|| {
                broken(format!(
                    "{} bytes of parameters instead of {}",
                    params.len(),
                    pipeline.params_bytes
                ))
            })
    }
}
