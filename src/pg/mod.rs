//! Safe wrappers around the parts of the server that the extension uses. Nearly all `unsafe` of the crate is here.
//!
//! Must not know vectors or indexes. Guards never raise in `Drop`, and do nothing at all while unwinding: the
//! server's resource owner releases pins and locks then.
#![expect(unsafe_code, reason = "this is where the server's C interface is wrapped")]

use pgrx::pg_sys;

mod buffers;
pub(crate) mod bulk;
pub(crate) mod heap_rows;
pub(crate) mod interrupt;
pub(crate) mod options;
pub(crate) mod progress;
pub(crate) mod recent;
pub(crate) mod relation;
pub(crate) mod result_rows;
pub(crate) mod setting;
pub(crate) mod sort;
pub(crate) mod store;
pub(crate) mod table_scan;
pub(crate) mod version;
pub(crate) mod wait_event;

/// `InvalidSubTransactionId`, a macro of the server.
const INVALID_SUBTRANSACTION: pg_sys::SubTransactionId = 0;
