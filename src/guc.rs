//! The settings `vectorgpu.*`.

use std::ffi::CString;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use vectorgpu_compute::DeviceChoice;
use vectorgpu_core::ivf::search::Iterate;
use vectorgpu_core::limits::MAX_LISTS;

use crate::pg::version;

/// `vectorgpu.iterative_scan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub(crate) enum IterativeScan {
    /// Further lists are read; the output stays sorted.
    #[name = c"strict_order"]
    StrictOrder,
    /// Further lists are read; the output is sorted within each step.
    #[name = c"relaxed_order"]
    RelaxedOrder,
    /// The scan ends after the first lists.
    #[name = c"off"]
    Off,
}

/// `vectorgpu.probes`; 0: the index's own.
pub(crate) static PROBES: GucSetting<i32> = GucSetting::<i32>::new(0);
/// `vectorgpu.max_probes`.
static MAX_PROBES: GucSetting<i32> = GucSetting::<i32>::new(MAX_LISTS.cast_signed());
/// `vectorgpu.iterative_scan`.
pub(crate) static ITERATIVE_SCAN: GucSetting<IterativeScan> =
    GucSetting::<IterativeScan>::new(IterativeScan::StrictOrder);
/// `vectorgpu.progress_interval`, in seconds; 0: no notices.
pub(crate) static PROGRESS_INTERVAL_S: GucSetting<i32> = GucSetting::<i32>::new(10);
/// `vectorgpu.device`.
pub(crate) static DEVICE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"auto"));
/// `vectorgpu.allow_software_gpu`.
pub(crate) static ALLOW_SOFTWARE_GPU: GucSetting<bool> = GucSetting::<bool>::new(false);
/// `vectorgpu.vram_limit`, in MB.
pub(crate) static VRAM_LIMIT_MB: GucSetting<i32> = GucSetting::<i32>::new(1024);
/// `vectorgpu.staging_size`, in MB.
pub(crate) static STAGING_MB: GucSetting<i32> = GucSetting::<i32>::new(16);

/// `vectorgpu.profile`.
pub(crate) static PROFILE: GucSetting<bool> = GucSetting::<bool>::new(false);
/// `vectorgpu.pipeline_cache`.
pub(crate) static PIPELINE_CACHE: GucSetting<bool> = GucSetting::<bool>::new(true);

/// `vectorgpu.model_dir`.
pub(crate) static MODEL_DIR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// `vectorgpu.text_model`; empty: the only one.
pub(crate) static TEXT_MODEL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// `vectorgpu.embedding_model`; empty: the only one.
pub(crate) static EMBEDDING_MODEL: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c""));
/// `vectorgpu.model_threads`; 0: as many as processors and parallel workers.
pub(crate) static MODEL_THREADS: GucSetting<i32> = GucSetting::<i32>::new(0);
/// `vectorgpu.max_prompt_size`, in kB.
pub(crate) static MAX_PROMPT_KB: GucSetting<i32> = GucSetting::<i32>::new(1024);

/// What `vectorgpu.device` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    /// The faster of both.
    Auto,
    /// SIMD CPU code.
    Cpu,
    /// This GPU, or an error.
    Gpu(DeviceChoice),
}

impl Device {
    /// The session's choice.
    pub(crate) fn chosen() -> Self {
        let value = DEVICE.get();
        let text = value
            .as_deref()
            .map_or_else(String::new, |text| text.to_string_lossy().trim().to_owned());
        match text.to_ascii_lowercase().as_str() {
            "" | "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            _ => Self::Gpu(DeviceChoice::parse(&text)),
        }
    }
}

/// How a scan goes on, as the engine knows it.
pub(crate) fn iterate() -> Iterate {
    match ITERATIVE_SCAN.get() {
        IterativeScan::StrictOrder => Iterate::Strict,
        IterativeScan::RelaxedOrder => Iterate::Relaxed,
        IterativeScan::Off => Iterate::Off,
    }
}

/// `vectorgpu.max_probes`, as the engine takes it.
pub(crate) fn max_probes() -> u32 {
    u32::try_from(MAX_PROBES.get()).unwrap_or(1)
}

/// Most that `vectorgpu.progress_interval` may be.
const SECONDS_OF_A_DAY: i32 = 24 * 60 * 60;

/// Defines the settings; called once, when the library is loaded.
pub(crate) fn register() {
    let lists_max = MAX_LISTS.cast_signed();
    GucRegistry::define_int_guc(
        c"vectorgpu.probes",
        c"Number of lists that an ivf scan reads at a time.",
        c"0 takes the index's option probes or, without it, the square root of the number of lists.",
        &PROBES,
        0,
        lists_max,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vectorgpu.max_probes",
        c"Most lists that an ivf scan reads when it goes on past the first ones.",
        c"",
        &MAX_PROBES,
        1,
        lists_max,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"vectorgpu.iterative_scan",
        c"What an ivf scan does when the rows of the first lists are used up.",
        c"strict_order keeps the output sorted, relaxed_order returns every row, off stops.",
        &ITERATIVE_SCAN,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vectorgpu.progress_interval",
        c"Least time between two notices of how far a function that goes through a table has come.",
        c"0 emits none.",
        &PROGRESS_INTERVAL_S,
        0,
        SECONDS_OF_A_DAY,
        GucContext::Userset,
        GucFlags::UNIT_S,
    );
    register_device_settings();
    register_model_settings();
    // SAFETY: called once from _PG_init, after all settings of this prefix are defined.
    #[expect(unsafe_code, reason = "the server offers this only in C")]
    unsafe {
        version::reserve_settings(c"vectorgpu");
    }
}

fn register_device_settings() {
    GucRegistry::define_string_guc(
        c"vectorgpu.device",
        c"Where index builds and scans compute: auto, cpu, gpu, an adapter's index, or a part of its name.",
        c"vectorgpu.devices() lists the adapters with their index and name.",
        &DEVICE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"vectorgpu.allow_software_gpu",
        c"Lets a software Vulkan driver count as a GPU. It is slower than the CPU path and serves tests.",
        c"",
        &ALLOW_SOFTWARE_GPU,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vectorgpu.vram_limit",
        c"Most GPU memory that a session uses.",
        c"",
        &VRAM_LIMIT_MB,
        16,
        i32::MAX / 1024,
        GucContext::Userset,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"vectorgpu.staging_size",
        c"Memory for uploads to the GPU.",
        c"",
        &STAGING_MB,
        1,
        1024,
        GucContext::Userset,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_bool_guc(
        c"vectorgpu.profile",
        c"Measures the time of each GPU kernel.",
        c"The view vectorgpu.kernel_times shows it. Costs some speed.",
        &PROFILE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"vectorgpu.pipeline_cache",
        c"Keeps compiled GPU kernels in the data directory, below vectorgpu.",
        c"Without it every session compiles the kernels that it uses.",
        &PIPELINE_CACHE,
        GucContext::Userset,
        GucFlags::default(),
    );
}

/// Most that `vectorgpu.model_threads` may be.
const MAX_MODEL_THREADS: i32 = 1024;

fn register_model_settings() {
    GucRegistry::define_string_guc(
        c"vectorgpu.model_dir",
        c"Folder below which vectorgpu.load_model finds model files.",
        c"Empty: no model can be loaded. Files that only root and the server's account can write are mapped, others copied.",
        &MODEL_DIR,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"vectorgpu.text_model",
        c"Model that writes text where a call names none.",
        c"Empty: the only registered one.",
        &TEXT_MODEL,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"vectorgpu.embedding_model",
        c"Model that makes embeddings where a call names none.",
        c"Empty: the only registered one.",
        &EMBEDDING_MODEL,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vectorgpu.model_threads",
        c"Threads that compute language models in a session.",
        c"0 takes as many as the machine has processors, and max_parallel_workers at most.",
        &MODEL_THREADS,
        0,
        MAX_MODEL_THREADS,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vectorgpu.max_prompt_size",
        c"Longest prompt, or text to embed, that a language model is given.",
        c"",
        &MAX_PROMPT_KB,
        1,
        i32::MAX / 1024,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
}
