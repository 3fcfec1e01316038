//! Operator classes: which metric an index orders by, and whether a class is well formed.
//!
//! A class of `ivf` has one ordering operator (strategy 1, returning float8) and one support function (1), which takes
//! nothing and returns the code of the metric, that of the type above it, and above that how the operator sums: so a class may be
//! made for any type with the layout, and for operators of another library.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::metric::Metric;
use vectorgpu_core::quantize::Summation;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::error::OrRaise;
use crate::types::elements::ElementType;

const METRIC_SUPPORT: u16 = 1;

/// Where the type of the values stands in what a support function returns; the metric's code comes below it.
const TYPE_SHIFT: u32 = 8;
/// Where it says how the operator sums.
const SUMMATION_SHIFT: u32 = 16;

/// What an index orders, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexedBy {
    /// The operator.
    pub(crate) metric: Metric,
    /// What the column's values are.
    pub(crate) elements: ElementType,
    /// How the operator sums: where that is not as the kernels do, the index only has bounds of its values.
    pub(crate) summation: Summation,
}

impl IndexedBy {
    const fn code(self) -> i32 {
        self.metric.code() as i32
            | (self.elements.code() as i32) << TYPE_SHIFT
            | (self.summation.code() as i32) << SUMMATION_SHIFT
    }

    fn from_code(code: i32) -> Option<Self> {
        let [metric, elements, summation, 0] = code.to_le_bytes() else {
            return None;
        };
        Some(Self {
            metric: Metric::from_code(metric).ok()?,
            elements: ElementType::from_code(elements)?,
            summation: Summation::from_code(summation)?,
        })
    }
}

/// The support functions of the operator classes.
macro_rules! support_functions {
    ($summation:ident => $($name:ident: $elements:ident, $metric:ident;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "() -> int4`.")]
            #[pg_extern(sql = false)]
            fn $name() -> i32 {
                IndexedBy {
                    metric: Metric::$metric,
                    elements: ElementType::$elements,
                    summation: Summation::$summation,
                }
                .code()
            }
        )*
    };
}

support_functions! {
    Kernels =>
    ivf_vector_l2_support: Single, L2;
    ivf_vector_ip_support: Single, InnerProduct;
    ivf_vector_cosine_support: Single, Cosine;
    ivf_vector_l1_support: Single, L1;
    ivf_halfvec_l2_support: Half, L2;
    ivf_halfvec_ip_support: Half, InnerProduct;
    ivf_halfvec_cosine_support: Half, Cosine;
    ivf_halfvec_l1_support: Half, L1;
    ivf_bit_hamming_support: Bit, Hamming;
    ivf_bit_jaccard_support: Bit, Jaccard;
    ivf_sparsevec_l2_support: Sparse, L2;
    ivf_sparsevec_ip_support: Sparse, InnerProduct;
    ivf_sparsevec_cosine_support: Sparse, Cosine;
    ivf_sparsevec_l1_support: Sparse, L1;
}

// For pgvector's own types, whose operators are pgvector's functions.
support_functions! {
    Any =>
    ivf_pgvector_vector_l2_support: Single, L2;
    ivf_pgvector_vector_ip_support: Single, InnerProduct;
    ivf_pgvector_vector_cosine_support: Single, Cosine;
    ivf_pgvector_vector_l1_support: Single, L1;
    ivf_pgvector_halfvec_l2_support: Half, L2;
    ivf_pgvector_halfvec_ip_support: Half, InnerProduct;
    ivf_pgvector_halfvec_cosine_support: Half, Cosine;
    ivf_pgvector_halfvec_l1_support: Half, L1;
    ivf_pgvector_sparsevec_l2_support: Sparse, L2;
    ivf_pgvector_sparsevec_ip_support: Sparse, InnerProduct;
    ivf_pgvector_sparsevec_cosine_support: Sparse, Cosine;
    ivf_pgvector_sparsevec_l1_support: Sparse, L1;
}

/// What an open index orders, and by what.
///
/// # Errors
/// `InvalidArgument` when its operator class does not say it.
pub(crate) fn indexed_by(index: pg_sys::Relation) -> Result<IndexedBy> {
    // SAFETY: the caller's index is open and has one column; the server raises an error without the function.
    let code = unsafe {
        let function = pg_sys::index_getprocinfo(index, 1, METRIC_SUPPORT);
        pg_sys::FunctionCall0Coll(function, pg_sys::InvalidOid)
    };
    let code = i32::try_from(code.value()).ok();
    code.and_then(IndexedBy::from_code).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            "the operator class's support function names no metric and type",
        )
        .with_hint("Use an operator class of vectorgpu, such as vector_l2_ops.")
    })
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn amvalidate(opclass: pg_sys::Oid) -> bool {
    match validate(opclass).or_raise() {
        None => true,
        Some(problem) => {
            pgrx::info!("operator class {} {problem}", opclass.to_u32());
            false
        }
    }
}

fn validate(opclass: pg_sys::Oid) -> Result<Option<String>> {
    let id = pg_sys::SysCacheIdentifier::CLAOID.cast_signed();
    // SAFETY: looks up a pg_opclass row; NULL when there is none.
    let tuple = unsafe { pg_sys::SearchSysCache1(id, pg_sys::Datum::from(opclass)) };
    if tuple.is_null() {
        return Err(Error::new(
            ErrorKind::Internal,
            format!("operator class {} does not exist", opclass.to_u32()),
        ));
    }
    // SAFETY: the tuple is a pg_opclass row, pinned until released.
    let (family, input) = unsafe {
        let form = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_opclass>(tuple);
        let fields = ((*form).opcfamily, (*form).opcintype);
        pg_sys::ReleaseSysCache(tuple);
        fields
    };
    Ok(support_problem(family, input).or_else(|| operator_problem(family, input)))
}

fn support_problem(family: pg_sys::Oid, input: pg_sys::Oid) -> Option<String> {
    // SAFETY: a catalog look-up; InvalidOid when there is no such function.
    let function = unsafe { pg_sys::get_opfamily_proc(family, input, input, METRIC_SUPPORT.cast_signed()) };
    if function == pg_sys::InvalidOid {
        return Some("lacks support function 1".to_owned());
    }
    // SAFETY: the function exists; NULL arguments array is allowed for no arguments.
    let returns = unsafe { pg_sys::get_func_rettype(function) };
    // SAFETY: as above.
    let arguments = unsafe { pg_sys::get_func_nargs(function) };
    (returns != pg_sys::INT4OID || arguments != 0)
        .then(|| "has a support function 1 that is not a function () returning integer".to_owned())
}

fn operator_problem(family: pg_sys::Oid, input: pg_sys::Oid) -> Option<String> {
    let id = pg_sys::SysCacheIdentifier::AMOPSTRATEGY.cast_signed();
    // SAFETY: lists the pg_amop rows of a family; released below.
    let list = unsafe { pg_sys::SearchSysCacheList(id, 1, pg_sys::Datum::from(family), 0.into(), 0.into()) };
    let mut found = false;
    let mut problem = None;
    // SAFETY: the list holds n_members pg_amop rows.
    let members = unsafe {
        (*list)
            .members
            .as_slice(usize::try_from((*list).n_members).unwrap_or_default())
    };
    for member in members {
        // SAFETY: each member's tuple is a pg_amop row.
        let operator =
            unsafe { *pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_amop>(&raw mut (**member).tuple) };
        found |= operator.amoplefttype == input && operator.amoprighttype == input;
        // SAFETY: a catalog look-up.
        let returns = unsafe { pg_sys::get_op_rettype(operator.amopopr) };
        if operator.amopstrategy != 1
            || operator.amoppurpose.cast_unsigned() != pg_sys::AMOP_ORDER
            || returns != pg_sys::FLOAT8OID
        {
            problem = Some(format!(
                "contains operator {}, which is not strategy 1 FOR ORDER BY returning double precision",
                operator.amopopr.to_u32()
            ));
        }
    }
    // SAFETY: taken above.
    unsafe { pg_sys::ReleaseCatCacheList(list) };
    problem.or_else(|| (!found).then(|| "lacks an ordering operator for its type".to_owned()))
}
