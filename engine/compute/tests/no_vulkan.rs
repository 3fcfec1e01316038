//! A machine without Vulkan: a clean `Unsupported`, an empty list, and silence in the log.
//!
//! The Vulkan loader reads the environment when it is loaded, so each case runs in a process of its own.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use vectorgpu_compute::EngineBuilder;
use vectorgpu_core::ErrorKind;

const CHILD: &str = "VECTORGPU_TEST_NO_VULKAN_CHILD";

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            WARNINGS
                .lock()
                .unwrap()
                .push(format!("{}: {}", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// The child's part; without the variable it is another process's test and does nothing here.
#[test]
fn child_sees_no_adapter() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    log::set_logger(&Collector).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let builder = EngineBuilder::new().allow_software(true);
    for _ in 0..2 {
        assert_eq!(builder.devices(), Ok(Vec::new()));
        let error = builder.open().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().is_some());
    }
    assert_eq!(*WARNINGS.lock().unwrap(), Vec::<String>::new());
}

fn run_child(variables: &[(&str, &str)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "child_sees_no_adapter",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, "1");
    child.envs(variables.iter().copied());
    let output = child.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_loader_without_a_driver_is_unsupported() {
    let nowhere = "/nonexistent/icd.json";
    run_child(&[("VK_DRIVER_FILES", nowhere), ("VK_ICD_FILENAMES", nowhere)]);
}

#[test]
fn a_machine_without_a_loader_is_unsupported() {
    // A library of that name which cannot be loaded, found before the real one.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-loader");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["libvulkan.so", "libvulkan.so.1"] {
        std::fs::write(folder.join(name), "not a library").unwrap();
    }
    run_child(&[("LD_LIBRARY_PATH", folder.to_str().unwrap())]);
}
