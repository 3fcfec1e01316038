//! Bindings and parameters read off a parsed kernel, so that no layout is written twice.

use wgpu::naga;

/// One binding of bind group 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Binding {
    /// Whether kernels only read it.
    pub(crate) read_only: bool,
    /// Least size of the bound range: the struct, or one element of a run-time array.
    pub(crate) bytes_min: u64,
}

/// The bindings of group 0 in their order, and the size of the parameters.
///
/// # Errors
/// What breaks the convention: other groups, gaps in the numbers, other kinds of bindings.
pub(super) fn reflect(module: &naga::Module) -> Result<(Vec<Binding>, u32), String> {
    let mut sizes = naga::proc::Layouter::default();
    sizes.update(module.to_ctx()).map_err(|error| error.to_string())?;
    let mut numbered = Vec::new();
    let mut params_bytes = 0;
    for (_, variable) in module.global_variables.iter() {
        let bytes = sizes[variable.ty].size;
        match (variable.space, &variable.binding) {
            (naga::AddressSpace::Immediate, _) => params_bytes = bytes,
            (naga::AddressSpace::Uniform, Some(place)) if (place.group, place.binding) == (1, 0) => {
                params_bytes = bytes;
            }
            (naga::AddressSpace::Storage { access }, Some(place)) if place.group == 0 => {
                let binding = Binding {
                    read_only: !access.contains(naga::StorageAccess::STORE),
                    bytes_min: u64::from(bytes.max(4)),
                };
                numbered.push((place.binding, binding));
            }
            (_, None) => {}
            (_, Some(place)) => {
                return Err(format!(
                    "@group({}) @binding({}) is not a storage buffer of group 0",
                    place.group, place.binding
                ));
            }
        }
    }
    numbered.sort_by_key(|(number, _)| *number);
    if (0..)
        .zip(&numbered)
        .any(|(expected, (number, _))| expected != *number)
    {
        return Err("the bindings of group 0 have gaps".to_owned());
    }
    Ok((
        numbered.into_iter().map(|(_, binding)| binding).collect(),
        params_bytes,
    ))
}
