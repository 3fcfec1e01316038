//! The index's storage parameters (`WITH (...)`), parsed and bounded by the server.

use std::ffi::{CStr, c_int};
use std::mem::{offset_of, size_of};
use std::ptr::{addr_of, addr_of_mut};
use std::sync::OnceLock;

use pgrx::pg_sys;
use vectorgpu_core::limits::MAX_LISTS;
use vectorgpu_core::metric::Storage;

/// What `WITH (...)` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexOptions {
    /// Number of lists; `None`: chosen from the row count.
    pub(crate) lists: Option<u32>,
    /// Lists to scan when the session does not say; `None`: chosen from the number of lists.
    pub(crate) probes: Option<u32>,
    /// How rows are stored; `None`: chosen from the dimensions.
    pub(crate) storage: Option<Storage>,
}

#[repr(C)]
struct RawOptions {
    varlena_header: i32,
    lists: c_int,
    probes: c_int,
    storage: c_int,
}

/// The other values are those of the metapage.
const STORAGE_AUTO: c_int = 0;

static KIND: OnceLock<pg_sys::relopt_kind::Type> = OnceLock::new();

/// Registers the parameters; called once, when the library is loaded.
pub(crate) fn register() {
    let lists_max = c_int::try_from(MAX_LISTS).expect("32,768");
    let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: called from _PG_init; every string is static and NUL-terminated, and so is the member array.
    let kind = unsafe {
        let kind = pg_sys::add_reloption_kind();
        pg_sys::add_int_reloption(
            kind,
            c"lists".as_ptr(),
            c"Number of lists; 0 chooses it from the number of rows".as_ptr(),
            0,
            0,
            lists_max,
            lock,
        );
        pg_sys::add_int_reloption(
            kind,
            c"probes".as_ptr(),
            c"Lists that a scan reads when vectorgpu.probes is 0; 0 chooses it from the number of lists"
                .as_ptr(),
            0,
            0,
            lists_max,
            lock,
        );
        pg_sys::add_enum_reloption(
            kind,
            c"storage".as_ptr(),
            c"How vectors are stored in the index".as_ptr(),
            addr_of_mut!(STORAGE_MEMBERS).cast(),
            STORAGE_AUTO,
            c"Valid values are \"auto\", \"f32\", \"f16\", \"int8\", \"rabitq\", \"bits\" and \"sketch\"."
                .as_ptr(),
            lock,
        );
        kind
    };
    KIND.set(kind).expect("the library is loaded once");
}

static mut STORAGE_MEMBERS: [pg_sys::relopt_enum_elt_def; 8] = [
    member(c"auto", STORAGE_AUTO),
    member(c"f32", Storage::F32 as c_int),
    member(c"f16", Storage::F16 as c_int),
    member(c"int8", Storage::Int8 as c_int),
    member(c"rabitq", Storage::Rabitq as c_int),
    member(c"bits", Storage::Bits as c_int),
    member(c"sketch", Storage::Sketch as c_int),
    pg_sys::relopt_enum_elt_def {
        string_val: std::ptr::null(),
        symbol_val: 0,
    },
];

const fn member(name: &'static CStr, value: c_int) -> pg_sys::relopt_enum_elt_def {
    pg_sys::relopt_enum_elt_def {
        string_val: name.as_ptr(),
        symbol_val: value,
    }
}

/// `amoptions`: parses `reloptions` into the server's form.
pub(crate) fn parse(reloptions: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    let element = |name: &'static CStr, opttype, offset: usize| pg_sys::relopt_parse_elt {
        optname: name.as_ptr(),
        opttype,
        offset: c_int::try_from(offset).expect("a small struct"),
        // Whether an option was given follows from its value.
        #[cfg(feature = "pg18")]
        isset_offset: 0,
    };
    let elements = [
        element(
            c"lists",
            pg_sys::relopt_type::RELOPT_TYPE_INT,
            offset_of!(RawOptions, lists),
        ),
        element(
            c"probes",
            pg_sys::relopt_type::RELOPT_TYPE_INT,
            offset_of!(RawOptions, probes),
        ),
        element(
            c"storage",
            pg_sys::relopt_type::RELOPT_TYPE_ENUM,
            offset_of!(RawOptions, storage),
        ),
    ];
    let kind = *KIND.get().expect("registered when the library was loaded");
    // SAFETY: the offsets are those of RawOptions, whose size is given.
    unsafe {
        pg_sys::build_reloptions(
            reloptions,
            validate,
            kind,
            size_of::<RawOptions>(),
            elements.as_ptr(),
            c_int::try_from(elements.len()).expect("three"),
        )
        .cast()
    }
}

/// The parameters of an open index.
pub(crate) fn of_index(index: pg_sys::Relation) -> IndexOptions {
    // SAFETY: the caller's index is open; rd_options is NULL or what `parse` returned.
    let raw = unsafe { (*index).rd_options.cast::<RawOptions>() };
    if raw.is_null() {
        return IndexOptions {
            lists: None,
            probes: None,
            storage: None,
        };
    }
    let positive = |value: c_int| u32::try_from(value).ok().filter(|value| *value > 0);
    // SAFETY: not NULL, so it points to a RawOptions.
    let (lists, probes, storage) = unsafe {
        (
            addr_of!((*raw).lists).read(),
            addr_of!((*raw).probes).read(),
            addr_of!((*raw).storage).read(),
        )
    };
    let storage = u8::try_from(storage)
        .ok()
        .and_then(|code| Storage::from_code(code).ok());
    IndexOptions {
        lists: positive(lists),
        probes: positive(probes),
        storage,
    }
}
