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
    OUT name text, OUT kind text, OUT vendor text, OUT driver text, OUT software bool, OUT selected bool,
    OUT opened bool, OUT binding_bytes_max int8, OUT buffer_bytes_max int8) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'devices_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 4;
COMMENT ON FUNCTION vectorgpu.devices() IS
    'the CPU and every Vulkan adapter; selected is the adapter that vectorgpu.device = gpu would take';

CREATE FUNCTION vectorgpu.last_scan(
    OUT index regclass, OUT device text, OUT lists_probed int8, OUT rows_scored int8, OUT restarts int8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'last_scan_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION vectorgpu.last_scan() IS 'what the session''s last finished ivf scan did';
