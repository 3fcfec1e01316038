//! A Vulkan layer that makes a chosen call fail as an exhausted or lost GPU would. For tests only.
//!
//! Put the library and `vectorgpu_fault.json` into one folder and start a process with `VK_LAYER_PATH=FOLDER` and
//! `VK_INSTANCE_LAYERS=VK_LAYER_VECTORGPU_fault`. `VECTORGPU_FAULT_PLAN` names a file that is read each time a device
//! is made, for example `vkQueueSubmit 17 lost` (see [`faults::Plan`]); no file or an empty one: nothing fails.
//! `VECTORGPU_FAULT_REPORT` names a file that always tells how often each call of the device made last was made (see
//! [`faults::Faults`]). Files, because a process cannot change its environment safely once it has threads.
//!
//! Must not know what calls it. Invariants: a lost device stays lost; a call that fails never reaches the driver.
//! Source: "LoaderLayerInterface.md" of the Vulkan loader, layer interface version 2.
#![expect(unsafe_code, reason = "a layer is an exchange of C function pointers")]

mod chain;
mod faults;
mod hooks;

use std::ffi::{CStr, c_char, c_void};

/// A dispatchable Vulkan object: instance, physical device, device or queue.
type Handle = *mut c_void;

/// A `VkResult`; 0 is success, errors are negative.
type VkResult = i32;

/// `PFN_vkVoidFunction`, which may be null.
type Function = Option<unsafe extern "C" fn()>;

/// `PFN_vkGetInstanceProcAddr` and `PFN_vkGetDeviceProcAddr`.
type GetProcAddr = unsafe extern "C" fn(Handle, *const c_char) -> Function;

const SUCCESS: VkResult = 0;
const OUT_OF_DEVICE_MEMORY: VkResult = -2;
const INITIALIZATION_FAILED: VkResult = -3;
const DEVICE_LOST: VkResult = -4;

/// `VkNegotiateLayerInterface`.
#[repr(C)]
struct Negotiation {
    structure_type: u32,
    next: *mut c_void,
    version: u32,
    instance_proc_addr: Option<GetProcAddr>,
    device_proc_addr: Option<GetProcAddr>,
    physical_device_proc_addr: Function,
}

/// Tells the loader where the layer's functions are.
///
/// # Safety
/// Called by the Vulkan loader, with a valid `VkNegotiateLayerInterface`.
#[unsafe(no_mangle)]
unsafe extern "C" fn vkNegotiateLoaderLayerInterfaceVersion(negotiation: *mut Negotiation) -> VkResult {
    // SAFETY: the loader passes a structure that is its own and that nobody else uses during the call.
    let Some(negotiation) = (unsafe { negotiation.as_mut() }) else {
        return INITIALIZATION_FAILED;
    };
    if negotiation.version < 2 {
        return INITIALIZATION_FAILED;
    }
    negotiation.version = 2;
    negotiation.instance_proc_addr = Some(get_instance_proc_addr);
    negotiation.device_proc_addr = Some(get_device_proc_addr);
    negotiation.physical_device_proc_addr = None;
    SUCCESS
}

unsafe extern "C" fn get_instance_proc_addr(instance: Handle, name: *const c_char) -> Function {
    // SAFETY: Vulkan's rule for this function: a null-terminated string that lives through the call.
    let wanted = unsafe { CStr::from_ptr(name) };
    if wanted == c"vkGetInstanceProcAddr" {
        return Some(erase(get_instance_proc_addr));
    }
    if let Some(own) = chain::instance_function(wanted) {
        return Some(own);
    }
    let next = chain::next_instance_proc_addr(instance)?;
    // SAFETY: the next layer's function of this type, with the caller's own arguments.
    unsafe { next(instance, name) }
}

unsafe extern "C" fn get_device_proc_addr(device: Handle, name: *const c_char) -> Function {
    // SAFETY: as in get_instance_proc_addr.
    let wanted = unsafe { CStr::from_ptr(name) };
    if wanted == c"vkGetDeviceProcAddr" {
        return Some(erase(get_device_proc_addr));
    }
    let next = chain::device(device)?.next_proc_addr;
    // SAFETY: as in get_instance_proc_addr.
    let beneath = unsafe { next(device, name) }?;
    Some(
        chain::device_function(wanted)
            .or_else(|| hooks::function(wanted))
            .unwrap_or(beneath),
    )
}

/// A `PFN_vkGet...ProcAddr` as the untyped pointer that Vulkan hands around.
fn erase(function: GetProcAddr) -> unsafe extern "C" fn() {
    // SAFETY: function pointers of one size; the caller casts back to the type that the name has in Vulkan.
    unsafe { std::mem::transmute::<GetProcAddr, unsafe extern "C" fn()>(function) }
}
