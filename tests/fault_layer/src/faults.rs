//! What fails and when: the plan, the counters, the report. Plain Rust; knows nothing of Vulkan's pointers.
//!
//! Counters belong to one device and start at 0 when it is made, so a test can re-open its engine in one process and
//! choose another point by rewriting the plan.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::hooks::{CALL_COUNT, Call};
use crate::{DEVICE_LOST, OUT_OF_DEVICE_MEMORY, VkResult};

/// How the chosen call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `oom_once`: `VK_ERROR_OUT_OF_DEVICE_MEMORY` at that call alone.
    OutOfMemoryOnce,
    /// `oom`: the same from that call on.
    OutOfMemory,
    /// `lost`: `VK_ERROR_DEVICE_LOST`, from then on at every call that reports a loss.
    Lost,
}

/// One line of a plan file: `CALL NUMBER FAULT`, for example `vkAllocateMemory 3 oom_once`.
///
/// CALL is one that the layer counts, or `vkCreateDevice`; NUMBER counts that call on one device, from 1; FAULT is
/// `oom_once`, `oom` or `lost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// None: `vkCreateDevice`.
    call: Option<Call>,
    number: u64,
    fault: Fault,
}

impl Plan {
    /// Reads the file that `VECTORGPU_FAULT_PLAN` names. None: nothing is to fail.
    ///
    /// # Errors
    /// What is wrong with the plan. A test that misspells it must not pass.
    pub(crate) fn from_environment() -> Result<Option<Self>, String> {
        match std::env::var_os("VECTORGPU_FAULT_PLAN") {
            None => Ok(None),
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Self::parse(&text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(format!("{}: {error}", Path::new(&path).display())),
            },
        }
    }

    fn parse(text: &str) -> Result<Option<Self>, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [call, number, fault] = words[..] else {
            return if words.is_empty() {
                Ok(None)
            } else {
                Err(format!("\"{text}\" is not CALL NUMBER FAULT"))
            };
        };
        let call = match call {
            "vkCreateDevice" => None,
            name => Some(Call::named(name).ok_or_else(|| format!("the call \"{name}\" is not counted"))?),
        };
        let number = number
            .parse()
            .map_err(|error| format!("\"{number}\" is not a number: {error}"))?;
        let fault = match fault {
            "oom_once" => Fault::OutOfMemoryOnce,
            "oom" => Fault::OutOfMemory,
            "lost" => Fault::Lost,
            other => return Err(format!("the fault \"{other}\" is unknown")),
        };
        Ok(Some(Self { call, number, fault }))
    }
}

impl Fault {
    fn result(self) -> VkResult {
        match self {
            Self::OutOfMemoryOnce | Self::OutOfMemory => OUT_OF_DEVICE_MEMORY,
            Self::Lost => DEVICE_LOST,
        }
    }
}

/// The plan of one device and how far it has come.
///
/// The report is a text file, one `NAME NUMBER` a line: how often each call was made, failed calls included; then
/// `live_allocations` (memory objects allocated and not freed), `faults` (calls that the layer made fail) and
/// `destroyed` (1 once the device is destroyed).
#[derive(Default)]
pub(crate) struct Faults {
    plan: Option<Plan>,
    counts: [AtomicU64; CALL_COUNT],
    live_allocations: AtomicI64,
    faults: AtomicU64,
    lost: AtomicBool,
    destroyed: AtomicBool,
    report: Mutex<Option<File>>,
}

impl Faults {
    /// The state of a new device under `plan`; empties the report.
    ///
    /// # Errors
    /// Why the report cannot be written.
    pub(crate) fn new(plan: Option<Plan>) -> Result<Self, String> {
        let report = std::env::var_os("VECTORGPU_FAULT_REPORT")
            .map(|path| {
                File::create(&path).map_err(|error| format!("{}: {error}", Path::new(&path).display()))
            })
            .transpose()?;
        let faults = Self {
            plan,
            report: Mutex::new(report),
            ..Self::default()
        };
        faults.write_report();
        Ok(faults)
    }

    /// The error with which `vkCreateDevice` fails, if it is to.
    pub(crate) fn creation_error(&self) -> Option<VkResult> {
        let plan = self.plan.as_ref()?;
        if plan.call.is_some() || plan.number != 1 {
            return None;
        }
        self.faults.fetch_add(1, Ordering::SeqCst);
        self.write_report();
        Some(plan.fault.result())
    }

    /// Counts `call`; the error with which it fails, if it is to.
    pub(crate) fn error_of(&self, call: Call) -> Option<VkResult> {
        let number = self.counts[call.index()].fetch_add(1, Ordering::SeqCst) + 1;
        let error = self.planned(call, number);
        if error.is_some() {
            self.faults.fetch_add(1, Ordering::SeqCst);
        }
        self.write_report();
        error
    }

    /// Notes that `change` memory objects more are allocated.
    pub(crate) fn allocated(&self, change: i64) {
        self.live_allocations.fetch_add(change, Ordering::SeqCst);
        self.write_report();
    }

    /// Notes the device's end.
    pub(crate) fn destroyed(&self) {
        self.destroyed.store(true, Ordering::SeqCst);
        self.write_report();
    }

    fn planned(&self, call: Call, number: u64) -> Option<VkResult> {
        if self.lost.load(Ordering::SeqCst) && call.reports_loss() {
            return Some(DEVICE_LOST);
        }
        let plan = self.plan.as_ref().filter(|plan| plan.call == Some(call))?;
        let fires = match plan.fault {
            Fault::OutOfMemory => number >= plan.number,
            Fault::OutOfMemoryOnce | Fault::Lost => number == plan.number,
        };
        if !fires {
            return None;
        }
        if plan.fault == Fault::Lost {
            self.lost.store(true, Ordering::SeqCst);
        }
        Some(plan.fault.result())
    }

    /// Writes the report over the last one; numbers have a fixed width, so every report is as long as the first.
    fn write_report(&self) {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = report.as_ref() else { return };
        let mut text = String::new();
        let mut line = |name: &str, number: u64| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} {number:>12}");
        };
        for call in Call::all() {
            line(call.name(), self.counts[call.index()].load(Ordering::SeqCst));
        }
        let live = self.live_allocations.load(Ordering::SeqCst);
        line("live_allocations", u64::try_from(live).unwrap_or(0));
        line("faults", self.faults.load(Ordering::SeqCst));
        line("destroyed", u64::from(self.destroyed.load(Ordering::SeqCst)));
        // A disk that is full is seen by the reader, who finds old numbers; a layer has nobody to tell.
        let _ = file.write_all_at(text.as_bytes(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(plan: &str) -> Faults {
        Faults {
            plan: Plan::parse(plan).unwrap(),
            ..Faults::default()
        }
    }

    fn outcomes(faults: &Faults, call: &str, count: usize) -> Vec<Option<VkResult>> {
        let call = Call::named(call).unwrap();
        (0..count).map(|_| faults.error_of(call)).collect()
    }

    #[test]
    fn a_refusal_comes_at_the_chosen_call_once_or_from_then_on() {
        let once = faults("vkAllocateMemory 2 oom_once");
        assert_eq!(outcomes(&once, "vkAllocateMemory", 3), [None, Some(-2), None]);
        assert_eq!(outcomes(&once, "vkCreateBuffer", 3), [None; 3]);
        let always = faults("vkCreateBuffer 2 oom\n");
        assert_eq!(outcomes(&always, "vkCreateBuffer", 3), [None, Some(-2), Some(-2)]);
    }

    #[test]
    fn a_lost_device_stays_lost_at_every_call_that_can_say_so() {
        let lost = faults("vkQueueSubmit 2 lost");
        assert_eq!(outcomes(&lost, "vkWaitSemaphores", 2), [None; 2]);
        assert_eq!(outcomes(&lost, "vkQueueSubmit", 3), [None, Some(-4), Some(-4)]);
        assert_eq!(outcomes(&lost, "vkWaitSemaphores", 1), [Some(-4)]);
        assert_eq!(outcomes(&lost, "vkGetSemaphoreCounterValue", 1), [Some(-4)]);
        assert_eq!(outcomes(&lost, "vkAllocateMemory", 1), [None]);
        assert_eq!(lost.faults.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn a_device_that_is_never_made_is_a_plan_too() {
        assert_eq!(faults("vkCreateDevice 1 oom_once").creation_error(), Some(-2));
        assert_eq!(faults("vkCreateDevice 2 lost").creation_error(), None);
        assert_eq!(faults("vkQueueSubmit 1 lost").creation_error(), None);
    }

    #[test]
    fn a_plan_that_says_nothing_fails_nothing_and_a_broken_one_is_refused() {
        assert_eq!(Plan::parse(" \n"), Ok(None));
        for broken in [
            "vkQueueSubmit 1",
            "vkQueueSubmit x lost",
            "vkFly 1 oom",
            "vkQueueSubmit 1 sad",
            "1 2 3 4",
        ] {
            assert!(Plan::parse(broken).is_err(), "{broken}");
        }
    }
}
