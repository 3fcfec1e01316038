//! The calls that can be made to fail: each counts itself, fails if the plan says so, and is passed on otherwise.
//!
//! These are the calls of wgpu's Vulkan backend that can meet an exhausted or lost device, apart from those on command
//! buffers. Invariant: a hook has exactly the parameters that the Vulkan specification gives its name.

use std::ffi::{CStr, c_void};

use crate::{Function, Handle, INITIALIZATION_FAILED, SUCCESS, VkResult, chain};

/// Makes [`Call`], and a function with Vulkan's parameters for each of its members. The first parameter is the device
/// or the queue by which the device is found.
macro_rules! hooks {
    ($($call:ident = $name:literal | $alias:literal ($first:ident $(, $argument:ident: $kind:ty)*);)*) => {
        /// A call that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Call { $(#[doc = $name] $call),* }

        const CALLS: &[(Call, &CStr, &CStr)] = &[$((Call::$call, as_c_str(concat!($name, "\0")), as_c_str(concat!($alias, "\0")))),*];

        fn hook(call: Call) -> unsafe extern "C" fn() {
            match call {
                $(Call::$call => {
                    unsafe extern "C" fn hooked($first: Handle $(, $argument: $kind)*) -> VkResult {
                        type Next = unsafe extern "C" fn(Handle $(, $kind)*) -> VkResult;
                        let Some(device) = chain::device($first) else { return INITIALIZATION_FAILED };
                        if let Some(error) = device.faults.error_of(Call::$call) {
                            return error;
                        }
                        let Some(next) = device.next[Call::$call.index()] else { return INITIALIZATION_FAILED };
                        // SAFETY: the next layer gave this pointer for this name, and `Next` is that name's type.
                        let next = unsafe { std::mem::transmute::<unsafe extern "C" fn(), Next>(next) };
                        // SAFETY: the caller's own arguments.
                        let result = unsafe { next($first $(, $argument)*) };
                        if result == SUCCESS && Call::$call == Call::AllocateMemory {
                            device.faults.allocated(1);
                        }
                        result
                    }
                    type Hook = unsafe extern "C" fn(Handle $(, $kind)*) -> VkResult;
                    // SAFETY: function pointers of one size; the caller casts back to the type of the name.
                    unsafe { std::mem::transmute::<Hook, unsafe extern "C" fn()>(hooked) }
                })*
            }
        }
    };
}

type In = *const c_void;
type Out = *mut c_void;

hooks! {
    AllocateMemory = "vkAllocateMemory" | "" (device, info: In, allocator: In, memory: Out);
    CreateBuffer = "vkCreateBuffer" | "" (device, info: In, allocator: In, buffer: Out);
    BindBufferMemory = "vkBindBufferMemory" | "" (device, buffer: u64, memory: u64, offset: u64);
    MapMemory = "vkMapMemory" | "" (device, memory: u64, offset: u64, size: u64, flags: u32, data: Out);
    CreateShaderModule = "vkCreateShaderModule" | "" (device, info: In, allocator: In, module: Out);
    CreateDescriptorSetLayout = "vkCreateDescriptorSetLayout" | "" (device, info: In, allocator: In, layout: Out);
    CreatePipelineLayout = "vkCreatePipelineLayout" | "" (device, info: In, allocator: In, layout: Out);
    CreateComputePipelines = "vkCreateComputePipelines" | ""
        (device, cache: u64, count: u32, infos: In, allocator: In, pipelines: Out);
    CreateDescriptorPool = "vkCreateDescriptorPool" | "" (device, info: In, allocator: In, pool: Out);
    AllocateDescriptorSets = "vkAllocateDescriptorSets" | "" (device, info: In, sets: Out);
    CreateCommandPool = "vkCreateCommandPool" | "" (device, info: In, allocator: In, pool: Out);
    AllocateCommandBuffers = "vkAllocateCommandBuffers" | "" (device, info: In, buffers: Out);
    CreateSemaphore = "vkCreateSemaphore" | "" (device, info: In, allocator: In, semaphore: Out);
    QueueSubmit = "vkQueueSubmit" | "" (queue, count: u32, submits: In, fence: u64);
    QueueWaitIdle = "vkQueueWaitIdle" | "" (queue);
    DeviceWaitIdle = "vkDeviceWaitIdle" | "" (device);
    WaitSemaphores = "vkWaitSemaphores" | "vkWaitSemaphoresKHR" (device, info: In, timeout: u64);
    GetSemaphoreCounterValue = "vkGetSemaphoreCounterValue" | "vkGetSemaphoreCounterValueKHR"
        (device, semaphore: u64, value: Out);
}

/// How many calls are counted.
pub(crate) const CALL_COUNT: usize = CALLS.len();

impl Call {
    /// Every call, in the order of [`Call::index`].
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        CALLS.iter().map(|&(call, _, _)| call)
    }

    /// The call with Vulkan's name `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().find(|call| call.name() == name)
    }

    /// Its position, below [`CALL_COUNT`].
    pub(crate) fn index(self) -> usize {
        CALLS.iter().position(|&(call, _, _)| call == self).unwrap_or(0)
    }

    /// Vulkan's name for it.
    pub(crate) fn name(self) -> &'static str {
        CALLS[self.index()].1.to_str().unwrap_or("")
    }

    /// The names under which drivers offer it, the present one first.
    pub(crate) fn names(self) -> [&'static CStr; 2] {
        let (_, name, alias) = CALLS[self.index()];
        [name, alias]
    }

    /// Whether Vulkan lets it say that the device is lost, as it does at every call after the loss.
    pub(crate) fn reports_loss(self) -> bool {
        matches!(
            self,
            Self::QueueSubmit
                | Self::QueueWaitIdle
                | Self::DeviceWaitIdle
                | Self::WaitSemaphores
                | Self::GetSemaphoreCounterValue
        )
    }
}

/// The layer's function for a counted call.
pub(crate) fn function(wanted: &CStr) -> Function {
    Call::all()
        .find(|call| !wanted.is_empty() && call.names().contains(&wanted))
        .map(hook)
}

const fn as_c_str(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name with a zero byte in it"),
    }
}
