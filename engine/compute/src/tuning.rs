//! Workgroup sizes and other constants of kernels, by vendor.
//!
//! A kernel names the constants that may be tuned, with a default that runs everywhere; `shaders/workgroups.txt` holds
//! what was measured to be better. A wrong table can only be slow: values outside a kernel's candidates are refused.

use crate::adapter::Vendor;
use crate::capabilities::Capabilities;
use crate::kernels;
use crate::shader::{Kernel, Tunable, Variant};

const TABLE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shaders/workgroups.txt"
));

/// `variant` with the constants of `kernel` that suit the device; those that it sets already stay.
pub(crate) fn tuned(kernel: &Kernel, capabilities: &Capabilities, variant: Variant) -> Variant {
    kernel.tunables.iter().fold(variant, |variant, tunable| {
        if variant.constants.iter().any(|(name, _)| *name == tunable.name) {
            return variant;
        }
        let settings = capabilities.tuning.borrow();
        let set = settings
            .iter()
            .rfind(|set| set.kernel == kernel.name && set.constant == tunable.name)
            .map(|set| set.value)
            .filter(|value| tunable.candidates.contains(value));
        let value = set.unwrap_or_else(|| value(TABLE, kernel.name, capabilities.vendor, tunable));
        variant.constant(tunable.name, value)
    })
}

/// A constant of a kernel that may be tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunableConstant {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The constant's name.
    pub constant: &'static str,
    /// What a device that the table does not list gets.
    pub default: u32,
    /// The values worth trying.
    pub candidates: &'static [u32],
}

/// Every constant that may be tuned; [`crate::Engine::tune`] sets one, the table `shaders/workgroups.txt` holds
/// what was measured.
#[must_use]
pub fn tunable_constants() -> Vec<TunableConstant> {
    kernels::all()
        .into_iter()
        .flat_map(|kernel| {
            kernel.tunables.iter().map(|tunable| TunableConstant {
                kernel: kernel.name,
                constant: tunable.name,
                default: tunable.default,
                candidates: tunable.candidates,
            })
        })
        .collect()
}

/// What `variant` sets a constant to; 1 if it does not.
pub(crate) fn constant(variant: &Variant, name: &str) -> u32 {
    let set = variant.constants.iter().find(|(known, _)| *known == name);
    set.map_or(1, |(_, value)| *value)
}

fn value(table: &str, kernel: &str, vendor: Vendor, tunable: &Tunable) -> u32 {
    lines(table)
        .find(|line| line.kernel == kernel && line.vendor == vendor.name())
        .and_then(|line| line.value(tunable.name))
        .filter(|value| tunable.candidates.contains(value))
        .unwrap_or(tunable.default)
}

struct Line<'a> {
    kernel: &'a str,
    vendor: &'a str,
    settings: &'a str,
}

impl Line<'_> {
    fn value(&self, name: &str) -> Option<u32> {
        self.settings
            .split_whitespace()
            .filter_map(|setting| setting.split_once('='))
            .find(|(known, _)| *known == name)
            .and_then(|(_, value)| value.parse().ok())
    }
}

fn lines(table: &str) -> impl Iterator<Item = Line<'_>> {
    table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            Some(Line {
                kernel: words.next()?,
                vendor: words.next()?,
                settings: words.next()?,
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WG: Tunable = Tunable {
        name: "WG",
        default: 64,
        candidates: &[32, 64, 128],
    };

    #[test]
    fn a_line_counts_for_its_kernel_and_vendor_only() {
        let table = "# note\nadd nvidia WG=128 X=2\nadd amd WG=33\n";
        assert_eq!(value(table, "add", Vendor::Nvidia, &WG), 128);
        assert_eq!(value(table, "add", Vendor::Intel, &WG), 64);
        assert_eq!(value(table, "dot", Vendor::Nvidia, &WG), 64);
        assert_eq!(value(table, "add", Vendor::Amd, &WG), 64, "33 is no candidate");
    }

    #[test]
    fn every_line_of_the_table_sets_constants_that_a_kernel_has_to_candidates() {
        let vendors = [
            Vendor::Nvidia,
            Vendor::Amd,
            Vendor::Intel,
            Vendor::Software,
            Vendor::Other,
        ];
        let kernels = kernels::all();
        for line in lines(TABLE) {
            assert!(
                vendors.iter().any(|vendor| vendor.name() == line.vendor),
                "{}",
                line.vendor
            );
            let kernel = kernels
                .iter()
                .find(|kernel| kernel.name == line.kernel)
                .unwrap_or_else(|| panic!("no kernel {}", line.kernel));
            for setting in line.settings.split_whitespace() {
                let (name, value) = setting.split_once('=').unwrap();
                let tunable = kernel
                    .tunables
                    .iter()
                    .find(|tunable| tunable.name == name)
                    .unwrap_or_else(|| panic!("{} has no tunable {name}", line.kernel));
                assert!(tunable.candidates.contains(&value.parse().unwrap()), "{setting}");
            }
        }
    }

    #[test]
    fn every_default_is_a_candidate() {
        for kernel in kernels::all() {
            for tunable in kernel.tunables {
                assert!(
                    tunable.candidates.contains(&tunable.default),
                    "{} {}",
                    kernel.name,
                    tunable.name
                );
            }
        }
    }
}
