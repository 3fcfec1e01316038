//! The access method `ivf`: one file for each of its callbacks' jobs.
//!
//! Callbacks are shells that turn pointers into safe values and call on; the algorithms are in `vectorgpu-core`.
//! Source of the callbacks' contract: "Index Access Method Interface Definition" in PostgreSQL's documentation.
#![expect(unsafe_code, reason = "callbacks receive the server's pointers")]

mod build;
mod cost;
mod insert;
mod kept;
mod many;
mod opclass;
mod ordered_scan;
mod planner;
mod scan;
mod settings;
mod vacuum;

use pgrx::prelude::*;
use pgrx::{PgBox, pg_sys};

use crate::pg::options;
use crate::pg::relation::AccessMethod;

pub(crate) use many::{AT_ONCE, ManySearch};
pub(crate) use opclass::{IndexedBy, indexed_by};
pub(crate) use ordered_scan::OrderedScan;
pub(crate) use scan::last_scan;
pub(crate) use settings::ScanSettings;

/// The access method, whatever its name: `ivf`, or `ivfflat` where `vectorgpu.create_ivfflat` made that.
pub(crate) const ACCESS_METHOD: AccessMethod = AccessMethod {
    name: "ivf",
    build: build::ambuild,
};

/// Called once, from `_PG_init`.
pub(crate) fn register() {
    planner::register();
}

/// `ivfhandler(internal) -> index_am_handler`.
#[pg_extern(sql = false)]
fn ivfhandler(_call: pg_sys::FunctionCallInfo) -> PgBox<pg_sys::IndexAmRoutine> {
    // SAFETY: allocates a zeroed node of this type in the current memory context.
    let mut am = unsafe { PgBox::<pg_sys::IndexAmRoutine>::alloc_node(pg_sys::NodeTag::T_IndexAmRoutine) };
    am.amstrategies = 1;
    am.amsupport = 1;
    am.amcanorderbyop = true;
    am.amoptionalkey = true;
    am.amusemaintenanceworkmem = false;
    am.amparallelvacuumoptions =
        u8::try_from(pg_sys::VACUUM_OPTION_PARALLEL_BULKDEL).expect("a bit in a byte");
    am.amkeytype = pg_sys::InvalidOid;
    am.ambuild = Some(build::ambuild);
    am.ambuildempty = Some(build::ambuildempty);
    am.aminsert = Some(insert::aminsert);
    am.ambulkdelete = Some(vacuum::ambulkdelete);
    am.amvacuumcleanup = Some(vacuum::amvacuumcleanup);
    am.amcostestimate = Some(cost::amcostestimate);
    am.amoptions = Some(amoptions);
    am.ambuildphasename = Some(build::ambuildphasename);
    am.amvalidate = Some(opclass::amvalidate);
    am.ambeginscan = Some(scan::ambeginscan);
    am.amrescan = Some(scan::amrescan);
    am.amgettuple = Some(scan::amgettuple);
    am.amendscan = Some(scan::amendscan);
    // Workers of a build are the access method's own; this says that the server may plan for some.
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    {
        am.amcanbuildparallel = true;
    }
    am.into_pg_boxed()
}

#[pg_guard]
unsafe extern "C-unwind" fn amoptions(reloptions: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    options::parse(reloptions, validate)
}
