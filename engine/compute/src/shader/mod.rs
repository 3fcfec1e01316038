//! The kernels' WGSL: composed from plain files, parsed and validated by naga, bindings read off the result.
//!
//! Must not know devices; the result is a naga module that wgpu takes as it is. `shaders/variants.txt` lists the
//! files and the variants that each comes in; a test holds it against what the kernels' calls can ask for.

mod compose;
mod reflect;

use vectorgpu_core::metric::Element;
use vectorgpu_core::{Error, ErrorKind, Result};
use wgpu::naga;

pub(crate) use reflect::Binding;

/// A kernel: its name, its file below `shaders/`, the file's text, and the constants that tuning may change.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) text: &'static str,
    pub(crate) tunables: &'static [Tunable],
}

/// An `override` constant that the table of workgroup sizes may set.
#[derive(Debug)]
pub(crate) struct Tunable {
    pub(crate) name: &'static str,
    /// What an unknown device gets.
    pub(crate) default: u32,
    /// What the autotune command tries; the default is among them.
    pub(crate) candidates: &'static [u32],
}

/// Declares the kernel of a file: `kernel!("score", "search/score.wgsl", [tunables])`.
macro_rules! kernel {
    ($name:literal, $file:literal) => {
        $crate::shader::kernel!($name, $file, [])
    };
    ($name:literal, $file:literal, [$($tunable:expr),*]) => {
        $crate::shader::Kernel {
            name: $name,
            file: $file,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/", $file)),
            tunables: &[$($tunable),*],
        }
    };
}
pub(crate) use kernel;

/// How neighbouring invocations add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Sum {
    /// Through workgroup memory, with barriers.
    #[default]
    Workgroup,
    /// With subgroup operations.
    Subgroup,
}

/// Where a kernel's parameters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ParamsPlace {
    /// In the command stream.
    Immediates,
    /// In a uniform buffer, `@group(1) @binding(0)`.
    Uniform,
}

/// What distinguishes the pipelines of one kernel; a kernel that lacks an axis leaves it at its default.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    /// The format of what `// @import rows` reads.
    pub(crate) rows: Element,
    /// What `// @import sum`, `scan`, `best` and `fold` stand for.
    pub(crate) sum: Sum,
    /// The kernel's `override` constants.
    pub(crate) constants: Vec<(&'static str, u32)>,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            rows: Element::F32,
            sum: Sum::Workgroup,
            constants: Vec::new(),
        }
    }
}

impl Variant {
    /// With rows of this format.
    pub(crate) fn rows(mut self, rows: Element) -> Self {
        self.rows = rows;
        self
    }

    /// With this way of adding up.
    pub(crate) fn sum(mut self, sum: Sum) -> Self {
        self.sum = sum;
        self
    }

    /// With `constant` set; the last setting of a name counts.
    pub(crate) fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.retain(|(known, _)| *known != name);
        self.constants.push((name, value));
        self
    }
}

/// A composed, validated kernel.
pub(crate) struct Module {
    pub(crate) module: naga::Module,
    /// Of bind group 0, by binding number, without gaps.
    pub(crate) bindings: Vec<Binding>,
    /// Size of the parameters; 0: the kernel has none.
    pub(crate) params_bytes: u32,
}

/// Composes and validates `kernel`.
///
/// # Errors
/// `Internal` with file, line and cause; a shipped kernel that fails fails its test first.
pub(crate) fn load(kernel: &Kernel, variant: &Variant, place: ParamsPlace) -> Result<Module> {
    let composed = compose::compose(kernel, variant, place)?;
    let module = naga::front::wgsl::parse_str(composed.text())
        .map_err(|error| composed.error(error.location(composed.text()), error.message()))?;
    naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::all(),
    )
    .validate(&module)
    .map_err(|error| {
        composed.error(
            error.location(composed.text()),
            &error.emit_to_string(composed.text()),
        )
    })?;
    let (bindings, params_bytes) = reflect::reflect(&module)
        .map_err(|what| Error::new(ErrorKind::Internal, format!("shader {}: {what}", kernel.file)))?;
    Ok(Module {
        module,
        bindings,
        params_bytes,
    })
}

/// Name and offset of each member of the struct `Params`, for checks against its Rust mirror.
#[cfg(test)]
pub(crate) fn params_layout(kernel: &Kernel) -> Vec<(String, usize)> {
    let module = load(kernel, &Variant::default(), ParamsPlace::Uniform)
        .unwrap()
        .module;
    let (_, params) = module
        .types
        .iter()
        .find(|(_, ty)| ty.name.as_deref() == Some("Params"))
        .unwrap();
    let naga::TypeInner::Struct { members, .. } = &params.inner else {
        panic!("Params is not a struct")
    };
    let offset = |member: &naga::StructMember| usize::try_from(member.offset).unwrap();
    members
        .iter()
        .map(|member| (member.name.clone().unwrap(), offset(member)))
        .collect()
}

/// Checks in a kernel family's tests that a Rust mirror has the fields of the shader's `Params`, at their offsets.
#[cfg(test)]
macro_rules! assert_params {
    ($kernel:expr, $mirror:ty { $($field:ident),* $(,)? }) => {
        assert_eq!(
            $crate::shader::params_layout(&$kernel),
            [$((stringify!($field).to_owned(), std::mem::offset_of!($mirror, $field))),*]
        )
    };
}
#[cfg(test)]
pub(crate) use assert_params;

#[cfg(test)]
mod tests;
