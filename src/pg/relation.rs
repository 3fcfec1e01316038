//! Relations opened for the length of a scope.

use std::ffi::CStr;

use super::store::PgStore;
use super::version;
use pgrx::pg_sys;
use vectorgpu_core::{Error, ErrorKind, Result};

/// An access method, told by its handler: CREATE ACCESS METHOD may give it other names.
pub(crate) struct AccessMethod {
    /// The name that messages say.
    pub(crate) name: &'static str,
    /// The callback that only its handler names.
    pub(crate) build: BuildFunction,
}

type BuildFunction = unsafe extern "C-unwind" fn(
    pg_sys::Relation,
    pg_sys::Relation,
    *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult;

impl AccessMethod {
    /// Whether `index` is one of its indexes.
    ///
    /// # Safety
    /// `index` is an open index.
    pub(crate) unsafe fn is_of(&self, index: pg_sys::Relation) -> bool {
        // SAFETY: as the caller's; an open index has what its handler returned.
        let build = unsafe { (*(*index).rd_indam).ambuild };
        build.is_some_and(|build| std::ptr::fn_addr_eq(build, self.build))
    }
}

/// An open index and its table, with their locks held to the end of the transaction.
pub(crate) struct OpenIndex {
    index: pg_sys::Relation,
    table: pg_sys::Relation,
}

impl OpenIndex {
    /// Opens the index `oid` of access method `access_method` and its table under `lock`.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no such index, `Unsupported` when it belongs to another session's temporary table;
    /// the server's own error when the caller may not read the table, or not lock it so.
    pub(crate) fn open(
        oid: pg_sys::Oid,
        access_method: &AccessMethod,
        lock: pg_sys::LOCKMODE,
    ) -> Result<Self> {
        // SAFETY: takes any OID; InvalidOid when it is no index. `true` asks for no error.
        let table_oid = unsafe { pg_sys::IndexGetRelation(oid, true) };
        if table_oid == pg_sys::InvalidOid {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{} is not an index", relation_by_oid(oid)),
            ));
        }
        check_select(table_oid);
        check_lock(table_oid, lock);
        // The table first, as every command that locks both does; the other order could deadlock.
        // SAFETY: both OIDs are a relation's, or the server raises an error.
        let table = unsafe { pg_sys::table_open(table_oid, lock) };
        // SAFETY: as above.
        let index = unsafe { pg_sys::index_open(oid, lock) };
        let open = Self { index, table };
        // SAFETY: `index` is open.
        if !unsafe { access_method.is_of(index) } {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("index \"{}\" is not an {} index", open.name(), access_method.name),
            ));
        }
        // SAFETY: `index` is open.
        let kind = unsafe { (*(*index).rd_rel).relkind };
        if kind == pg_sys::RELKIND_PARTITIONED_INDEX as std::ffi::c_char {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "index \"{}\" is partitioned and holds no rows itself",
                    open.name()
                ),
            )
            .with_hint("Name the index of a partition; pg_partition_tree lists them."));
        }
        check_not_foreign(index, "index")?;
        Ok(open)
    }

    /// The index.
    pub(crate) fn index(&self) -> pg_sys::Relation {
        self.index
    }

    /// The index's OID.
    pub(crate) fn oid(&self) -> pg_sys::Oid {
        // SAFETY: `self` keeps the index open.
        unsafe { oid(self.index) }
    }

    /// The type that its operator class takes.
    pub(crate) fn input_type(&self) -> pg_sys::Oid {
        // SAFETY: `self` keeps the index open; an index has an operator class for each of its columns, one at least.
        unsafe { *(*self.index).rd_opcintype }
    }

    /// The table's OID.
    pub(crate) fn table_oid(&self) -> pg_sys::Oid {
        // SAFETY: `self` keeps the table open.
        unsafe { oid(self.table) }
    }

    /// The table.
    pub(crate) fn table(&self) -> pg_sys::Relation {
        self.table
    }

    /// Refuses a table of which the current user may only see the rows that a policy lets through.
    ///
    /// # Errors
    /// `Unsupported`; the server's own error where `row_security` is off.
    pub(crate) fn check_row_security(&self) -> Result<()> {
        check_row_security(self.table)
    }

    /// The index's pages.
    pub(crate) fn store(&self) -> PgStore {
        // SAFETY: `self` keeps the index open; callers drop the store first.
        unsafe { PgStore::new(self.index, std::ptr::null_mut()) }
    }

    /// The index's name.
    pub(crate) fn name(&self) -> String {
        relation_name(self.index)
    }
}

impl Drop for OpenIndex {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: opened in `open`, closed once; the locks stay until the transaction ends.
        unsafe {
            pg_sys::index_close(self.index, pg_sys::NoLock as pg_sys::LOCKMODE);
            pg_sys::table_close(self.table, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}

/// Raises the server's error unless the current user may read the table `oid`.
pub(super) fn check_select(oid: pg_sys::Oid) {
    check_any_right(oid, pg_sys::ACL_SELECT);
}

/// Raises the server's error unless the current user, who may read the table `oid`, may also take `lock` on it: the rule of
/// LOCK TABLE, without which a role that only reads could keep writers out.
fn check_lock(oid: pg_sys::Oid, lock: pg_sys::LOCKMODE) {
    if lock > pg_sys::RowExclusiveLock.cast_signed() {
        check_any_right(
            oid,
            pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE | pg_sys::ACL_TRUNCATE,
        );
    }
}

/// Raises the server's error unless the current user has one of `rights` on the table `oid`.
fn check_any_right(oid: pg_sys::Oid, rights: u32) {
    // SAFETY: looks up rights of the current user; any one of several is enough.
    let allowed =
        unsafe { pg_sys::pg_class_aclcheck(oid, pg_sys::GetUserId(), pg_sys::AclMode::from(rights)) };
    if allowed != pg_sys::AclResult::ACLCHECK_OK {
        // SAFETY: raises the server's error for this relation.
        unsafe {
            let name = pg_sys::get_rel_name(oid);
            pg_sys::aclcheck_error(allowed, pg_sys::ObjectType::OBJECT_TABLE, name);
        }
    }
}

/// Refuses an open relation, a `what`, that is another session's temporary one: its pages are in that session's memory.
///
/// # Errors
/// `Unsupported`.
pub(super) fn check_not_foreign(relation: pg_sys::Relation, what: &str) -> Result<()> {
    // SAFETY: the caller's relation is open.
    let is_foreign = unsafe {
        (*(*relation).rd_rel).relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char
            && !(*relation).rd_islocaltemp
    };
    if !is_foreign {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "cannot read {what} \"{}\", which is temporary and belongs to another session",
            relation_name(relation)
        ),
    ))
}

/// Refuses an open table of which the current user may only see the rows that a policy lets through.
///
/// # Errors
/// `Unsupported`; the server's own error where `row_security` is off.
pub(super) fn check_row_security(table: pg_sys::Relation) -> Result<()> {
    // SAFETY: the caller's table is open.
    let enabled = unsafe { pg_sys::check_enable_rls((*table).rd_id, pg_sys::InvalidOid, false) };
    if enabled != pg_sys::CheckEnableRlsResult::RLS_ENABLED.cast_signed() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "cannot search table \"{}\", which has row-level security",
            relation_name(table)
        ),
    )
    .with_hint("ORDER BY a distance with a LIMIT respects its policies."))
}

/// `relation "name"`, or the OID where no relation has it.
fn relation_by_oid(oid: pg_sys::Oid) -> String {
    // SAFETY: a catalog look-up; NULL when there is no such relation, else a palloc'd string.
    let name = unsafe { pg_sys::get_rel_name(oid) };
    if name.is_null() {
        return format!("OID {}", oid.to_u32());
    }
    // SAFETY: not NULL, NUL-terminated.
    let name = unsafe { CStr::from_ptr(name) };
    format!("relation \"{}\"", name.to_string_lossy())
}

/// The relation's OID.
///
/// # Safety
/// `relation` is open.
pub(crate) unsafe fn oid(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: as the caller's.
    unsafe { (*relation).rd_id }
}

/// Tablespace, database and number of the relation's files.
///
/// # Safety
/// `relation` is open.
pub(crate) unsafe fn files(relation: pg_sys::Relation) -> [u32; 3] {
    // SAFETY: as the caller's.
    let node = unsafe { version::file_node(relation) };
    version::numbers_of(node)
}

/// Rows of the relation as of the last VACUUM or ANALYZE, if there was one.
pub(crate) fn estimated_rows(relation: pg_sys::Relation) -> Option<u64> {
    // SAFETY: the caller's relation is open.
    let rows = unsafe { (*(*relation).rd_rel).reltuples };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, not negative"
    )]
    (rows >= 0.0).then_some(rows as u64)
}

/// Pages of a table and of what is TOASTed of it.
///
/// # Safety
/// `table` is open.
pub(crate) unsafe fn pages_with_toast(table: pg_sys::Relation) -> u64 {
    let pages = |relation| {
        // SAFETY: the caller's relation is open.
        u64::from(unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        })
    };
    // SAFETY: as the caller's; the TOAST table is opened and closed here.
    unsafe {
        let toast_oid = (*(*table).rd_rel).reltoastrelid;
        if toast_oid == pg_sys::InvalidOid {
            return pages(table);
        }
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let toast = pg_sys::table_open(toast_oid, lock);
        let both = pages(table) + pages(toast);
        pg_sys::table_close(toast, lock);
        both
    }
}

/// The relation's name.
pub(crate) fn relation_name(relation: pg_sys::Relation) -> String {
    // SAFETY: the caller's relation is open; the name is a NUL-terminated NameData.
    let name = unsafe { CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr()) };
    name.to_string_lossy().into_owned()
}

/// Whether the access method of an open index goes by `name`.
pub(crate) fn is_access_method_named(index: pg_sys::Relation, name: &CStr) -> bool {
    // SAFETY: `index` is open; get_am_name returns NULL for an unknown OID, else a palloc'd string.
    unsafe {
        let own = pg_sys::get_am_name((*(*index).rd_rel).relam);
        if own.is_null() {
            return false;
        }
        let is_it = CStr::from_ptr(own) == name;
        pg_sys::pfree(own.cast());
        is_it
    }
}
