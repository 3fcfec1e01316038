//! The hard limit on device memory, charged before each allocation, with accounts by label.
//!
//! lavapipe never reports exhausted memory and real drivers lose the device when some allocations fail, so this
//! limit, not the driver's, is the one that callers meet.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use vectorgpu_core::{Error, ErrorKind, Result};

use super::{LabelUsage, MemoryReport};

/// Who uses memory: `vectorgpu.NAME`, for an index with its number.
pub(crate) type Label = Cow<'static, str>;

/// A limit in bytes and what is charged to it.
pub(crate) struct Budget {
    limit_bytes: u64,
    accounts: RefCell<Accounts>,
}

#[derive(Default)]
struct Accounts {
    used_bytes: u64,
    peak_bytes: u64,
    labels: BTreeMap<Label, Account>,
}

#[derive(Default)]
struct Account {
    bytes: u64,
    buffers: u64,
    peak_bytes: u64,
}

/// Bytes charged to a budget until dropped.
pub(crate) struct Charge {
    budget: Rc<Budget>,
    label: Label,
    bytes: u64,
}

impl Budget {
    /// A budget of `limit_bytes` with nothing charged.
    pub(crate) fn new(limit_bytes: u64) -> Rc<Self> {
        Rc::new(Self {
            limit_bytes,
            accounts: RefCell::default(),
        })
    }

    /// The limit.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Charges `bytes` to `label`.
    ///
    /// # Errors
    /// `OutOfMemory` when the limit would be passed; nothing is charged then.
    pub(crate) fn charge(self: &Rc<Self>, label: impl Into<Label>, bytes: u64) -> Result<Charge> {
        let label = label.into();
        let mut accounts = self.accounts.borrow_mut();
        let used = accounts.used_bytes;
        if used.checked_add(bytes).is_none_or(|sum| sum > self.limit_bytes) {
            return Err(Error::new(
                ErrorKind::OutOfMemory,
                format!("GPU memory limit of {} bytes exceeded", self.limit_bytes),
            )
            .with_detail(format!(
                "{bytes} bytes for {label} do not fit beside {used} bytes in use."
            )));
        }
        accounts.add(&label, bytes);
        Ok(Charge {
            budget: Rc::clone(self),
            label,
            bytes,
        })
    }

    /// The accounts now.
    pub(crate) fn report(&self) -> MemoryReport {
        let accounts = self.accounts.borrow();
        let labels = accounts
            .labels
            .iter()
            .map(|(label, account)| LabelUsage {
                label: label.to_string(),
                bytes: account.bytes,
                buffers: account.buffers,
                peak_bytes: account.peak_bytes,
            })
            .collect();
        MemoryReport {
            limit_bytes: self.limit_bytes,
            used_bytes: accounts.used_bytes,
            peak_bytes: accounts.peak_bytes,
            labels,
        }
    }
}

impl Accounts {
    fn add(&mut self, label: &Label, bytes: u64) {
        self.used_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
        let account = self.labels.entry(label.clone()).or_default();
        account.bytes += bytes;
        account.buffers += 1;
        account.peak_bytes = account.peak_bytes.max(account.bytes);
    }

    fn remove(&mut self, label: &Label, bytes: u64) {
        self.remove_part(label, bytes);
        if let Some(account) = self.labels.get_mut(label) {
            account.buffers -= 1;
        }
    }

    /// As `add`, to a buffer that is counted already.
    fn add_part(&mut self, label: &Label, bytes: u64) {
        self.add(label, bytes);
        if let Some(account) = self.labels.get_mut(label) {
            account.buffers -= 1;
        }
    }

    /// As `remove`, from a buffer that stays counted.
    fn remove_part(&mut self, label: &Label, bytes: u64) {
        self.used_bytes -= bytes;
        if let Some(account) = self.labels.get_mut(label) {
            account.bytes -= bytes;
        }
    }
}

impl Charge {
    /// Moves the charge to another label.
    pub(crate) fn relabel(&mut self, label: impl Into<Label>) {
        let label = label.into();
        let mut accounts = self.budget.accounts.borrow_mut();
        accounts.remove(&self.label, self.bytes);
        accounts.add(&label, self.bytes);
        drop(accounts);
        self.label = label;
    }

    /// Takes `bytes` of this charge out as a charge of `label`; the sum stays.
    ///
    /// # Panics
    /// When the charge is smaller than that.
    pub(crate) fn split(&mut self, label: impl Into<Label>, bytes: u64) -> Self {
        assert!(bytes <= self.bytes, "a charge of {} split at {bytes}", self.bytes);
        let label = label.into();
        let mut accounts = self.budget.accounts.borrow_mut();
        accounts.remove_part(&self.label, bytes);
        accounts.add(&label, bytes);
        drop(accounts);
        self.bytes -= bytes;
        Self {
            budget: Rc::clone(&self.budget),
            label,
            bytes,
        }
    }

    /// Puts back what [`Charge::split`] took out.
    pub(crate) fn join(&mut self, mut part: Self) {
        let mut accounts = self.budget.accounts.borrow_mut();
        accounts.remove(&part.label, part.bytes);
        accounts.add_part(&self.label, part.bytes);
        drop(accounts);
        self.bytes += std::mem::take(&mut part.bytes);
        // What is left of `part` is nothing, under a label that has lost its buffer already.
        std::mem::forget(part);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.accounts.borrow_mut().remove(&self.label, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_beyond_the_limit_is_refused_and_changes_nothing() {
        let budget = Budget::new(1000);
        let first = budget.charge("vectorgpu.a", 600).unwrap();
        let error = budget.charge("vectorgpu.b", 401).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.detail().unwrap().contains("401 bytes for vectorgpu.b"));
        assert_eq!(budget.report().used_bytes, 600);
        let _second = budget.charge("vectorgpu.b", 400).unwrap();
        drop(first);
        assert_eq!(budget.report().used_bytes, 400);
        assert_eq!(budget.report().peak_bytes, 1000);
        assert!(budget.charge("vectorgpu.c", u64::MAX).is_err());
    }

    #[test]
    fn splitting_and_joining_keep_the_sum_and_the_buffers_of_each_label() {
        let budget = Budget::new(1000);
        let usage = |label: &str| {
            let report = budget.report();
            let usage = report.labels.iter().find(|usage| usage.label == label);
            usage.map(|usage| (usage.bytes, usage.buffers))
        };
        let mut free = budget.charge("vectorgpu.free", 1000).unwrap();
        let part = free.split("vectorgpu.index", 300);
        assert_eq!(usage("vectorgpu.free"), Some((700, 1)));
        assert_eq!(usage("vectorgpu.index"), Some((300, 1)));
        assert_eq!(
            (budget.report().used_bytes, budget.report().peak_bytes),
            (1000, 1000)
        );
        free.join(part);
        assert_eq!(usage("vectorgpu.free"), Some((1000, 1)));
        assert_eq!(usage("vectorgpu.index"), Some((0, 0)));
        drop(free);
        assert_eq!(budget.report().used_bytes, 0);
    }

    #[test]
    fn relabelling_keeps_the_sum_and_moves_the_account() {
        let budget = Budget::new(1000);
        let mut charge = budget.charge("vectorgpu.a", 10).unwrap();
        charge.relabel("vectorgpu.b");
        let report = budget.report();
        assert_eq!(report.used_bytes, 10);
        assert_eq!(
            report.labels.iter().map(|usage| usage.bytes).collect::<Vec<_>>(),
            [0, 10]
        );
        assert_eq!(report.in_use().count(), 1);
        drop(charge);
        assert_eq!(budget.report().in_use().count(), 0);
    }
}
