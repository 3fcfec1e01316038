//! `vectorgpu.devices`.

use pgrx::prelude::*;
use vectorgpu_compute::{AdapterReport, DeviceChoice};
use vectorgpu_core::cpu;

use crate::error::OrRaise;
use crate::gpu::lifecycle;
use crate::guc::Device;
use crate::logging;

/// `vectorgpu.devices()`: the CPU and every Vulkan adapter; `selected` is the adapter that the session's setting, or
/// `device = gpu`, would take.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "a row type is spelled out where pgrx wants it"
)]
fn devices() -> TableIterator<
    'static,
    (
        name!(index, Option<i32>),
        name!(name, String),
        name!(kind, String),
        name!(vendor, Option<String>),
        name!(driver, Option<String>),
        name!(software, bool),
        name!(selected, bool),
        name!(opened, bool),
        name!(binding_bytes_max, Option<i64>),
        name!(buffer_bytes_max, Option<i64>),
        name!(subgroup_size_min, Option<i32>),
        name!(subgroup_size_max, Option<i32>),
        name!(features, Option<Vec<String>>),
    ),
> {
    let choice = match Device::chosen() {
        Device::Gpu(choice) => choice,
        Device::Auto | Device::Cpu => DeviceChoice::Auto,
    };
    let adapters = lifecycle::session_builder(&choice).devices();
    logging::flush();
    let open = lifecycle::open_engine();
    let bytes = |value: u64| i64::try_from(value).ok();
    let cpu = (
        None,
        cpu_name(),
        "cpu".to_owned(),
        None,
        None,
        false,
        false,
        true,
        None,
        None,
        None,
        None,
        None,
    );
    let rows = (0..).zip(adapters.or_raise()).map(move |(index, adapter)| {
        let is_this =
            |open: &AdapterReport| open.name == adapter.name && open.pci_bus_id == adapter.pci_bus_id;
        let opened = open.as_ref().is_some_and(|engine| is_this(engine.adapter()));
        let features = features(&adapter);
        (
            Some(index),
            adapter.name,
            adapter.kind.name().to_owned(),
            Some(adapter.vendor),
            Some(
                format!("{} {}", adapter.driver, adapter.driver_info)
                    .trim()
                    .to_owned(),
            ),
            adapter.software,
            adapter.selected,
            opened,
            bytes(adapter.binding_bytes_max),
            bytes(adapter.buffer_bytes_max),
            i32::try_from(adapter.subgroup_size.0).ok(),
            i32::try_from(adapter.subgroup_size.1).ok(),
            Some(features),
        )
    });
    TableIterator::new(std::iter::once(cpu).chain(rows).collect::<Vec<_>>())
}

/// What of the optional features the adapter has, by the names of the documentation.
fn features(adapter: &AdapterReport) -> Vec<String> {
    [
        (adapter.subgroups, "subgroups"),
        (adapter.f16_arithmetic, "f16"),
        (adapter.immediates, "immediates"),
        (adapter.timestamps, "timestamps"),
        (adapter.cooperative_matrix, "cooperative_matrix"),
    ]
    .into_iter()
    .filter(|(has, _)| *has)
    .map(|(_, name)| name.to_owned())
    .collect()
}

fn cpu_name() -> String {
    use vectorgpu_core::backend::Backend;
    cpu::CpuBackend::new().label().to_owned()
}
