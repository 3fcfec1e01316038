//! Leaves out of a plan the distances that nobody asked for.
//!
//! `SELECT id FROM items ORDER BY embedding <-> $1 LIMIT 10` returns no distance, and an ivf index yields the rows in
//! order; still the server's planner has the executor compute the distance of every row, as a column that is thrown
//! away at the end. For vectors that are TOASTed this takes longer than reading the index. So once a plan is made, such a
//! column becomes a NULL. Nothing else of the plan changes, and no other access method's.

use std::ffi::{c_char, c_int};
use std::sync::OnceLock;

use pgrx::prelude::*;
use pgrx::{PgList, pg_sys};

static PREVIOUS: OnceLock<pg_sys::planner_hook_type> = OnceLock::new();

/// Puts the hook in front of whatever plans now; called once, from `_PG_init`.
pub(super) fn register() {
    // SAFETY: the library is loaded by the process's only thread; the hook keeps what was there and calls it.
    unsafe {
        if PREVIOUS.set(pg_sys::planner_hook).is_ok() {
            pg_sys::planner_hook = Some(plan);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn plan(
    query: *mut pg_sys::Query,
    query_string: *const c_char,
    cursor_options: c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the server's own arguments go on unchanged; the statement is a plan made just now, that nobody shares.
    unsafe {
        let statement = match PREVIOUS.get().copied().flatten() {
            Some(previous) => previous(query, query_string, cursor_options, parameters),
            None => pg_sys::standard_planner(query, query_string, cursor_options, parameters),
        };
        if !statement.is_null() {
            if (*statement).commandType == pg_sys::CmdType::CMD_SELECT {
                top(std::ptr::null_mut(), (*statement).planTree);
            }
            visit((*statement).planTree);
            for subplan in PgList::<pg_sys::Plan>::from_pg((*statement).subplans).iter_ptr() {
                top(std::ptr::null_mut(), subplan);
                visit(subplan);
            }
        }
        statement
    }
}

/// Looks for the plans of query levels below `plan`.
///
/// # Safety
/// `plan` is NULL or a plan tree that may be changed.
unsafe fn visit(plan: *mut pg_sys::Plan) {
    if plan.is_null() {
        return;
    }
    // SAFETY: as the caller's; the tag says what a node is.
    unsafe {
        pg_sys::check_stack_depth();
        match (*plan).type_ {
            pg_sys::NodeTag::T_Limit => top(std::ptr::null_mut(), plan),
            pg_sys::NodeTag::T_SubqueryScan => {
                let subplan = (*plan.cast::<pg_sys::SubqueryScan>()).subplan;
                top(std::ptr::null_mut(), subplan);
                visit(subplan);
            }
            pg_sys::NodeTag::T_Append => visit_all((*plan.cast::<pg_sys::Append>()).appendplans),
            pg_sys::NodeTag::T_MergeAppend => visit_all((*plan.cast::<pg_sys::MergeAppend>()).mergeplans),
            _ => {}
        }
        visit((*plan).lefttree);
        visit((*plan).righttree);
    }
}

/// # Safety
/// As [`visit`], for each member.
unsafe fn visit_all(plans: *mut pg_sys::List) {
    // SAFETY: as the caller's.
    unsafe {
        for plan in PgList::<pg_sys::Plan>::from_pg(plans).iter_ptr() {
            visit(plan);
        }
    }
}

/// Handles the uppermost node of a query level, an index scan or a LIMIT over one: nothing above it reads its junk
/// columns. `limit` is the LIMIT above `plan`, if any.
///
/// # Safety
/// As [`visit`].
unsafe fn top(limit: *mut pg_sys::Limit, plan: *mut pg_sys::Plan) {
    if plan.is_null() {
        return;
    }
    // SAFETY: as the caller's; the tag says what a node is.
    unsafe {
        match (*plan).type_ {
            pg_sys::NodeTag::T_Limit if limit.is_null() => {
                let limit = plan.cast::<pg_sys::Limit>();
                // WITH TIES compares the column.
                if (*limit).limitOption == pg_sys::LimitOption::LIMIT_OPTION_COUNT {
                    top(limit, (*plan).lefttree);
                }
            }
            pg_sys::NodeTag::T_IndexScan => {
                let scan = plan.cast::<pg_sys::IndexScan>();
                if !(*scan).indexorderbyorig.is_null() && is_ours((*scan).indexid) {
                    forget_distances(limit, scan);
                }
            }
            _ => {}
        }
    }
}

/// # Safety
/// `index` is an index of a plan made just now, so it is locked.
unsafe fn is_ours(index: pg_sys::Oid) -> bool {
    // SAFETY: as the caller's; closed again at once, its lock kept.
    unsafe {
        let relation = pg_sys::index_open(index, pg_sys::NoLock as pg_sys::LOCKMODE);
        let is_ours = super::ACCESS_METHOD.is_of(relation);
        pg_sys::index_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        is_ours
    }
}

/// Replaces the scan's junk columns that are one of its own order-by expressions.
///
/// # Safety
/// `scan` may be changed; `limit` is NULL or the node above it.
unsafe fn forget_distances(limit: *mut pg_sys::Limit, scan: *mut pg_sys::IndexScan) {
    // SAFETY: as the caller's; target lists hold target entries, and lists of expressions nodes.
    unsafe {
        let order_bys = PgList::<pg_sys::Node>::from_pg((*scan).indexorderbyorig);
        for entry in PgList::<pg_sys::TargetEntry>::from_pg((*scan).scan.plan.targetlist).iter_ptr() {
            let expression = (*entry).expr.cast::<pg_sys::Node>();
            let is_order_by = order_bys
                .iter_ptr()
                .any(|order_by| pg_sys::equal(order_by.cast(), expression.cast()));
            if !(*entry).resjunk || !is_order_by || (!limit.is_null() && is_read(limit, (*entry).resno)) {
                continue;
            }
            let null = pg_sys::makeNullConst(pg_sys::exprType(expression), -1, pg_sys::InvalidOid);
            (*entry).expr = null.cast();
        }
    }
}

/// Whether anything but a junk column of `limit` shows column `column` of the node below.
///
/// # Safety
/// As [`forget_distances`].
unsafe fn is_read(limit: *mut pg_sys::Limit, column: pg_sys::AttrNumber) -> bool {
    // SAFETY: as the caller's; a LIMIT's target list holds plain references to the node below.
    unsafe {
        PgList::<pg_sys::TargetEntry>::from_pg((*limit).plan.targetlist)
            .iter_ptr()
            .any(|entry| {
                let var = (*entry).expr.cast::<pg_sys::Var>();
                (*var).xpr.type_ != pg_sys::NodeTag::T_Var || ((*var).varattno == column && !(*entry).resjunk)
            })
    }
}
