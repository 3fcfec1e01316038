-- Distances, norms and ordering of sparsevec.
-- What a statement answers: its only value, or the SQLSTATE, message, detail and hint of its error.
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN array_to_string(array_remove(ARRAY[SQLSTATE, message, detail, hint], ''), ' | ');
END
$$;

-- Distances and norms.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT l2_distance('{}/2'::sparsevec, '{1:3,2:4}/2')$$,
    $$SELECT l2_distance('{1:1,2:2}/3'::sparsevec, '{2:5,3:1}/3')$$,
    $$SELECT l2_distance('{1:1,2:2}/2'::sparsevec, '{1:3}/3')$$,
    $$SELECT l2_distance('{1:3e38}/1'::sparsevec, '{1:-3e38}/1')$$,
    $$SELECT l2_distance('{1:1,3:2,5:3,7:4,9:5}/9'::sparsevec, '{2:1,4:2,6:3,8:4,9:5}/9')$$,
    $$SELECT l2_distance('{1:2,3:4}/5'::sparsevec, '{1:2,3:4}/5')$$,
    $$SELECT l2_distance('{1:2}/2'::sparsevec, '{1:-4}/2')$$,
    $$SELECT l2_distance('{}/3'::sparsevec, '{}/3')$$,
    $$SELECT sparsevec_l2_squared_distance('{}/2'::sparsevec, '{1:3,2:4}/2')$$,
    $$SELECT sparsevec_l2_squared_distance('{1:1,2:2}/3'::sparsevec, '{2:5,3:1}/3')$$,
    $$SELECT sparsevec_l2_squared_distance('{1:1,2:2}/2'::sparsevec, '{1:3}/3')$$,
    $$SELECT sparsevec_l2_squared_distance('{1:3e38}/1'::sparsevec, '{1:-3e38}/1')$$,
    $$SELECT sparsevec_l2_squared_distance('{1:1,3:2,5:3,7:4,9:5}/9'::sparsevec, '{2:1,4:2,6:3,8:4,9:5}/9')$$,
    $$SELECT sparsevec_l2_squared_distance('{1:2,3:4}/5'::sparsevec, '{1:2,3:4}/5')$$,
    $$SELECT sparsevec_l2_squared_distance('{1:2}/2'::sparsevec, '{1:-4}/2')$$,
    $$SELECT sparsevec_l2_squared_distance('{}/3'::sparsevec, '{}/3')$$,
    $$SELECT inner_product('{}/2'::sparsevec, '{1:3,2:4}/2')$$,
    $$SELECT inner_product('{1:1,2:2}/3'::sparsevec, '{2:5,3:1}/3')$$,
    $$SELECT inner_product('{1:1,2:2}/2'::sparsevec, '{1:3}/3')$$,
    $$SELECT inner_product('{1:3e38}/1'::sparsevec, '{1:-3e38}/1')$$,
    $$SELECT inner_product('{1:1,3:2,5:3,7:4,9:5}/9'::sparsevec, '{2:1,4:2,6:3,8:4,9:5}/9')$$,
    $$SELECT inner_product('{1:2,3:4}/5'::sparsevec, '{1:2,3:4}/5')$$,
    $$SELECT inner_product('{1:2}/2'::sparsevec, '{1:-4}/2')$$,
    $$SELECT inner_product('{}/3'::sparsevec, '{}/3')$$,
    $$SELECT sparsevec_negative_inner_product('{}/2'::sparsevec, '{1:3,2:4}/2')$$,
    $$SELECT sparsevec_negative_inner_product('{1:1,2:2}/3'::sparsevec, '{2:5,3:1}/3')$$,
    $$SELECT sparsevec_negative_inner_product('{1:1,2:2}/2'::sparsevec, '{1:3}/3')$$,
    $$SELECT sparsevec_negative_inner_product('{1:3e38}/1'::sparsevec, '{1:-3e38}/1')$$,
    $$SELECT sparsevec_negative_inner_product('{1:1,3:2,5:3,7:4,9:5}/9'::sparsevec, '{2:1,4:2,6:3,8:4,9:5}/9')$$,
    $$SELECT sparsevec_negative_inner_product('{1:2,3:4}/5'::sparsevec, '{1:2,3:4}/5')$$,
    $$SELECT sparsevec_negative_inner_product('{1:2}/2'::sparsevec, '{1:-4}/2')$$,
    $$SELECT sparsevec_negative_inner_product('{}/3'::sparsevec, '{}/3')$$,
    $$SELECT cosine_distance('{}/2'::sparsevec, '{1:3,2:4}/2')$$,
    $$SELECT cosine_distance('{1:1,2:2}/3'::sparsevec, '{2:5,3:1}/3')$$,
    $$SELECT cosine_distance('{1:1,2:2}/2'::sparsevec, '{1:3}/3')$$,
    $$SELECT cosine_distance('{1:3e38}/1'::sparsevec, '{1:-3e38}/1')$$,
    $$SELECT cosine_distance('{1:1,3:2,5:3,7:4,9:5}/9'::sparsevec, '{2:1,4:2,6:3,8:4,9:5}/9')$$,
    $$SELECT cosine_distance('{1:2,3:4}/5'::sparsevec, '{1:2,3:4}/5')$$,
    $$SELECT cosine_distance('{1:2}/2'::sparsevec, '{1:-4}/2')$$,
    $$SELECT cosine_distance('{}/3'::sparsevec, '{}/3')$$,
    $$SELECT l1_distance('{}/2'::sparsevec, '{1:3,2:4}/2')$$,
    $$SELECT l1_distance('{1:1,2:2}/3'::sparsevec, '{2:5,3:1}/3')$$,
    $$SELECT l1_distance('{1:1,2:2}/2'::sparsevec, '{1:3}/3')$$,
    $$SELECT l1_distance('{1:3e38}/1'::sparsevec, '{1:-3e38}/1')$$,
    $$SELECT l1_distance('{1:1,3:2,5:3,7:4,9:5}/9'::sparsevec, '{2:1,4:2,6:3,8:4,9:5}/9')$$,
    $$SELECT l1_distance('{1:2,3:4}/5'::sparsevec, '{1:2,3:4}/5')$$,
    $$SELECT l1_distance('{1:2}/2'::sparsevec, '{1:-4}/2')$$,
    $$SELECT l1_distance('{}/3'::sparsevec, '{}/3')$$,
    $$SELECT '{1:1}/2'::sparsevec <-> '{2:1}/2'$$,
    $$SELECT '{1:2}/2'::sparsevec <#> '{1:3}/2'$$,
    $$SELECT '{1:1}/2'::sparsevec <=> '{2:1}/2'$$,
    $$SELECT '{1:1}/2'::sparsevec <+> '{2:-3}/2'$$,
    $$SELECT l2_distance(NULL::sparsevec, '{}/1')$$,
    $$SELECT l2_norm('{1:3,2:4}/2'::sparsevec)$$,
    $$SELECT l2_norm('{}/2'::sparsevec)$$,
    $$SELECT l2_norm('{1:3e37,2:4e37}/2'::sparsevec)::real$$,
    $$SELECT l2_normalize('{1:3,2:4}/2'::sparsevec)$$,
    $$SELECT l2_normalize('{}/2'::sparsevec)$$,
    $$SELECT l2_normalize('{1:3e38}/1'::sparsevec)$$,
    $$SELECT l2_normalize('{1:3e38,2:1e-37,3:3e38}/3'::sparsevec)$$,
    $$SELECT l2_normalize('{2:0.1}/3'::sparsevec)$$,
    $$SELECT '{1:1}/1'::sparsevec + '{1:1}/1'::sparsevec$$,
    $$SELECT vector_dims('{1:1}/1'::sparsevec)$$
]) statement;

-- Comparison.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT sparsevec_cmp('{1:1}/2', '{1:1}/2')$$,
    $$SELECT sparsevec_cmp('{1:1}/2', '{1:1}/3')$$,
    $$SELECT sparsevec_cmp('{1:1}/2', '{2:1}/2')$$,
    $$SELECT sparsevec_cmp('{1:-1}/2', '{2:1}/2')$$,
    $$SELECT sparsevec_cmp('{2:1}/2', '{1:-1}/2')$$,
    $$SELECT sparsevec_cmp('{}/2', '{1:1}/2')$$,
    $$SELECT sparsevec_cmp('{}/2', '{1:-1}/2')$$,
    $$SELECT sparsevec_cmp('{1:1}/2', '{}/2')$$,
    $$SELECT sparsevec_cmp('{1:-1}/2', '{}/2')$$,
    $$SELECT sparsevec_cmp('{}/2', '{3:1}/3')$$,
    $$SELECT sparsevec_cmp('{}/2', '{3:-1}/3')$$,
    $$SELECT sparsevec_cmp('{3:-1}/3', '{}/2')$$,
    $$SELECT sparsevec_cmp('{1:1,2:2}/3', '{1:1,2:3}/3')$$,
    $$SELECT sparsevec_cmp('{1:1,3:2}/3', '{1:1}/2')$$,
    $$SELECT sparsevec_cmp('{2:1}/2', '{3:1}/3')$$,
    $$SELECT sparsevec_cmp('{1:1,2:-1}/3', '{1:1}/1')$$,
    $$SELECT '{1:1}/2'::sparsevec < '{2:1}/2'$$,
    $$SELECT '{1:1}/2'::sparsevec <= '{2:1}/2'$$,
    $$SELECT '{1:1}/2'::sparsevec = '{2:1}/2'$$,
    $$SELECT '{1:1}/2'::sparsevec <> '{2:1}/2'$$,
    $$SELECT '{1:1}/2'::sparsevec >= '{2:1}/2'$$,
    $$SELECT '{1:1}/2'::sparsevec > '{2:1}/2'$$,
    $$SELECT '{1:1}/2'::sparsevec = NULL::sparsevec$$
]) statement;

-- The order is that of the dense vectors.
SELECT count(*), count(*) FILTER (WHERE sparsevec_cmp(a, b) <> vector_cmp(a::vector, b::vector)) AS differing
FROM (
    SELECT array_agg(x - 1)::sparsevec AS a
    FROM generate_series(1, 3) n, generate_series(0, 26) c, LATERAL (SELECT c / 3 ^ i::integer % 3 AS x FROM generate_series(0, n - 1) i) d(x)
    GROUP BY n, c
) one, LATERAL (
    SELECT array_agg(x - 1)::sparsevec AS b
    FROM generate_series(1, 3) n, generate_series(0, 26) c, LATERAL (SELECT c / 3 ^ i::integer % 3 AS x FROM generate_series(0, n - 1) i) d(x)
    GROUP BY n, c
) other;
CREATE TABLE sorted (v sparsevec);
INSERT INTO sorted VALUES ('{1:2}/1'), ('{1:1}/2'), ('{2:1}/2'), ('{}/2'), ('{}/3'), (NULL), ('{1:-1}/2'), ('{2:1}/2');
SELECT v, count(*) FROM sorted GROUP BY v ORDER BY v;
CREATE INDEX sorted_v ON sorted (v);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT v FROM sorted WHERE v = '{2:1}/2';
SELECT v FROM sorted WHERE v > '{}/2' AND v <= '{1:2}/1' ORDER BY v;
RESET enable_seqscan;
RESET enable_bitmapscan;
CREATE TABLE uniq (v sparsevec(2) PRIMARY KEY);
INSERT INTO uniq VALUES ('{1:1}/2'), ('{1:0}/2');
INSERT INTO uniq VALUES ('{2:0}/2');
SELECT amvalidate(o.oid) FROM pg_opclass o JOIN pg_am a ON a.oid = opcmethod
WHERE opcintype = 'sparsevec'::regtype AND amname = 'btree';
SELECT oprname, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin, oprcanhash, oprcanmerge FROM pg_operator
WHERE oprleft = 'sparsevec'::regtype AND oprright = 'sparsevec'::regtype ORDER BY oprname COLLATE "C";
DROP TABLE sorted, uniq;
