//! The layer's place in the chain: what lies beneath each instance and device, from their making to their end.
//!
//! The loader passes the next layer's functions in a list of structures that hangs on the creation parameters, and
//! each layer moves that list on for the one beneath. Devices and queues are found by their handle, instances by the
//! dispatch table that they share with their physical devices, which is the first word of each.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::io::Write as _;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::faults::{Faults, Plan};
use crate::hooks::{CALL_COUNT, Call};
use crate::{Function, GetProcAddr, Handle, INITIALIZATION_FAILED, SUCCESS, VkResult};

/// `VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO`.
const LOADER_INSTANCE: u32 = 47;
/// `VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO`.
const LOADER_DEVICE: u32 = 48;
/// `VK_LAYER_LINK_INFO`, one of the functions of those two structures.
const LINK_INFO: u32 = 0;

/// How every structure of Vulkan begins.
#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    structure_type: u32,
    next: *mut Header,
}

/// `VkLayerInstanceCreateInfo` and `VkLayerDeviceCreateInfo` with function [`LINK_INFO`].
#[repr(C)]
struct LinkInfo {
    header: Header,
    function: u32,
    link: *mut Link,
}

/// `VkLayerInstanceLink` and `VkLayerDeviceLink`: what the next layer offers.
#[repr(C)]
struct Link {
    next: *mut Link,
    instance_proc_addr: GetProcAddr,
    /// Of a device's link: its function lookup. An instance's link has something else here, which may be null.
    device_proc_addr: Option<GetProcAddr>,
}

/// `PFN_vkCreateInstance`.
type CreateInstance = unsafe extern "C" fn(*const Header, *const c_void, *mut Handle) -> VkResult;
/// `PFN_vkCreateDevice`.
type CreateDevice = unsafe extern "C" fn(Handle, *const Header, *const c_void, *mut Handle) -> VkResult;
/// `PFN_vkDestroyInstance` and `PFN_vkDestroyDevice`.
type Destroy = unsafe extern "C" fn(Handle, *const c_void);
/// `PFN_vkGetDeviceQueue`.
type GetDeviceQueue = unsafe extern "C" fn(Handle, u32, u32, *mut Handle);
/// `PFN_vkFreeMemory`.
type FreeMemory = unsafe extern "C" fn(Handle, u64, *const c_void);

/// A device and what lies beneath it.
pub(crate) struct Device {
    /// The next layer's function lookup.
    pub(crate) next_proc_addr: GetProcAddr,
    /// The next layer's functions for the counted calls, by [`Call::index`].
    pub(crate) next: [Function; CALL_COUNT],
    /// What fails, and what has been called.
    pub(crate) faults: Faults,
    destroy: Destroy,
    get_queue: GetDeviceQueue,
    free_memory: FreeMemory,
}

/// An instance and what lies beneath it.
///
/// Functions are looked up while it is made: later the loader answers for the layers above, too.
#[derive(Clone, Copy)]
struct Instance {
    /// Its handle, exposed.
    handle: usize,
    next_proc_addr: GetProcAddr,
    destroy: Destroy,
}

#[derive(Default)]
struct Known {
    /// By dispatch table.
    instances: HashMap<usize, Instance>,
    /// By the handle of a device or of one of its queues.
    devices: HashMap<usize, Arc<Device>>,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device of a device's or queue's handle.
pub(crate) fn device(handle: Handle) -> Option<Arc<Device>> {
    known().devices.get(&handle.addr()).map(Arc::clone)
}

/// The lookup of the layer beneath an instance.
pub(crate) fn next_instance_proc_addr(instance: Handle) -> Option<GetProcAddr> {
    let table = dispatch_table(instance)?;
    known().instances.get(&table).map(|known| known.next_proc_addr)
}

/// The layer's own function of that name, among those that make or end an instance or make a device.
pub(crate) fn instance_function(wanted: &CStr) -> Function {
    match wanted.to_bytes() {
        b"vkCreateInstance" => Some(as_function::<CreateInstance>(create_instance)),
        b"vkDestroyInstance" => Some(as_function::<Destroy>(destroy_instance)),
        b"vkCreateDevice" => Some(as_function::<CreateDevice>(create_device)),
        b"vkGetDeviceProcAddr" => Some(as_function::<GetProcAddr>(crate::get_device_proc_addr)),
        _ => None,
    }
}

/// The layer's own function of that name, among those that it follows but never makes fail.
pub(crate) fn device_function(wanted: &CStr) -> Function {
    match wanted.to_bytes() {
        b"vkDestroyDevice" => Some(as_function::<Destroy>(destroy_device)),
        b"vkGetDeviceQueue" => Some(as_function::<GetDeviceQueue>(get_device_queue)),
        b"vkFreeMemory" => Some(as_function::<FreeMemory>(free_memory)),
        _ => None,
    }
}

unsafe extern "C" fn create_instance(
    info: *const Header,
    allocator: *const c_void,
    instance: *mut Handle,
) -> VkResult {
    // SAFETY: `info` is what the loader passed as creation parameters.
    let Some((next, _)) = (unsafe { take_link(info, LOADER_INSTANCE) }) else {
        return INITIALIZATION_FAILED;
    };
    let create = lookup::<CreateInstance>(next, std::ptr::null_mut(), c"vkCreateInstance");
    let Some(create) = create else {
        return INITIALIZATION_FAILED;
    };
    // SAFETY: the next layer's function, with the caller's own arguments.
    let result = unsafe { create(info, allocator, instance) };
    if result != SUCCESS {
        return result;
    }
    // SAFETY: a successful call has written the handle.
    let instance = unsafe { *instance };
    let destroy = lookup::<Destroy>(next, instance, c"vkDestroyInstance");
    let (Some(table), Some(destroy)) = (dispatch_table(instance), destroy) else {
        return INITIALIZATION_FAILED;
    };
    known().instances.insert(
        table,
        Instance {
            handle: instance.expose_provenance(),
            next_proc_addr: next,
            destroy,
        },
    );
    SUCCESS
}

unsafe extern "C" fn destroy_instance(instance: Handle, allocator: *const c_void) {
    let known = dispatch_table(instance).and_then(|table| known().instances.remove(&table));
    if let Some(known) = known {
        // SAFETY: the next layer's function, with the caller's own arguments.
        unsafe { (known.destroy)(instance, allocator) };
    }
}

unsafe extern "C" fn create_device(
    physical_device: Handle,
    info: *const Header,
    allocator: *const c_void,
    device: *mut Handle,
) -> VkResult {
    let faults = Plan::from_environment().and_then(Faults::new);
    let faults = match faults {
        Ok(faults) => faults,
        Err(error) => {
            // Whoever runs the test has to learn why there is no device; print macros would panic on a closed pipe.
            let _ = writeln!(std::io::stderr(), "vectorgpu fault layer: {error}");
            return INITIALIZATION_FAILED;
        }
    };
    if let Some(error) = faults.creation_error() {
        return error;
    }
    // SAFETY: `info` is what the loader passed as creation parameters.
    let Some((next, Some(next_device))) = (unsafe { take_link(info, LOADER_DEVICE) }) else {
        return INITIALIZATION_FAILED;
    };
    let instance = dispatch_table(physical_device)
        .and_then(|table| known().instances.get(&table).map(|instance| instance.handle))
        .map_or(std::ptr::null_mut(), std::ptr::with_exposed_provenance_mut);
    let Some(create) = lookup::<CreateDevice>(next, instance, c"vkCreateDevice") else {
        return INITIALIZATION_FAILED;
    };
    // SAFETY: the next layer's function, with the caller's own arguments.
    let result = unsafe { create(physical_device, info, allocator, device) };
    if result != SUCCESS {
        return result;
    }
    // SAFETY: a successful call has written the handle.
    let device = unsafe { *device };
    match describe(device, next_device, faults) {
        Some(described) => {
            known().devices.insert(device.addr(), Arc::new(described));
            SUCCESS
        }
        None => INITIALIZATION_FAILED,
    }
}

/// Collects what lies beneath a new device. None: the layer beneath lacks what every device has.
fn describe(device: Handle, next_proc_addr: GetProcAddr, faults: Faults) -> Option<Device> {
    let mut next = [None; CALL_COUNT];
    for call in Call::all() {
        next[call.index()] = call
            .names()
            .into_iter()
            .filter(|name| !name.is_empty())
            // SAFETY: the next layer's lookup, with its own device and a null-terminated name.
            .find_map(|name| unsafe { next_proc_addr(device, name.as_ptr()) });
    }
    Some(Device {
        next_proc_addr,
        next,
        faults,
        destroy: lookup::<Destroy>(next_proc_addr, device, c"vkDestroyDevice")?,
        get_queue: lookup::<GetDeviceQueue>(next_proc_addr, device, c"vkGetDeviceQueue")?,
        free_memory: lookup::<FreeMemory>(next_proc_addr, device, c"vkFreeMemory")?,
    })
}

unsafe extern "C" fn destroy_device(handle: Handle, allocator: *const c_void) {
    let Some(device) = device(handle) else { return };
    known().devices.retain(|_, other| !Arc::ptr_eq(other, &device));
    // SAFETY: the next layer's function, with the caller's own arguments.
    unsafe { (device.destroy)(handle, allocator) };
    device.faults.destroyed();
}

unsafe extern "C" fn get_device_queue(handle: Handle, family: u32, index: u32, queue: *mut Handle) {
    let Some(device) = device(handle) else { return };
    // SAFETY: the next layer's function, with the caller's own arguments.
    unsafe { (device.get_queue)(handle, family, index, queue) };
    // SAFETY: that call has written the handle.
    let queue = unsafe { *queue };
    known().devices.insert(queue.addr(), device);
}

unsafe extern "C" fn free_memory(handle: Handle, memory: u64, allocator: *const c_void) {
    let Some(device) = device(handle) else { return };
    // SAFETY: the next layer's function, with the caller's own arguments.
    unsafe { (device.free_memory)(handle, memory, allocator) };
    if memory != 0 {
        device.faults.allocated(-1);
    }
}

/// Takes the next layer's functions off the list that hangs on `info`, and leaves the rest to the next layer.
///
/// # Safety
/// `info` is null or the head of a list of Vulkan structures, with at most one of type `wanted` and function
/// [`LINK_INFO`], as the loader makes it.
unsafe fn take_link(info: *const Header, wanted: u32) -> Option<(GetProcAddr, Option<GetProcAddr>)> {
    // SAFETY: the caller's promise.
    let mut at = unsafe { info.as_ref() }?.next;
    while !at.is_null() {
        // SAFETY: the caller's promise: each structure of the list begins with a header.
        let header = unsafe { at.read() };
        if header.structure_type == wanted {
            // SAFETY: a structure of that type is the loader's and begins like a `LinkInfo`; nobody else uses it
            // during the call.
            let info = unsafe { &mut *at.cast::<LinkInfo>() };
            if info.function == LINK_INFO {
                // SAFETY: with that function the loader has set the link.
                let link = unsafe { info.link.as_ref() }?;
                info.link = link.next;
                return Some((link.instance_proc_addr, link.device_proc_addr));
            }
        }
        at = header.next;
    }
    None
}

/// The address of the dispatch table that an instance shares with its physical devices.
fn dispatch_table(handle: Handle) -> Option<usize> {
    // SAFETY: null, or a dispatchable object, which begins with the address of its dispatch table by the loader's
    // interface.
    unsafe { handle.cast::<usize>().as_ref() }.copied()
}

/// The next layer's function `name`, as type `F`, which the caller chooses as the specification does.
fn lookup<F: Copy>(next: GetProcAddr, handle: Handle, name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<unsafe extern "C" fn()>()) };
    let name: *const c_char = name.as_ptr();
    // SAFETY: the next layer's lookup, with an object of its own (or none) and a null-terminated name.
    let function = unsafe { next(handle, name) }?;
    // SAFETY: a function pointer of the same size; callers name the type that the specification gives the name.
    Some(unsafe { std::mem::transmute_copy::<unsafe extern "C" fn(), F>(&function) })
}

/// A function as the untyped pointer that Vulkan hands around.
fn as_function<F: Copy>(function: F) -> unsafe extern "C" fn() {
    const { assert!(size_of::<F>() == size_of::<unsafe extern "C" fn()>()) };
    // SAFETY: a function pointer of the same size; the caller casts back to the type that the name has in Vulkan.
    unsafe { std::mem::transmute_copy::<F, unsafe extern "C" fn()>(&function) }
}
