//! One text from a kernel's file and the parts it names.
//!
//! Three directives, each on a line of its own: `// @import NAME` is replaced by `shared/NAME.wgsl`, where `rows`,
//! `sum`, `scan`, `best` and `fold` stand for the file of the variant; `// @params` declares `params` where the device wants parameters; and
//! `enable` lines move to the top, where WGSL wants them. Every composed line remembers its file and line, so that an
//! error names them.

use vectorgpu_core::metric::Element;
use vectorgpu_core::{Error, ErrorKind, Result};
use wgpu::naga::SourceLocation;

use super::{Kernel, ParamsPlace, Sum, Variant};

const IMPORT: &str = "// @import ";
const PARAMS: &str = "// @params";

macro_rules! part {
    ($name:literal) => {
        (
            $name,
            concat!("shared/", $name, ".wgsl"),
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../shaders/shared/",
                $name,
                ".wgsl"
            )),
        )
    };
}

/// Name, file below `shaders/`, and text of every part.
const PARTS: &[(&str, &str, &str)] = &[
    part!("cooperative_tile"),
    part!("cooperative_slab"),
    part!("rows_f32"),
    part!("rows_f16"),
    part!("sum_workgroup"),
    part!("sum_subgroup"),
    part!("scan_workgroup"),
    part!("scan_subgroup"),
    part!("best_workgroup"),
    part!("best_subgroup"),
    part!("sort_key"),
    part!("list_key"),
    part!("few"),
    part!("candidates"),
    part!("keep_below"),
    part!("eight_rows"),
    part!("nearest_tile"),
    part!("turned"),
    part!("cache_block"),
    part!("store_octet"),
    part!("spans"),
    part!("weigh_chunk"),
    part!("fold_workgroup"),
    part!("fold_subgroup"),
    part!("linear_few"),
    part!("linear_finish"),
    part!("octets"),
    part!("products"),
    part!("rounding"),
    part!("weights"),
];

/// Text with a line map.
pub(super) struct Composed {
    text: String,
    lines: Vec<(&'static str, usize)>,
}

/// Puts the text of `kernel` in `variant` together.
///
/// # Errors
/// `Internal` for an import that does not exist.
pub(super) fn compose(kernel: &Kernel, variant: &Variant, place: ParamsPlace) -> Result<Composed> {
    let mut composed = Composed {
        text: String::new(),
        lines: Vec::new(),
    };
    let numbered = || (1..).zip(kernel.text.lines());
    for (number, line) in numbered().filter(|(_, line)| is_enable(line)) {
        composed.push(line, kernel.file, number);
    }
    for (number, line) in numbered().filter(|(_, line)| !is_enable(line)) {
        if let Some(name) = line.strip_prefix(IMPORT) {
            let (file, text) = part(name.trim(), variant).ok_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    format!(
                        "{}:{number} imports \"{name}\", which does not exist",
                        kernel.file
                    ),
                )
            })?;
            for (number, line) in (1..).zip(text.lines()) {
                composed.push(line, file, number);
            }
        } else if line.trim_end() == PARAMS {
            composed.push(declaration(place), kernel.file, number);
        } else {
            composed.push(line, kernel.file, number);
        }
    }
    Ok(composed)
}

fn is_enable(line: &str) -> bool {
    line.starts_with("enable ")
}

fn declaration(place: ParamsPlace) -> &'static str {
    match place {
        ParamsPlace::Immediates => "var<immediate> params: Params;",
        ParamsPlace::Uniform => "@group(1) @binding(0) var<uniform> params: Params;",
    }
}

fn part(name: &str, variant: &Variant) -> Option<(&'static str, &'static str)> {
    let name = match (name, variant.rows, variant.sum) {
        ("rows", Element::F32, _) => "rows_f32",
        ("rows", Element::F16, _) => "rows_f16",
        ("sum", _, Sum::Workgroup) => "sum_workgroup",
        ("sum", _, Sum::Subgroup) => "sum_subgroup",
        ("scan", _, Sum::Workgroup) => "scan_workgroup",
        ("scan", _, Sum::Subgroup) => "scan_subgroup",
        ("best", _, Sum::Workgroup) => "best_workgroup",
        ("best", _, Sum::Subgroup) => "best_subgroup",
        ("fold", _, Sum::Workgroup) => "fold_workgroup",
        ("fold", _, Sum::Subgroup) => "fold_subgroup",
        _ => name,
    };
    PARTS
        .iter()
        .find(|(known, _, _)| *known == name)
        .map(|&(_, file, text)| (file, text))
}

/// The files of all parts, below `shaders/`.
#[cfg(test)]
pub(super) fn part_files() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|&(_, file, _)| file)
}

impl Composed {
    /// The composed text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// An error that names the file and line on which the text at `location` was written.
    pub(super) fn error(&self, location: Option<SourceLocation>, cause: &str) -> Error {
        let place = location
            .and_then(|location| usize::try_from(location.line_number).ok()?.checked_sub(1))
            .and_then(|index| self.lines.get(index));
        let message = match place {
            Some((file, line)) => format!("shader {file}:{line} is not valid"),
            None => "a shader is not valid".to_owned(),
        };
        Error::new(ErrorKind::Internal, message).with_detail(cause.to_owned())
    }

    fn push(&mut self, line: &str, file: &'static str, number: usize) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.push((file, number));
    }
}
