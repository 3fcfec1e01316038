-- The access method ivf and its operator classes.

CREATE FUNCTION ivfhandler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME', 'ivfhandler_wrapper' LANGUAGE C;
COMMENT ON FUNCTION ivfhandler(internal) IS 'handler of the ivf index access method';

CREATE ACCESS METHOD ivf TYPE INDEX HANDLER ivfhandler;
COMMENT ON ACCESS METHOD ivf IS 'inverted-file index for nearest-neighbour search, on the CPU or a GPU';

CREATE FUNCTION ivf_vector_l2_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_vector_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_vector_l2_support() IS 'ivf support function: order vector by Euclidean distance';

CREATE FUNCTION ivf_vector_ip_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_vector_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_vector_ip_support() IS 'ivf support function: order vector by negative inner product';

CREATE FUNCTION ivf_vector_cosine_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_vector_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_vector_cosine_support() IS 'ivf support function: order vector by cosine distance';

CREATE FUNCTION ivf_vector_l1_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_vector_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_vector_l1_support() IS 'ivf support function: order vector by taxicab distance';

CREATE FUNCTION ivf_halfvec_l2_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_halfvec_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_halfvec_l2_support() IS 'ivf support function: order halfvec by Euclidean distance';

CREATE FUNCTION ivf_halfvec_ip_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_halfvec_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_halfvec_ip_support() IS 'ivf support function: order halfvec by negative inner product';

CREATE FUNCTION ivf_halfvec_cosine_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_halfvec_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_halfvec_cosine_support() IS 'ivf support function: order halfvec by cosine distance';

CREATE FUNCTION ivf_halfvec_l1_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_halfvec_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_halfvec_l1_support() IS 'ivf support function: order halfvec by taxicab distance';

CREATE FUNCTION ivf_bit_hamming_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_bit_hamming_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_bit_hamming_support() IS 'ivf support function: order bit by Hamming distance';

CREATE FUNCTION ivf_bit_jaccard_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_bit_jaccard_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_bit_jaccard_support() IS 'ivf support function: order bit by Jaccard distance';

CREATE FUNCTION ivf_sparsevec_l2_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_sparsevec_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_sparsevec_l2_support() IS 'ivf support function: order sparsevec by Euclidean distance';

CREATE FUNCTION ivf_sparsevec_ip_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_sparsevec_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_sparsevec_ip_support() IS 'ivf support function: order sparsevec by negative inner product';

CREATE FUNCTION ivf_sparsevec_cosine_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_sparsevec_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_sparsevec_cosine_support() IS 'ivf support function: order sparsevec by cosine distance';

CREATE FUNCTION ivf_sparsevec_l1_support() RETURNS int4
    AS 'MODULE_PATHNAME', 'ivf_sparsevec_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_sparsevec_l1_support() IS 'ivf support function: order sparsevec by taxicab distance';

CREATE OPERATOR CLASS vector_l2_ops
    DEFAULT FOR TYPE vector USING ivf AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_vector_l2_support();
COMMENT ON OPERATOR CLASS vector_l2_ops USING ivf IS 'nearest by Euclidean distance';

CREATE OPERATOR CLASS vector_ip_ops
    FOR TYPE vector USING ivf AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_vector_ip_support();
COMMENT ON OPERATOR CLASS vector_ip_ops USING ivf IS 'nearest by negative inner product';

CREATE OPERATOR CLASS vector_cosine_ops
    FOR TYPE vector USING ivf AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_vector_cosine_support();
COMMENT ON OPERATOR CLASS vector_cosine_ops USING ivf IS 'nearest by cosine distance';

CREATE OPERATOR CLASS vector_l1_ops
    FOR TYPE vector USING ivf AS
    OPERATOR 1 <+> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_vector_l1_support();
COMMENT ON OPERATOR CLASS vector_l1_ops USING ivf IS 'nearest by taxicab distance';

CREATE OPERATOR CLASS halfvec_l2_ops
    FOR TYPE halfvec USING ivf AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_halfvec_l2_support();
COMMENT ON OPERATOR CLASS halfvec_l2_ops USING ivf IS 'nearest by Euclidean distance';

CREATE OPERATOR CLASS halfvec_ip_ops
    FOR TYPE halfvec USING ivf AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_halfvec_ip_support();
COMMENT ON OPERATOR CLASS halfvec_ip_ops USING ivf IS 'nearest by negative inner product';

CREATE OPERATOR CLASS halfvec_cosine_ops
    FOR TYPE halfvec USING ivf AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_halfvec_cosine_support();
COMMENT ON OPERATOR CLASS halfvec_cosine_ops USING ivf IS 'nearest by cosine distance';

CREATE OPERATOR CLASS halfvec_l1_ops
    FOR TYPE halfvec USING ivf AS
    OPERATOR 1 <+> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_halfvec_l1_support();
COMMENT ON OPERATOR CLASS halfvec_l1_ops USING ivf IS 'nearest by taxicab distance';

CREATE OPERATOR CLASS bit_hamming_ops
    FOR TYPE bit USING ivf AS
    OPERATOR 1 <~> (bit, bit) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_bit_hamming_support();
COMMENT ON OPERATOR CLASS bit_hamming_ops USING ivf IS 'nearest by Hamming distance';

CREATE OPERATOR CLASS bit_jaccard_ops
    FOR TYPE bit USING ivf AS
    OPERATOR 1 <%> (bit, bit) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_bit_jaccard_support();
COMMENT ON OPERATOR CLASS bit_jaccard_ops USING ivf IS 'nearest by Jaccard distance';

CREATE OPERATOR CLASS sparsevec_l2_ops
    FOR TYPE sparsevec USING ivf AS
    OPERATOR 1 <-> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_sparsevec_l2_support();
COMMENT ON OPERATOR CLASS sparsevec_l2_ops USING ivf IS 'nearest by Euclidean distance';

CREATE OPERATOR CLASS sparsevec_ip_ops
    FOR TYPE sparsevec USING ivf AS
    OPERATOR 1 <#> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_sparsevec_ip_support();
COMMENT ON OPERATOR CLASS sparsevec_ip_ops USING ivf IS 'nearest by negative inner product';

CREATE OPERATOR CLASS sparsevec_cosine_ops
    FOR TYPE sparsevec USING ivf AS
    OPERATOR 1 <=> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_sparsevec_cosine_support();
COMMENT ON OPERATOR CLASS sparsevec_cosine_ops USING ivf IS 'nearest by cosine distance';

CREATE OPERATOR CLASS sparsevec_l1_ops
    FOR TYPE sparsevec USING ivf AS
    OPERATOR 1 <+> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 ivf_sparsevec_l1_support();
COMMENT ON OPERATOR CLASS sparsevec_l1_ops USING ivf IS 'nearest by taxicab distance';
