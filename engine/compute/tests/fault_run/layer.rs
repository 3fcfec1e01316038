//! The Vulkan layer of tests/fault_layer: built, put where the loader finds it, told what to do, asked what it saw.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const MANIFEST: &str = include_str!("../../../../tests/fault_layer/vectorgpu_fault.json");
const LIBRARY: &str = "libvectorgpu_fault_layer.so";

/// The folder with the layer's manifest, made once in a process.
///
/// `VECTORGPU_FAULT_LAYER` names a library that was built elsewhere, for machines without cargo.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let library = std::env::var_os("VECTORGPU_FAULT_LAYER").map_or_else(build, PathBuf::from);
        let library = library
            .canonicalize()
            .unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        let manifest = MANIFEST.replace(&format!("./{LIBRARY}"), library.to_str().unwrap());
        let folder = scratch("layer");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("vectorgpu_fault.json"), manifest).unwrap();
        folder
    })
}

/// A path of this process's own below the target folder.
pub(crate) fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("faults")
        .join(std::process::id().to_string())
        .join(name)
}

/// Builds the layer in a target folder of its own: the one of this test may be locked.
fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fault-layer");
    let mut command = Command::new(env!("CARGO"));
    command
        .args([
            "build",
            "--locked",
            "--package",
            "vectorgpu-fault-layer",
            "--target-dir",
        ])
        .arg(&target)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fault_layer/Cargo.toml"))
        .env_remove("CARGO_BUILD_TARGET");
    let output = command.output().expect("cargo, which built this test, runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("debug").join(LIBRARY)
}

/// Where a process with the layer reads its plan and leaves its report.
#[derive(Clone)]
pub(crate) struct Files {
    plan: PathBuf,
    report: PathBuf,
}

impl Files {
    /// Files below `folder`, which is made.
    pub(crate) fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        Self {
            plan: folder.join("plan"),
            report: folder.join("report"),
        }
    }

    /// Gives `command` the layer and these files.
    pub(crate) fn environment(&self, command: &mut Command) {
        command
            .env("VK_LAYER_PATH", folder())
            .env("VK_INSTANCE_LAYERS", "VK_LAYER_VECTORGPU_fault")
            .env("VECTORGPU_FAULT_PLAN", &self.plan)
            .env("VECTORGPU_FAULT_REPORT", &self.report)
            // Mesa's own layer complains about a missing desktop.
            .env("NODEVICE_SELECT", "1");
    }

    /// The files that this process was started with.
    pub(crate) fn of_this_process() -> Self {
        let path = |name| PathBuf::from(std::env::var_os(name).expect("started with the layer's files"));
        Self {
            plan: path("VECTORGPU_FAULT_PLAN"),
            report: path("VECTORGPU_FAULT_REPORT"),
        }
    }

    /// Sets what the next device meets, and forgets what the last one reported.
    pub(crate) fn set_plan(&self, plan: &str) {
        std::fs::write(&self.plan, plan).unwrap();
        std::fs::write(&self.report, "").unwrap();
    }

    /// What the plan is now.
    pub(crate) fn plan(&self) -> String {
        std::fs::read_to_string(&self.plan).unwrap_or_default()
    }

    /// What the device made last reports under `name`.
    pub(crate) fn reported(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(&self.report).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(known, _)| *known == name)
            .and_then(|(_, number)| number.trim().parse().ok())
            .unwrap_or_else(|| panic!("no {name} in the layer's report: is the layer loaded?\n{text}"))
    }
}
