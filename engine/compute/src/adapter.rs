//! Which Vulkan adapters there are, and which one to use.
//!
//! Works without a display. Invariant: a software adapter (Mesa's lavapipe, SwiftShader) is chosen only when the
//! caller allows it, because the CPU backend beats it by a factor of ten; it serves tests.

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::device;

/// Which adapter to open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best one: discrete before integrated before virtual before software.
    #[default]
    Auto,
    /// The best one whose name contains this text, upper and lower case alike.
    Named(String),
    /// The adapter at this position of [`crate::EngineBuilder::devices`], counted from 0.
    Index(usize),
}

/// Who makes a device, as far as kernels are tuned for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
    /// Vulkan carried out by the CPU, whoever made it.
    Software,
    /// Anyone else.
    Other,
}

/// What an adapter is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// A card with memory of its own.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A GPU passed through by a hypervisor.
    Virtual,
    /// What the driver does not name.
    Other,
    /// Vulkan carried out by the CPU.
    Software,
}

/// An adapter as SQL shows it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AdapterReport {
    /// The adapter's name, as its driver gives it.
    pub name: String,
    /// The vendor's name, or its PCI number in hexadecimal.
    pub vendor: String,
    /// The vendor as kernels are tuned by it.
    pub tuning_vendor: Vendor,
    /// PCI address, empty when the driver does not say.
    pub pci_bus_id: String,
    /// What kind of device it is.
    pub kind: DeviceKind,
    /// The driver's name.
    pub driver: String,
    /// The driver's version and build.
    pub driver_info: String,
    /// The graphics interface: "vulkan".
    pub backend: String,
    /// Whether the CPU carries the work out.
    pub software: bool,
    /// Whether [`crate::Engine::open`] would take this one under the builder that made the report.
    pub selected: bool,
    /// Largest part of a buffer that one kernel can see, in bytes.
    pub binding_bytes_max: u64,
    /// Largest buffer in bytes.
    pub buffer_bytes_max: u64,
    /// Most invocations of a workgroup.
    pub workgroup_invocations_max: u32,
    /// Memory that a workgroup shares, in bytes.
    pub workgroup_bytes_max: u32,
    /// Smallest and largest number of invocations that run in step.
    pub subgroup_size: (u32, u32),
    /// Whether kernels can calculate in f16 (reading f16 rows does not need it).
    pub f16_arithmetic: bool,
    /// Whether kernels can use subgroup operations.
    pub subgroups: bool,
    /// Whether kernels can be timed on the device.
    pub timestamps: bool,
    /// Whether kernels take their parameters from the command stream.
    pub immediates: bool,
    /// Whether 16x16x16 matrices of f16 can be multiplied with f32 sums by the matrix units.
    pub cooperative_matrix: bool,
}

impl DeviceChoice {
    /// Reads what a user writes: nothing, `auto` or `gpu` for the best adapter, a number for a position in the list,
    /// anything else as part of a name.
    ///
    /// ```
    /// use vectorgpu_compute::DeviceChoice;
    /// assert_eq!(DeviceChoice::parse(" GPU "), DeviceChoice::Auto);
    /// assert_eq!(DeviceChoice::parse("1"), DeviceChoice::Index(1));
    /// assert_eq!(DeviceChoice::parse("radeon"), DeviceChoice::Named("radeon".to_owned()));
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "" | "auto" | "gpu" => Self::Auto,
            _ => text
                .parse()
                .map_or_else(|_| Self::Named(text.to_owned()), Self::Index),
        }
    }
}

impl Vendor {
    /// The vendor of a device with this PCI vendor number.
    pub(crate) fn of(number: u32, kind: wgpu::DeviceType) -> Self {
        match (kind, number) {
            (wgpu::DeviceType::Cpu, _) => Self::Software,
            (_, 0x10de) => Self::Nvidia,
            (_, 0x1002 | 0x1022) => Self::Amd,
            (_, 0x8086) => Self::Intel,
            _ => Self::Other,
        }
    }

    /// The name in the table of workgroup sizes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
            Self::Intel => "intel",
            Self::Software => "software",
            Self::Other => "other",
        }
    }
}

impl DeviceKind {
    /// The name used in SQL output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Other => "other",
            Self::Software => "software",
        }
    }
}

impl From<wgpu::DeviceType> for DeviceKind {
    fn from(kind: wgpu::DeviceType) -> Self {
        match kind {
            wgpu::DeviceType::DiscreteGpu => Self::Discrete,
            wgpu::DeviceType::IntegratedGpu => Self::Integrated,
            wgpu::DeviceType::VirtualGpu => Self::Virtual,
            wgpu::DeviceType::Other => Self::Other,
            wgpu::DeviceType::Cpu => Self::Software,
        }
    }
}

/// Describes `adapter`; `selected` is left false.
pub(crate) fn report(adapter: &wgpu::Adapter) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let features = adapter.features();
    let kind = DeviceKind::from(info.device_type);
    AdapterReport {
        name: info.name,
        vendor: vendor_name(info.vendor),
        tuning_vendor: Vendor::of(info.vendor, info.device_type),
        pci_bus_id: info.device_pci_bus_id,
        kind,
        driver: info.driver,
        driver_info: info.driver_info,
        backend: info.backend.to_string(),
        software: kind == DeviceKind::Software,
        selected: false,
        binding_bytes_max: limits.max_storage_buffer_binding_size,
        buffer_bytes_max: limits.max_buffer_size,
        workgroup_invocations_max: limits.max_compute_invocations_per_workgroup,
        workgroup_bytes_max: limits.max_compute_workgroup_storage_size,
        subgroup_size: (info.subgroup_min_size, info.subgroup_max_size),
        f16_arithmetic: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        immediates: features.contains(wgpu::Features::IMMEDIATES),
        cooperative_matrix: device::multiplies_cooperatively(adapter),
    }
}

/// Picks the position of the adapter to open.
///
/// # Errors
/// `Unsupported` when no adapter qualifies; the message says whether there is none at all, only a software one, or
/// none of that name.
pub(crate) fn choose(
    reports: &[AdapterReport],
    choice: &DeviceChoice,
    allow_software: bool,
) -> Result<usize> {
    if reports.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "no Vulkan adapter was found")
            .with_hint("Install the Vulkan loader and the vendor's Vulkan driver."));
    }
    let fits = |(position, report): &(usize, &AdapterReport)| match choice {
        DeviceChoice::Auto => true,
        DeviceChoice::Index(index) => position == index,
        DeviceChoice::Named(part) => report.name.to_lowercase().contains(&part.to_lowercase()),
    };
    let best = reports
        .iter()
        .enumerate()
        .filter(|candidate| fits(candidate) && (allow_software || !candidate.1.software))
        .min_by_key(|(_, report)| report.kind);
    if let Some((position, _)) = best {
        return Ok(position);
    }
    let names = reports
        .iter()
        .map(|report| report.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let message = match choice {
        _ if reports.iter().enumerate().any(|candidate| fits(&candidate)) => {
            "only software Vulkan is present, and it does not count as a GPU".to_owned()
        }
        DeviceChoice::Named(part) => format!("no Vulkan adapter has a name that contains \"{part}\""),
        DeviceChoice::Index(index) => {
            format!("there is no Vulkan adapter {index}, only {}", reports.len())
        }
        DeviceChoice::Auto => "no Vulkan adapter can be used".to_owned(),
    };
    Err(Error::new(ErrorKind::Unsupported, message).with_detail(format!("Adapters found: {names}.")))
}

fn vendor_name(vendor: u32) -> String {
    match vendor {
        0x1002 | 0x1022 => "AMD".to_owned(),
        0x10de => "NVIDIA".to_owned(),
        0x106b => "Apple".to_owned(),
        0x13b5 => "Arm".to_owned(),
        0x5143 => "Qualcomm".to_owned(),
        0x8086 => "Intel".to_owned(),
        0x1_0005 => "Mesa".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, kind: DeviceKind) -> AdapterReport {
        AdapterReport {
            name: name.to_owned(),
            vendor: String::new(),
            tuning_vendor: Vendor::Other,
            pci_bus_id: String::new(),
            kind,
            driver: String::new(),
            driver_info: String::new(),
            backend: "vulkan".to_owned(),
            software: kind == DeviceKind::Software,
            selected: false,
            binding_bytes_max: 1 << 27,
            buffer_bytes_max: 1 << 31,
            workgroup_invocations_max: 1024,
            workgroup_bytes_max: 32 << 10,
            subgroup_size: (8, 8),
            f16_arithmetic: false,
            subgroups: false,
            timestamps: false,
            immediates: false,
            cooperative_matrix: false,
        }
    }

    fn machine() -> Vec<AdapterReport> {
        vec![
            adapter("llvmpipe (LLVM 15)", DeviceKind::Software),
            adapter("Intel UHD", DeviceKind::Integrated),
            adapter("NVIDIA RTX 4090", DeviceKind::Discrete),
            adapter("NVIDIA L4", DeviceKind::Discrete),
        ]
    }

    #[test]
    fn auto_takes_the_first_discrete_adapter() {
        assert_eq!(choose(&machine(), &DeviceChoice::Auto, true), Ok(2));
        assert_eq!(choose(&machine()[..2], &DeviceChoice::Auto, true), Ok(1));
    }

    #[test]
    fn a_name_part_matches_in_any_case() {
        assert_eq!(
            choose(&machine(), &DeviceChoice::Named("l4".to_owned()), false),
            Ok(3)
        );
    }

    #[test]
    fn an_index_takes_that_adapter_or_says_how_many_there_are() {
        assert_eq!(choose(&machine(), &DeviceChoice::Index(1), false), Ok(1));
        let software = choose(&machine(), &DeviceChoice::Index(0), false).unwrap_err();
        assert!(software.message().contains("software"), "{software}");
        let beyond = choose(&machine(), &DeviceChoice::Index(4), true).unwrap_err();
        assert!(beyond.message().contains("only 4"), "{beyond}");
    }

    #[test]
    fn software_counts_only_when_allowed() {
        let only_software = &machine()[..1];
        assert_eq!(choose(only_software, &DeviceChoice::Auto, true), Ok(0));
        for choice in [DeviceChoice::Auto, DeviceChoice::Named("llvmpipe".to_owned())] {
            let error = choose(only_software, &choice, false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains("software"), "{error}");
        }
    }

    #[test]
    fn a_name_nobody_has_is_unsupported_and_lists_what_is_there() {
        let error = choose(&machine(), &DeviceChoice::Named("radeon".to_owned()), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error
                .detail()
                .is_some_and(|detail| detail.contains("NVIDIA RTX 4090"))
        );
    }

    #[test]
    fn no_adapter_is_unsupported() {
        assert_eq!(
            choose(&[], &DeviceChoice::Auto, true).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }
}
