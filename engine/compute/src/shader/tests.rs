//! Every shader in every variant, and what a broken one says.

use std::collections::BTreeSet;

use super::*;
use crate::kernels;

const PLACES: [ParamsPlace; 2] = [ParamsPlace::Immediates, ParamsPlace::Uniform];

fn bad(text: &'static str) -> Kernel {
    Kernel {
        name: "bad",
        file: "bad.wgsl",
        text,
        tunables: &[],
    }
}

fn error(text: &'static str) -> Error {
    load(&bad(text), &Variant::default(), ParamsPlace::Uniform)
        .err()
        .unwrap()
}

#[test]
fn every_variant_validates_and_has_one_entry_point() {
    for (kernel, variant) in kernels::variants() {
        for place in PLACES {
            let loaded = load(kernel, &variant, place)
                .unwrap_or_else(|error| panic!("{} {variant:?}: {error}: {:?}", kernel.file, error.detail()));
            assert_eq!(loaded.module.entry_points.len(), 1, "{}", kernel.file);
            assert_eq!(loaded.module.entry_points[0].name, "main", "{}", kernel.file);
            assert!(
                loaded.params_bytes <= crate::device::PARAMS_BYTES_MAX,
                "{}: {} bytes of parameters",
                kernel.file,
                loaded.params_bytes
            );
        }
    }
}

/// A line of the table: the file, and one word for each axis with several values.
fn described(kernel: &Kernel, variants: &[Variant]) -> String {
    let rows: BTreeSet<_> = variants
        .iter()
        .map(|variant| match variant.rows {
            Element::F32 => "f32",
            Element::F16 => "f16",
        })
        .collect();
    let sums: BTreeSet<_> = variants
        .iter()
        .map(|variant| match variant.sum {
            Sum::Workgroup => "workgroup",
            Sum::Subgroup => "subgroup",
        })
        .collect();
    let mut line = kernel.file.to_owned();
    for (axis, directive, values) in [
        ("rows", "// @import rows", rows),
        ("sum", "// @import sum", sums.clone()),
        ("scan", "// @import scan", sums.clone()),
        ("fold", "// @import fold", sums.clone()),
        ("best", "// @import best", sums),
    ] {
        if kernel.text.lines().any(|line| line == directive) {
            let values: Vec<_> = values.into_iter().rev().collect();
            line += &format!(" {axis}={}", values.join(","));
        }
    }
    line
}

#[test]
fn the_table_of_variants_is_what_the_calls_can_ask_for() {
    let mut asked: Vec<(&Kernel, Vec<Variant>)> = Vec::new();
    for (kernel, variant) in kernels::variants() {
        match asked.iter_mut().find(|(known, _)| known.file == kernel.file) {
            Some((_, variants)) => variants.push(variant),
            None => asked.push((kernel, vec![variant])),
        }
    }
    let asked: BTreeSet<_> = asked
        .iter()
        .map(|(kernel, variants)| described(kernel, variants))
        .collect();
    let table = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/variants.txt"));
    let listed: BTreeSet<_> = table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, asked);
}

#[test]
fn every_kernel_has_variants_and_every_variant_a_listed_kernel() {
    let all: BTreeSet<_> = kernels::all().iter().map(|kernel| kernel.name).collect();
    let asked: BTreeSet<_> = kernels::variants()
        .iter()
        .map(|(kernel, _)| kernel.name)
        .collect();
    assert_eq!(all, asked);
}

#[test]
fn every_file_below_shaders_is_used_and_at_most_200_lines_long() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shaders");
    let known: BTreeSet<_> = kernels::variants()
        .iter()
        .map(|(kernel, _)| kernel.file)
        .chain(compose::part_files())
        .map(str::to_owned)
        .collect();
    let mut found = BTreeSet::new();
    let folders = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for folder in folders.filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 200, "{name} has {lines} lines");
            found.insert(name);
        }
    }
    assert_eq!(found, known);
}

#[test]
fn every_constant_is_one_of_its_kernels_overrides() {
    for (kernel, variant) in kernels::variants() {
        let module = load(kernel, &variant, ParamsPlace::Uniform).unwrap().module;
        let names: Vec<_> = module
            .overrides
            .iter()
            .filter_map(|(_, constant)| constant.name.clone())
            .collect();
        let tunables = kernel.tunables.iter().map(|tunable| tunable.name);
        for constant in variant.constants.iter().map(|(name, _)| *name).chain(tunables) {
            assert!(
                names.iter().any(|name| name == constant),
                "{} has no {constant}",
                kernel.name
            );
        }
    }
}

#[test]
fn reflection_reads_access_and_size_of_each_binding_and_the_parameters() {
    let text = "enable f16;\nstruct Params { n: u32, scale: f32, m: u32 }\n// @params\n\
        @group(0) @binding(1) var<storage, read_write> b: array<f32>;\n\
        @group(0) @binding(0) var<storage, read> a: array<vec4<f16>>;\n\
        @compute @workgroup_size(1) fn main() { b[params.n] = f32(a[params.m].x) * params.scale; }\n";
    for place in PLACES {
        let loaded = load(&bad(text), &Variant::default(), place).unwrap();
        assert_eq!(loaded.params_bytes, 12);
        let expected = [(true, 8), (false, 4)].map(|(read_only, bytes_min)| Binding { read_only, bytes_min });
        assert_eq!(loaded.bindings, expected);
    }
}

#[test]
fn an_error_names_the_file_and_line_it_was_written_on() {
    let after_import = error("// @import rows\n\nfn f() { let x: u32 = 1.5; }\n");
    assert_eq!(after_import.message(), "shader bad.wgsl:3 is not valid");
    let after_enable = error("\nfn f() { let x: u32 = 1.5; }\nenable f16;\n");
    assert_eq!(after_enable.message(), "shader bad.wgsl:2 is not valid");
    let missing = error("\n// @import nothing\n");
    assert!(
        missing.message().starts_with("bad.wgsl:2 imports \"nothing\""),
        "{missing}"
    );
}

#[test]
fn bindings_outside_the_convention_are_refused() {
    let gap = "@group(0) @binding(1) var<storage, read_write> b: array<f32>;\n\
        @compute @workgroup_size(1) fn main() { b[0] = 1.0; }\n";
    assert!(error(gap).message().contains("gaps"));
    let group = "@group(2) @binding(0) var<storage, read_write> b: array<f32>;\n\
        @compute @workgroup_size(1) fn main() { b[0] = 1.0; }\n";
    assert!(error(group).message().contains("@group(2)"));
}
