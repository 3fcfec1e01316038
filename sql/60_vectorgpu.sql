-- Functions beyond pgvector's surface, in the schema that 10_types.sql creates.

CREATE FUNCTION vectorgpu.verify(index regclass) RETURNS int8
    AS 'MODULE_PATHNAME', 'verify_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vectorgpu.verify(regclass) IS
    'checks every page of an ivf index and returns its number of rows; keeps writers out meanwhile';

CREATE FUNCTION vectorgpu.index_info(index regclass,
    OUT metric text, OUT storage text, OUT dims int4, OUT lists int4, OUT probes int4, OUT rows int8,
    OUT built_rows int8, OUT empty_lists int4, OUT longest_list int8, OUT pages int8, OUT free_pages int8,
    OUT rows_per_group int4, OUT pages_per_group int4) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'index_info_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION vectorgpu.index_info(regclass) IS 'parameters and sizes of an ivf index';

CREATE FUNCTION vectorgpu.devices(
    OUT index int4, OUT name text, OUT kind text, OUT vendor text, OUT driver text, OUT software bool,
    OUT selected bool, OUT opened bool, OUT binding_bytes_max int8, OUT buffer_bytes_max int8,
    OUT subgroup_size_min int4, OUT subgroup_size_max int4, OUT features text[]) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'devices_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 4;
COMMENT ON FUNCTION vectorgpu.devices() IS
    'the CPU and every Vulkan adapter; selected is the adapter that vectorgpu.device = gpu, or an adapter named there, takes';

CREATE FUNCTION vectorgpu.gpu_stats(
    OUT device text, OUT engines_opened int8, OUT engines_lost int8, OUT dispatches int8, OUT submissions int8,
    OUT bytes_up int8, OUT bytes_down int8, OUT waits int8, OUT wait_ms float8, OUT cancellations int8,
    OUT pipelines_compiled int8, OUT compile_ms float8, OUT pipeline_hits int8, OUT bind_group_hits int8,
    OUT allocations int8, OUT pool_hits int8, OUT evictions int8, OUT vram_used_bytes int8, OUT vram_peak_bytes int8,
    OUT vram_limit_bytes int8) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'gpu_stats_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION vectorgpu.gpu_stats() IS 'what this session did on GPUs; see the view vectorgpu.stats';

CREATE VIEW vectorgpu.stats AS SELECT * FROM vectorgpu.gpu_stats();
COMMENT ON VIEW vectorgpu.stats IS 'what this session did on GPUs: work, transfers, waits, compilations, caches, memory';

CREATE FUNCTION vectorgpu.gpu_memory(OUT label text, OUT bytes int8, OUT blocks int8, OUT peak_bytes int8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'gpu_memory_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION vectorgpu.gpu_memory() IS 'GPU memory of this session; see the view vectorgpu.memory';

CREATE VIEW vectorgpu.memory AS SELECT * FROM vectorgpu.gpu_memory();
COMMENT ON VIEW vectorgpu.memory IS 'GPU memory of this session by what it is used for; empty while no GPU is open';

CREATE FUNCTION vectorgpu.gpu_indexes(OUT index regclass, OUT lists int8, OUT rows int8, OUT bytes int8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'gpu_indexes_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION vectorgpu.gpu_indexes() IS
    'copies of ivf indexes in GPU memory of this session; see the view vectorgpu.resident_indexes';

CREATE VIEW vectorgpu.resident_indexes AS SELECT * FROM vectorgpu.gpu_indexes();
COMMENT ON VIEW vectorgpu.resident_indexes IS
    'what of which ivf index is in GPU memory of this session: lists, rows, bytes';

CREATE FUNCTION vectorgpu.prewarm(index regclass, OUT device text, OUT lists int8, OUT rows int8, OUT bytes int8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'prewarm_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000000 ROWS 1;
COMMENT ON FUNCTION vectorgpu.prewarm(regclass) IS
    'copies all lists of an ivf index into GPU memory of this session, or brings its copies up to date';

CREATE FUNCTION vectorgpu.gpu_kernel_times(
    OUT kernel text, OUT dispatches int8, OUT total_ms float8, OUT longest_ms float8) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'gpu_kernel_times_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION vectorgpu.gpu_kernel_times() IS
    'device time by kernel in this session; see the view vectorgpu.kernel_times';

CREATE VIEW vectorgpu.kernel_times AS SELECT * FROM vectorgpu.gpu_kernel_times();
COMMENT ON VIEW vectorgpu.kernel_times IS 'device time by kernel, measured in this session while vectorgpu.profile was on';

CREATE FUNCTION vectorgpu.device_estimates(OUT job text, OUT device text, OUT runs int8, OUT estimated_cpu_ms float8,
    OUT estimated_gpu_ms float8, OUT actual_ms float8) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'device_estimates_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION vectorgpu.device_estimates() IS
    'estimated and actual times of this session''s work by device; see the view vectorgpu.estimates';

CREATE VIEW vectorgpu.estimates AS SELECT * FROM vectorgpu.device_estimates();
COMMENT ON VIEW vectorgpu.estimates IS
    'work of this session by kind and device: what it was estimated to take on the CPU and on the GPU, and what it took';

CREATE FUNCTION vectorgpu.device_calibration(OUT cpu text, OUT adapter text, OUT cpu_multiply_adds_per_s float8,
    OUT gpu_start_ms float8, OUT gpu_search_us float8, OUT gpu_scan_bytes_per_s float8, OUT gpu_copy_bytes_per_s float8,
    OUT gpu_upload_bytes_per_s float8, OUT gpu_multiply_adds_per_s float8) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'device_calibration_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION vectorgpu.device_calibration() IS
    'measured rates of the CPU and the GPU; see the view vectorgpu.calibration';

CREATE VIEW vectorgpu.calibration AS SELECT * FROM vectorgpu.device_calibration();
COMMENT ON VIEW vectorgpu.calibration IS
    'measured rates of the CPU and the GPU by which vectorgpu.device = auto decides; empty before a GPU was used under auto';

CREATE FUNCTION vectorgpu.calibrate(OUT cpu text, OUT adapter text, OUT cpu_multiply_adds_per_s float8,
    OUT gpu_start_ms float8, OUT gpu_search_us float8, OUT gpu_scan_bytes_per_s float8, OUT gpu_copy_bytes_per_s float8,
    OUT gpu_upload_bytes_per_s float8, OUT gpu_multiply_adds_per_s float8) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'calibrate_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000000 ROWS 1;
REVOKE ALL ON FUNCTION vectorgpu.calibrate() FROM PUBLIC;
COMMENT ON FUNCTION vectorgpu.calibrate() IS
    'measures the CPU and the GPU anew, for all sessions that begin later; best on an idle machine';

GRANT SELECT ON vectorgpu.stats, vectorgpu.memory, vectorgpu.resident_indexes, vectorgpu.kernel_times, vectorgpu.estimates,
    vectorgpu.calibration TO PUBLIC;

CREATE FUNCTION vectorgpu.last_scan(
    OUT index regclass, OUT device text, OUT lists_probed int8, OUT rows_scored int8, OUT rows_compared int8,
    OUT restarts int8, OUT why text, OUT rank_us float8, OUT check_us float8, OUT scan_us float8,
    OUT lists_copied int8, OUT estimated_cpu_us float8, OUT estimated_gpu_us float8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'last_scan_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION vectorgpu.last_scan() IS 'what the session''s last finished ivf scan did, where and why, and how long its stages took';

CREATE FUNCTION vectorgpu.search(index regclass, queries vector[], k int4, probes int4 DEFAULT 0,
    OUT query int4, OUT rank int4, OUT tid tid, OUT distance float8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'search_wrapper' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 10000 ROWS 1000;
COMMENT ON FUNCTION vectorgpu.search(regclass, vector[], int4, int4) IS
    'for each of the queries the k nearest rows, through an ivf index';

CREATE FUNCTION vectorgpu.knn_join(relation regclass, column_name text, index regclass, k int4, probes int4 DEFAULT 0,
    exclude_self boolean DEFAULT false, OUT tid tid, OUT rank int4, OUT neighbour_tid tid, OUT distance float8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'knn_join_wrapper' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000000 ROWS 100000;
COMMENT ON FUNCTION vectorgpu.knn_join(regclass, text, regclass, int4, int4, boolean) IS
    'for each row of a table the k nearest rows, through an ivf index';

CREATE FUNCTION vectorgpu.exact_search(relation regclass, column_name text, queries vector[], k int4,
    metric text DEFAULT 'l2', OUT query int4, OUT rank int4, OUT tid tid, OUT distance float8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'exact_search_wrapper' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100000 ROWS 1000;
COMMENT ON FUNCTION vectorgpu.exact_search(regclass, text, vector[], int4, text) IS
    'for each of the queries the k nearest of all rows of a table, without an index; on a GPU as vectorgpu.device says';

CREATE FUNCTION vectorgpu.kmeans(relation regclass, column_name text, k int4, metric text DEFAULT 'l2',
    seed int8 DEFAULT 0, OUT cluster int4, OUT centroid vector, OUT rows int8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'kmeans_wrapper' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000000 ROWS 100;
COMMENT ON FUNCTION vectorgpu.kmeans(regclass, text, int4, text, int8) IS
    'k centroids of the vectors of a table, and how many rows are nearest to each';

CREATE FUNCTION vectorgpu.create_pgvector_casts() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS
$$
DECLARE
    own regnamespace := (SELECT extnamespace FROM pg_extension WHERE extname = 'vectorgpu');
    theirs regnamespace := (SELECT extnamespace FROM pg_extension WHERE extname = 'vector');
    source regtype;
    target regtype;
BEGIN
    IF theirs IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object',
            MESSAGE = 'extension "vector" is not installed in this database',
            HINT = 'Casts are made between the types of vectorgpu and those of pgvector.';
    END IF;
    FOR source, target IN
        SELECT a.oid, b.oid FROM pg_type a JOIN pg_type b ON b.typname = a.typname
        WHERE a.typname IN ('vector', 'halfvec', 'sparsevec')
          AND (a.typnamespace, b.typnamespace) IN ((own, theirs), (theirs, own))
          AND NOT EXISTS (SELECT FROM pg_cast WHERE castsource = a.oid AND casttarget = b.oid)
        ORDER BY a.oid
    LOOP
        EXECUTE format('CREATE CAST (%s AS %s) WITHOUT FUNCTION AS ASSIGNMENT', source, target);
    END LOOP;
END
$$;
COMMENT ON FUNCTION vectorgpu.create_pgvector_casts() IS
    'makes casts between the types of vectorgpu and those of pgvector in the same database; values are not touched';
