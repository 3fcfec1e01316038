//! vectorgpu: vector search for PostgreSQL on the GPU or on SIMD CPU code.
//!
//! This crate is the only one that sees PostgreSQL; the algorithms live in `vectorgpu-core` and `vectorgpu-compute`.
//! The SQL objects are declared by hand in `sql/`, one file for each section of the type vector and one
//! for each other type, in the order of the declarations below;
//! the Rust functions behind them say `sql = false` and are found by their symbol, `<name>_wrapper`.

use pgrx::prelude::*;

mod am;
mod api;
mod error;
mod gpu;
mod guc;
mod logging;
mod models;
mod ops;
mod pg;
mod types;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/10_types.sql", name = "types", bootstrap);
extension_sql_file!(
    "../sql/20_functions.sql",
    name = "functions",
    requires = ["types"]
);
extension_sql_file!("../sql/30_casts.sql", name = "casts", requires = ["functions"]);
extension_sql_file!(
    "../sql/40_operators.sql",
    name = "operators",
    requires = ["casts"]
);
extension_sql_file!(
    "../sql/42_halfvec.sql",
    name = "halfvec",
    requires = ["operators"]
);
extension_sql_file!(
    "../sql/44_sparsevec.sql",
    name = "sparsevec",
    requires = ["halfvec"]
);
extension_sql_file!("../sql/46_bit.sql", name = "bit", requires = ["sparsevec"]);
extension_sql_file!(
    "../sql/50_access_method.sql",
    name = "access_method",
    requires = ["bit"]
);
extension_sql_file!(
    "../sql/60_vectorgpu.sql",
    name = "vectorgpu",
    requires = ["access_method"]
);
extension_sql_file!("../sql/70_shards.sql", name = "shards", requires = ["vectorgpu"]);
extension_sql_file!("../sql/80_pgvector.sql", name = "pgvector", requires = ["shards"]);
extension_sql_file!("../sql/82_ivfflat.sql", name = "ivfflat", requires = ["pgvector"]);
extension_sql_file!("../sql/90_models.sql", name = "models", requires = ["ivfflat"]);

/// Runs once in every backend that loads the library, and in the postmaster when it is preloaded: registers settings,
/// storage parameters and the logger, and touches no GPU.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    guc::register();
    pg::options::register();
    logging::register();
    am::register();
    error::hide_backtraces();
}

/// What `cargo pgrx test` asks of the extension under test.
#[cfg(test)]
pub mod pg_test {
    /// Called once before the first test.
    pub fn setup(_options: Vec<&str>) {}

    /// Lines for the test cluster's postgresql.conf.
    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        Vec::new()
    }
}
