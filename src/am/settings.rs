//! What a scan of an index goes by: the session's settings, then the index's options.
//!
//! Of an index whose access method is named `ivfflat` the settings `ivfflat.*` count, too, which clients of pgvector set. They are
//! not defined here, because pgvector may be loaded in the same process and defines them: without it the server keeps what is set
//! as text, and that is read and checked here, with the server's own messages.

use std::ffi::CStr;

use pgrx::pg_sys;
use vectorgpu_core::ivf::layout::Meta;
use vectorgpu_core::ivf::search::Iterate;
use vectorgpu_core::limits::MAX_LISTS;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::guc;
use crate::pg::relation::is_access_method_named;
use crate::pg::{options, setting};

/// The name under which pgvector's DDL asks for an index of this kind.
const IVFFLAT: &CStr = c"ivfflat";

/// What a scan goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanSettings {
    /// Lists that it reads at a time, from 1.
    pub(crate) probes: u32,
    /// Most lists that it reads, from 1.
    pub(crate) max_probes: u32,
    /// What comes after the first lists.
    pub(crate) iterate: Iterate,
}

impl ScanSettings {
    /// Those of a scan of `index`. Lists at a time are the session's `vectorgpu.probes`, else `ivfflat.probes` where that counts, else
    /// the index's option, else the square root of the number of lists. Of the other two settings, `ivfflat`'s counts where it is set.
    ///
    /// # Errors
    /// `InvalidArgument` for a value of `ivfflat.*` that pgvector would refuse.
    pub(crate) fn of(index: pg_sys::Relation, meta: &Meta) -> Result<Self> {
        let theirs = if is_access_method_named(index, IVFFLAT) {
            Ivfflat::read()?
        } else {
            Ivfflat::default()
        };
        let session = u32::try_from(guc::PROBES.get()).ok().filter(|probes| *probes > 0);
        let probes = session
            .or(theirs.probes)
            .or_else(|| options::of_index(index).probes);
        let max_probes = theirs.max_probes.unwrap_or_else(guc::max_probes);
        Ok(Self {
            probes: probes.unwrap_or_else(|| meta.lists.isqrt()).clamp(1, meta.lists),
            max_probes,
            iterate: theirs.iterate.unwrap_or_else(guc::iterate),
        })
    }
}

/// What is set of pgvector's settings.
#[derive(Debug, Clone, Copy, Default)]
struct Ivfflat {
    probes: Option<u32>,
    max_probes: Option<u32>,
    iterate: Option<Iterate>,
}

impl Ivfflat {
    fn read() -> Result<Self> {
        Ok(Self {
            probes: lists_of(c"ivfflat.probes")?,
            max_probes: lists_of(c"ivfflat.max_probes")?,
            iterate: iterate_of(c"ivfflat.iterative_scan")?,
        })
    }
}

/// A number of lists.
fn lists_of(name: &'static CStr) -> Result<Option<u32>> {
    let Some(value) = setting::text(name) else {
        return Ok(None);
    };
    let number = setting::integer(&value).ok_or_else(|| invalid(name, &value))?;
    match u32::try_from(number) {
        Ok(lists @ 1..=MAX_LISTS) => Ok(Some(lists)),
        _ => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "{number} is outside the valid range for parameter \"{}\" (1 .. {MAX_LISTS})",
                name.to_string_lossy()
            ),
        )),
    }
}

/// How a scan goes on.
fn iterate_of(name: &'static CStr) -> Result<Option<Iterate>> {
    let Some(value) = setting::text(name) else {
        return Ok(None);
    };
    let text = value.to_string_lossy();
    if text.eq_ignore_ascii_case("off") {
        Ok(Some(Iterate::Off))
    } else if text.eq_ignore_ascii_case("relaxed_order") {
        Ok(Some(Iterate::Relaxed))
    } else {
        Err(invalid(name, &value).with_hint("Available values: off, relaxed_order."))
    }
}

fn invalid(name: &CStr, value: &CStr) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "invalid value for parameter \"{}\": \"{}\"",
            name.to_string_lossy(),
            value.to_string_lossy()
        ),
    )
}
