//! The fault run: a lost or exhausted device at each of the first calls of some work.
//!
//! The Vulkan layer of tests/fault_layer makes the chosen call fail. Each time the CPU behind the GPU has to give the
//! right answer, the GPU alone the right answer or a clean error, nothing may leak, and the next engine in the same
//! process has to work. The Vulkan loader reads its environment when it is loaded, so the engines run in children of
//! this process; a lost engine is leaked on purpose, so a child takes a few dozen points at most.

mod fault_run;
mod support;

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fault_run::layer::{self, Files};
use fault_run::point::{Route, Trial};
use fault_run::workload::{Step, Workload};
use vectorgpu_compute::{Engine, EngineBuilder};
use vectorgpu_core::metric::Element;

/// Holds the child's task: `WORK CALL FAULT FIRST END STEP`.
const CHILD: &str = "VECTORGPU_TEST_FAULT_CHILD";

/// One point in so many is also met without the CPU behind the GPU.
const ALONE_EVERY: usize = 8;

/// Points that one child takes.
const CHUNK: usize = 25;

/// A child that takes longer hangs.
const CHILD_DEADLINE: Duration = Duration::from_secs(120);

/// Some work, and an engine with little memory to do it on. The names are part of a child's task.
fn work(name: &str) -> (EngineBuilder, Workload) {
    let builder = EngineBuilder::new()
        .allow_software(true)
        .wait_deadline(Duration::from_secs(10));
    let small = || builder.clone().vram_limit(4 << 20).staging(0);
    match name {
        // Short ones, with three staging slots of 256 KiB; some rows take several batches and slots.
        "submissions" => {
            let round = |round: usize| {
                let rows = if round.is_multiple_of(16) {
                    7000
                } else {
                    10 * round
                };
                [
                    Step::Score(Element::F16, 600),
                    Step::Assign(130),
                    Step::Score(Element::F32, rows),
                    Step::Held(130),
                ]
            };
            (small(), Workload::new((1..50).flat_map(round).collect(), 24, 20))
        }
        // Long enough each for the host to sleep.
        "waits" => {
            let round = |_| [Step::Assign(256), Step::Score(Element::F32, 2500)];
            (
                small(),
                Workload::new((0..115).flat_map(round).collect(), 24, 120),
            )
        }
        // None finds the buffers of the one before.
        "buffers" => {
            let round = |round: usize| {
                [
                    Step::Score(Element::F32, 10 * round),
                    Step::Trim,
                    Step::Assign(130),
                    Step::Trim,
                ]
            };
            (small(), Workload::new((1..16).flat_map(round).collect(), 24, 20))
        }
        // The same for rows that are held.
        "held" => {
            let steps = [(); 3].into_iter().flat_map(|()| [Step::Held(70), Step::Trim]);
            (small(), Workload::new(steps.collect(), 24, 20))
        }
        // Rows too many for the blocks in which memory is otherwise taken from the driver.
        "allocations" => {
            let round = |round: usize| {
                [
                    Step::Score(Element::F32, 2900 + 100 * round),
                    Step::Trim,
                    Step::Score(Element::F16, 5800),
                    Step::Trim,
                ]
            };
            let steps = (0..7).flat_map(round).collect();
            (
                builder.vram_limit(128 << 20).staging(6 << 20),
                Workload::new(steps, 768, 20),
            )
        }
        other => panic!("no such work: {other}"),
    }
}

/// The child's part; without the variable it is another process's test and does nothing here.
#[test]
fn child_meets_its_faults() {
    let Some(task) = std::env::var_os(CHILD) else {
        return;
    };
    let task = task.into_string().unwrap();
    let [name, call, fault, first, end, step] = task.split(' ').collect::<Vec<_>>()[..] else {
        panic!("not a task: {task}");
    };
    // wgpu panics where a device is lost and the engine catches it: one line is enough for each.
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(std::io::stdout(), "{panic}");
    }));
    let (builder, workload) = work(name);
    let trial = Trial {
        builder,
        workload,
        files: Files::of_this_process(),
    };
    let mut covered = 0;
    let numbers = first.parse::<usize>().unwrap()..end.parse().unwrap();
    for number in numbers.step_by(step.parse().unwrap()) {
        let plan = format!("{call} {number} {fault}");
        if !trial.run(&plan, Route::Fallback) {
            break;
        }
        covered += 1;
        if number % ALONE_EVERY == 1 {
            trial.run(&plan, Route::Alone);
        }
    }
    assert!(!trial.run("", Route::Alone), "a fault without a plan");
    let _ = writeln!(std::io::stdout(), "covered {covered}");
}

/// Lets children meet `fault` at each `step`-th of the first `end - 1` calls of `call`, until the work has no such call
/// any more, and says how many points that were.
fn cover(test: &str, work: &str, call: &str, fault: &str, end: usize, step: usize) -> usize {
    let mut covered = 0;
    let chunks: Vec<_> = (1..end).step_by(CHUNK * step).collect();
    for first in chunks {
        let chunk_end = (first + CHUNK * step).min(end);
        let here = run_child(&format!("{work} {call} {fault} {first} {chunk_end} {step}"));
        covered += here;
        if here < (first..chunk_end).step_by(step).len() {
            break;
        }
    }
    // Past the capture of a passing test's output: a run that covered less than it should has to be seen.
    let _ = writeln!(std::io::stderr(), "{test}: {call} {fault}: {covered} points");
    covered
}

/// Runs a child to its end; returns how many faults it met.
fn run_child(task: &str) -> usize {
    let folder = layer::scratch(&task.replace(' ', "-"));
    let files = Files::new(&folder);
    let log = folder.join("output");
    let output = File::create(&log).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "child_meets_its_faults",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, task)
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output);
    files.environment(&mut command);
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if started.elapsed() > CHILD_DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    let Some(status) = status else {
        panic!("hangs at \"{}\":\n{text}", files.plan());
    };
    assert!(status.success(), "{status} at \"{}\":\n{text}", files.plan());
    // Kept after a failure.
    std::fs::remove_dir_all(&folder).unwrap();
    let covered = text
        .lines()
        .find_map(|line| line.strip_prefix("covered ")?.parse().ok());
    covered.unwrap_or_else(|| panic!("the child did not run:\n{text}"))
}

/// An engine without faults. None, said past the capture of a passing test's output: there is no device to fail.
fn device(test: &str) -> Option<Engine> {
    let found = support::engine(&EngineBuilder::new(), test);
    if found.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no Vulkan adapter");
    }
    found
}

#[test]
fn a_loss_at_any_submission_is_survived() {
    let test = "a_loss_at_any_submission_is_survived";
    if device(test).is_none() {
        return;
    }
    let points = cover(test, "submissions", "vkQueueSubmit", "lost", 201, 1);
    assert_eq!(points, 200, "the work makes at least 200 submissions");
}

#[test]
fn a_loss_at_any_wait_is_survived() {
    let test = "a_loss_at_any_wait_is_survived";
    let Some(engine) = device(test) else { return };
    let points = cover(test, "waits", "vkWaitSemaphores", "lost", 201, 1);
    // A fast GPU is done before the host goes to sleep, so how many waits there are is known for no other.
    let software = engine.adapter().software;
    assert!(
        !software || points >= 100,
        "the work is too short: {points} waits"
    );
    cover(test, "submissions", "vkGetSemaphoreCounterValue", "lost", 801, 20);
}

#[test]
fn memory_refused_at_any_allocation_is_survived() {
    let test = "memory_refused_at_any_allocation_is_survived";
    if device(test).is_none() {
        return;
    }
    for fault in ["oom_once", "oom"] {
        let points = cover(test, "allocations", "vkAllocateMemory", fault, 201, 1);
        assert!(points >= 14, "each of 14 large blocks is an allocation: {points}");
    }
    let points = cover(test, "buffers", "vkCreateBuffer", "oom_once", 201, 1);
    assert!(points >= 150, "the work makes many buffers: {points}");
    cover(test, "buffers", "vkCreateBuffer", "oom", 201, 8);
    for fault in ["oom_once", "oom"] {
        let points = cover(test, "held", "vkCreateBuffer", fault, 201, 2);
        assert!(points >= 10, "rows that are held take buffers: {points}");
    }
}

#[test]
fn a_failure_of_any_other_call_is_survived() {
    let test = "a_failure_of_any_other_call_is_survived";
    if device(test).is_none() {
        return;
    }
    for call in [
        "vkBindBufferMemory",
        "vkMapMemory",
        "vkCreateShaderModule",
        "vkCreateDescriptorSetLayout",
        "vkCreatePipelineLayout",
        "vkCreateComputePipelines",
        "vkCreateDescriptorPool",
        "vkAllocateDescriptorSets",
        "vkCreateCommandPool",
        "vkAllocateCommandBuffers",
        "vkCreateSemaphore",
        "vkQueueSubmit",
        "vkWaitSemaphores",
        "vkGetSemaphoreCounterValue",
    ] {
        cover(test, "submissions", call, "oom_once", 9, 1);
    }
    for fault in ["oom_once", "lost"] {
        cover(test, "submissions", "vkCreateDevice", fault, 2, 1);
        cover(test, "submissions", "vkQueueWaitIdle", fault, 2, 1);
    }
}
