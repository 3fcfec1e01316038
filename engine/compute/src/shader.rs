//! The kernels' WGSL: composed from plain files, parsed and validated by naga, bindings read off the result.
//!
//! Composition is one directive, a line `// @import NAME`: it is replaced by `shared/NAME.wgsl`, where `rows` stands
//! for the file of the variant's row format. Every composed line remembers its file and line, so that an error names
//! them. Must not know devices; the result is a naga module that wgpu takes as it is.

use vectorgpu_core::metric::Storage;
use vectorgpu_core::{Error, ErrorKind, Result};
use wgpu::naga;

/// A kernel: its name, its file below `shaders/`, and the file's text.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) text: &'static str,
}

/// `shaders/search/score.wgsl`.
pub(crate) static SCORE: Kernel = Kernel {
    name: "score",
    file: "search/score.wgsl",
    text: include_str!("../../../shaders/search/score.wgsl"),
};

/// `shaders/search/kmeans_assign.wgsl`.
pub(crate) static KMEANS_ASSIGN: Kernel = Kernel {
    name: "kmeans_assign",
    file: "search/kmeans_assign.wgsl",
    text: include_str!("../../../shaders/search/kmeans_assign.wgsl"),
};

const ROWS_F32: (&str, &str) = (
    "shared/rows_f32.wgsl",
    include_str!("../../../shaders/shared/rows_f32.wgsl"),
);
const ROWS_F16: (&str, &str) = (
    "shared/rows_f16.wgsl",
    include_str!("../../../shaders/shared/rows_f16.wgsl"),
);

const IMPORT: &str = "// @import ";

/// A composed, validated kernel.
pub(crate) struct Module {
    pub(crate) module: naga::Module,
    /// Of bind group 0, by binding number.
    pub(crate) bindings: Vec<Binding>,
}

/// One binding of bind group 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) number: u32,
    pub(crate) kind: wgpu::BufferBindingType,
    /// Least size of the bound range: the struct, or one element of a run-time array.
    pub(crate) bytes_min: u64,
}

/// Text with a line map.
struct Composed {
    text: String,
    lines: Vec<(&'static str, usize)>,
}

/// Composes and validates `kernel` for rows of format `rows`.
///
/// # Errors
/// `Internal` with file, line and cause; a shipped kernel that fails fails its test first.
pub(crate) fn load(kernel: &Kernel, rows: Storage) -> Result<Module> {
    let composed = compose(kernel, rows)?;
    let module = naga::front::wgsl::parse_str(&composed.text)
        .map_err(|error| composed.error(error.location(&composed.text), error.message()))?;
    let capabilities = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| {
            composed.error(
                error.location(&composed.text),
                &error.emit_to_string(&composed.text),
            )
        })?;
    let bindings = reflect(kernel, &module)?;
    Ok(Module { module, bindings })
}

fn compose(kernel: &Kernel, rows: Storage) -> Result<Composed> {
    let mut composed = Composed {
        text: String::new(),
        lines: Vec::new(),
    };
    for (number, line) in kernel.text.lines().enumerate() {
        match line.strip_prefix(IMPORT) {
            None => composed.push(line, kernel.file, number + 1),
            Some(name) => {
                let (file, text) = part(name.trim(), rows).ok_or_else(|| {
                    let place = format!("{}:{}", kernel.file, number + 1);
                    Error::new(
                        ErrorKind::Internal,
                        format!("{place} imports \"{name}\", which does not exist"),
                    )
                })?;
                for (number, line) in text.lines().enumerate() {
                    composed.push(line, file, number + 1);
                }
            }
        }
    }
    Ok(composed)
}

fn part(name: &str, rows: Storage) -> Option<(&'static str, &'static str)> {
    match (name, rows) {
        ("rows", Storage::F32) => Some(ROWS_F32),
        ("rows", Storage::F16) => Some(ROWS_F16),
        _ => None,
    }
}

impl Composed {
    fn push(&mut self, line: &str, file: &'static str, number: usize) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.push((file, number));
    }

    fn error(&self, location: Option<naga::SourceLocation>, cause: &str) -> Error {
        let place = location
            .and_then(|location| usize::try_from(location.line_number).ok()?.checked_sub(1))
            .and_then(|index| self.lines.get(index));
        let message = match place {
            Some((file, line)) => format!("shader {file}:{line} is not valid"),
            None => "a shader is not valid".to_owned(),
        };
        Error::new(ErrorKind::Internal, message).with_detail(cause.to_owned())
    }
}

fn reflect(kernel: &Kernel, module: &naga::Module) -> Result<Vec<Binding>> {
    let broken = |what: &str| Error::new(ErrorKind::Internal, format!("shader {}: {what}", kernel.file));
    let mut sizes = naga::proc::Layouter::default();
    sizes
        .update(module.to_ctx())
        .map_err(|error| broken(&error.to_string()))?;
    let mut bindings = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(resource) = &variable.binding else {
            continue;
        };
        if resource.group != 0 {
            return Err(broken("only bind group 0 is used here"));
        }
        let kind = match variable.space {
            naga::AddressSpace::Uniform => wgpu::BufferBindingType::Uniform,
            naga::AddressSpace::Storage { access } => wgpu::BufferBindingType::Storage {
                read_only: !access.contains(naga::StorageAccess::STORE),
            },
            _ => return Err(broken("only uniform and storage buffers are bound here")),
        };
        let bytes_min = u64::from(sizes[variable.ty].size.max(4));
        bindings.push(Binding {
            number: resource.binding,
            kind,
            bytes_min,
        });
    }
    bindings.sort_by_key(|binding| binding.number);
    Ok(bindings)
}

/// Every kernel with every row format that it comes in.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Storage)> {
    vec![
        (&SCORE, Storage::F32),
        (&SCORE, Storage::F16),
        (&KMEANS_ASSIGN, Storage::F32),
    ]
}

/// Name and offset of each member of the uniform struct `Params`, for checks against its Rust mirror.
#[cfg(test)]
pub(crate) fn params_layout(kernel: &Kernel, rows: Storage) -> Vec<(String, usize)> {
    let module = load(kernel, rows).unwrap().module;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_validates_and_numbers_its_bindings_without_gaps() {
        for (kernel, rows) in variants() {
            let loaded = load(kernel, rows).unwrap_or_else(|error| panic!("{error}: {:?}", error.detail()));
            let numbers: Vec<_> = loaded.bindings.iter().map(|binding| binding.number).collect();
            assert_eq!(
                numbers,
                (0..).take(numbers.len()).collect::<Vec<_>>(),
                "{}",
                kernel.name
            );
            assert_eq!(loaded.module.entry_points.len(), 1);
            assert_eq!(loaded.module.entry_points[0].name, "main");
        }
    }

    #[test]
    fn every_file_below_shaders_belongs_to_a_variant() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shaders");
        let known: Vec<&str> = variants()
            .iter()
            .map(|(kernel, _)| kernel.file)
            .chain([ROWS_F32.0, ROWS_F16.0])
            .collect();
        for folder in std::fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            for file in std::fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
            {
                let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                assert!(
                    known.contains(&name.as_str()),
                    "{name} is not loaded by any variant"
                );
            }
        }
    }

    #[test]
    fn reflection_reads_kind_and_size_of_each_binding() {
        let bindings = load(&SCORE, Storage::F32).unwrap().bindings;
        let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
        let expected = [
            (wgpu::BufferBindingType::Uniform, 8),
            (storage(true), 16),
            (storage(true), 16),
            (storage(false), 4),
        ];
        assert_eq!(
            bindings.iter().map(|b| (b.kind, b.bytes_min)).collect::<Vec<_>>(),
            expected
        );
        assert_eq!(load(&SCORE, Storage::F16).unwrap().bindings[1].bytes_min, 8);
    }

    #[test]
    fn an_error_names_the_file_and_line_it_was_written_on() {
        let parse = Kernel {
            name: "bad",
            file: "bad.wgsl",
            text: "// @import rows\n\nfn f() { let x: u32 = 1.5; }\n",
        };
        let error = load(&parse, Storage::F32).err().unwrap();
        assert_eq!(error.message(), "shader bad.wgsl:3 is not valid");
        let missing = Kernel {
            name: "bad",
            file: "bad.wgsl",
            text: "\n// @import nothing\n",
        };
        assert!(
            load(&missing, Storage::F32)
                .err()
                .unwrap()
                .message()
                .starts_with("bad.wgsl:2 imports \"nothing\"")
        );
    }
}
