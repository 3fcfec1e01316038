-- Beside pgvector: operator classes on its types, whose operators are its own functions.

CREATE FUNCTION ivf_pgvector_vector_l2_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_vector_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_vector_l2_support() IS
    'ivf support function: order pgvector''s vector by Euclidean distance';

CREATE FUNCTION ivf_pgvector_vector_ip_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_vector_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_vector_ip_support() IS
    'ivf support function: order pgvector''s vector by negative inner product';

CREATE FUNCTION ivf_pgvector_vector_cosine_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_vector_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_vector_cosine_support() IS
    'ivf support function: order pgvector''s vector by cosine distance';

CREATE FUNCTION ivf_pgvector_vector_l1_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_vector_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_vector_l1_support() IS
    'ivf support function: order pgvector''s vector by taxicab distance';

CREATE FUNCTION ivf_pgvector_halfvec_l2_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_halfvec_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_halfvec_l2_support() IS
    'ivf support function: order pgvector''s halfvec by Euclidean distance';

CREATE FUNCTION ivf_pgvector_halfvec_ip_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_halfvec_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_halfvec_ip_support() IS
    'ivf support function: order pgvector''s halfvec by negative inner product';

CREATE FUNCTION ivf_pgvector_halfvec_cosine_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_halfvec_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_halfvec_cosine_support() IS
    'ivf support function: order pgvector''s halfvec by cosine distance';

CREATE FUNCTION ivf_pgvector_halfvec_l1_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_halfvec_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_halfvec_l1_support() IS
    'ivf support function: order pgvector''s halfvec by taxicab distance';

CREATE FUNCTION ivf_pgvector_sparsevec_l2_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_sparsevec_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_sparsevec_l2_support() IS
    'ivf support function: order pgvector''s sparsevec by Euclidean distance';

CREATE FUNCTION ivf_pgvector_sparsevec_ip_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_sparsevec_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_sparsevec_ip_support() IS
    'ivf support function: order pgvector''s sparsevec by negative inner product';

CREATE FUNCTION ivf_pgvector_sparsevec_cosine_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_sparsevec_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_sparsevec_cosine_support() IS
    'ivf support function: order pgvector''s sparsevec by cosine distance';

CREATE FUNCTION ivf_pgvector_sparsevec_l1_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_pgvector_sparsevec_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_pgvector_sparsevec_l1_support() IS
    'ivf support function: order pgvector''s sparsevec by taxicab distance';

-- Its own classes of ivf are the model: there is one for pgvector's type of the same name where a support function says so, and one
-- for pgvector's operators on bit, whose values are counts and no sums.
-- The classes are in the schema of pgvector's types, where its own have those names for other access methods; an object of
-- neither extension, so that a dump brings them back, and DROP EXTENSION names them.
CREATE FUNCTION vectorgpu.create_pgvector_opclasses() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS
$$
DECLARE
    own oid := (SELECT extnamespace FROM pg_extension WHERE extname = 'vectorgpu');
    theirs oid := (SELECT extnamespace FROM pg_extension WHERE extname = 'vector');
    class record;
    description text;
BEGIN
    IF theirs IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object',
            MESSAGE = 'extension "vector" is not installed in this database',
            HINT = 'Operator classes are made for the types of pgvector.';
    END IF;
    FOR class IN
        SELECT format('%I.%I', n.nspname, c.opcname) AS name, c.opcdefault,
            their_type.oid::regtype AS input, format('%I.%s', n.nspname, o.oprname) AS operator,
            support.oid::regprocedure AS support, obj_description(c.oid, 'pg_opclass') AS comment
        FROM pg_opclass c
        JOIN pg_am a ON a.oid = c.opcmethod AND a.amname = 'ivf'
        JOIN pg_type own_type ON own_type.oid = c.opcintype
        JOIN pg_type their_type ON their_type.typname = own_type.typname
            AND their_type.typnamespace = CASE own_type.typnamespace WHEN own THEN theirs ELSE own_type.typnamespace END
        JOIN pg_namespace n ON n.oid = theirs
        JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amoplefttype = c.opcintype
        JOIN pg_operator o ON o.oid = p.amopopr
        JOIN pg_amproc r ON r.amprocfamily = c.opcfamily AND r.amproclefttype = c.opcintype
        JOIN pg_proc model ON model.oid = r.amproc
        JOIN pg_proc support ON support.pronamespace = own
            AND support.proname = CASE own_type.typnamespace WHEN own
                THEN regexp_replace(model.proname, '^ivf_', 'ivf_pgvector_') ELSE model.proname END
        WHERE c.opcnamespace = own AND NOT EXISTS (
            SELECT FROM pg_opclass same
            WHERE (same.opcmethod, same.opcname, same.opcnamespace) = (c.opcmethod, c.opcname, theirs))
        ORDER BY c.oid
    LOOP
        EXECUTE format('CREATE OPERATOR CLASS %s %s FOR TYPE %s USING ivf AS '
            'OPERATOR 1 %s (%s, %s) FOR ORDER BY pg_catalog.float_ops, FUNCTION 1 %s',
            class.name, CASE WHEN class.opcdefault THEN 'DEFAULT' END, class.input,
            class.operator, class.input, class.input, class.support);
        EXECUTE format('COMMENT ON OPERATOR CLASS %s USING ivf IS %L', class.name, class.comment);
    END LOOP;
END
$$;
COMMENT ON FUNCTION vectorgpu.create_pgvector_opclasses() IS
    'makes operator classes of ivf for the types of pgvector in the same database, whose columns can then be indexed as they are';
