//! `vectorgpu.devices`.

use pgrx::prelude::*;
use vectorgpu_compute::DeviceChoice;
use vectorgpu_core::cpu;

use crate::error::OrRaise;
use crate::gpu::lifecycle;
use crate::guc::Device;
use crate::logging;

/// `vectorgpu.devices()`: the CPU and every Vulkan adapter; `selected` is the adapter that `device = gpu` would take.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "a row type is spelled out where pgrx wants it"
)]
fn devices() -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(kind, String),
        name!(vendor, Option<String>),
        name!(driver, Option<String>),
        name!(software, bool),
        name!(selected, bool),
        name!(opened, bool),
        name!(binding_bytes_max, Option<i64>),
        name!(buffer_bytes_max, Option<i64>),
    ),
> {
    let choice = match Device::chosen() {
        Device::Named(name) => DeviceChoice::Named(name),
        Device::Auto | Device::Gpu | Device::Cpu => DeviceChoice::Auto,
    };
    let adapters = lifecycle::session_builder(&choice).devices();
    logging::flush();
    let open = lifecycle::open_engine();
    let bytes = |value: u64| i64::try_from(value).ok();
    let mut rows = vec![(
        cpu_name(),
        "cpu".to_owned(),
        None,
        None,
        false,
        false,
        true,
        None,
        None,
    )];
    rows.extend(adapters.or_raise().into_iter().map(|adapter| {
        let opened = open
            .as_ref()
            .is_some_and(|engine| engine.adapter().name == adapter.name);
        (
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
        )
    }));
    TableIterator::new(rows)
}

fn cpu_name() -> String {
    use vectorgpu_core::backend::Backend;
    cpu::CpuBackend::new().label().to_owned()
}
