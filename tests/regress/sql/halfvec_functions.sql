-- Distances, algebra, parts and ordering of halfvec.
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
    $$SELECT l2_distance('[0,0]'::halfvec, '[3,4]')$$,
    $$SELECT '[0,0]'::halfvec <-> '[3,4]'$$,
    $$SELECT l2_distance('[1,2]'::halfvec, '[3]')$$,
    $$SELECT l2_distance('[65504]'::halfvec, '[-65504]')$$,
    $$SELECT l2_distance('[1,1,1,1,1,1,1,1,1]'::halfvec, '[1,1,1,1,1,1,1,4,5]')$$,
    $$SELECT l2_distance(NULL::halfvec, '[1]')$$,
    $$SELECT halfvec_l2_squared_distance('[0,0]', '[3,4]')$$,
    $$SELECT halfvec_l2_squared_distance('[1]', '[1,2]')$$,
    $$SELECT inner_product('[1,2]'::halfvec, '[3,4]')$$,
    $$SELECT inner_product('[1,2]'::halfvec, '[3]')$$,
    $$SELECT inner_product('[65504]'::halfvec, '[65504]')$$,
    $$SELECT inner_product('[1,1,1,1,1,1,1,1,1]'::halfvec, '[1,2,3,4,5,6,7,8,9]')$$,
    $$SELECT '[1,2]'::halfvec <#> '[3,4]'$$,
    $$SELECT '[1,2]'::halfvec <#> '[0,0]'$$,
    $$SELECT halfvec_negative_inner_product('[1,2]', '[3,4]')$$,
    $$SELECT cosine_distance('[1,2]'::halfvec, '[2,4]')$$,
    $$SELECT cosine_distance('[1,2]'::halfvec, '[0,0]')$$,
    $$SELECT cosine_distance('[0,0]'::halfvec, '[0,0]')$$,
    $$SELECT cosine_distance('[1,0]'::halfvec, '[0,2]')$$,
    $$SELECT cosine_distance('[1,1]'::halfvec, '[-1,-1]')$$,
    $$SELECT cosine_distance('[1,2]'::halfvec, '[3]')$$,
    $$SELECT cosine_distance('[1,2,3,4,5,6,7,8,9]'::halfvec, '[-1,-2,-3,-4,-5,-6,-7,-8,-9]')$$,
    $$SELECT '[1,0]'::halfvec <=> '[0,1]'$$,
    $$SELECT l1_distance('[0,0]'::halfvec, '[3,4]')$$,
    $$SELECT l1_distance('[1,2]'::halfvec, '[3]')$$,
    $$SELECT l1_distance('[1,2,3,4,5,6,7,8,9]'::halfvec, '[0,3,2,5,4,7,6,9,8]')$$,
    $$SELECT '[0,0]'::halfvec <+> '[3,-4]'$$,
    $$SELECT halfvec_spherical_distance('[1,0]', '[0,1]')$$,
    $$SELECT halfvec_spherical_distance('[1,0]', '[-1,0]')$$,
    $$SELECT halfvec_spherical_distance('[2,0]', '[2,0]')$$,
    $$SELECT halfvec_spherical_distance('[1]', '[1,2]')$$,
    $$SELECT l2_norm('[3,4]'::halfvec)$$,
    $$SELECT l2_norm('[0,0]'::halfvec)$$,
    $$SELECT l2_norm('[65504,65504]'::halfvec)::real$$,
    $$SELECT l2_norm('[3,4]')$$,
    $$SELECT l2_normalize('[3,4]'::halfvec)$$,
    $$SELECT l2_normalize('[3,0]'::halfvec)$$,
    $$SELECT l2_normalize('[0,0.1]'::halfvec)$$,
    $$SELECT l2_normalize('[0,0]'::halfvec)$$,
    $$SELECT l2_normalize('[65504]'::halfvec)$$,
    $$SELECT l2_normalize('[65504,5.9604645e-08]'::halfvec)$$,
    $$SELECT vector_dims('[1,2,3]'::halfvec)$$
]) statement;

-- Each distance is that of the same elements in single precision.
SELECT count(*), count(*) FILTER (WHERE (a <-> b, a <#> b, a <=> b, a <+> b) IS DISTINCT FROM
    (a::vector <-> b::vector, a::vector <#> b::vector, a::vector <=> b::vector, a::vector <+> b::vector)) AS differing,
    count(*) FILTER (WHERE l2_norm(a) <> vector_norm(a::vector)) AS other_norms
FROM (
    SELECT array_agg(sin(n * i)::real)::halfvec AS a, array_agg(cos(n + i * i)::real)::halfvec AS b
    FROM generate_series(1, 200) n, generate_series(1, n) i GROUP BY n
) vectors;

-- Algebra.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT '[1,2,3]'::halfvec + '[4,5,6]'$$,
    $$SELECT '[65504]'::halfvec + '[65504]'$$,
    $$SELECT '[65504]'::halfvec + '[15]'$$,
    $$SELECT '[65504]'::halfvec + '[16]'$$,
    $$SELECT '[2048]'::halfvec + '[1]'$$,
    $$SELECT '[0.1]'::halfvec + '[0.2]'$$,
    $$SELECT '[1,2]'::halfvec + '[3]'$$,
    $$SELECT '[1]'::halfvec + NULL::halfvec$$,
    $$SELECT '[-0]'::halfvec + '[-0]'$$,
    $$SELECT '[1,2,3]'::halfvec - '[4,5,6]'$$,
    $$SELECT '[-65504]'::halfvec - '[65504]'$$,
    $$SELECT '[1,2]'::halfvec - '[3]'$$,
    $$SELECT '[1,2,3]'::halfvec * '[4,5,6]'$$,
    $$SELECT '[65504]'::halfvec * '[65504]'$$,
    $$SELECT '[1e-7]'::halfvec * '[1e-7]'$$,
    $$SELECT '[1e-7,0]'::halfvec * '[0,1e-7]'$$,
    $$SELECT '[0.1]'::halfvec * '[0.1]'$$,
    $$SELECT '[1,2]'::halfvec * '[3]'$$,
    $$SELECT '[1,2,3]'::halfvec || '[4,5]'$$,
    $$SELECT array_fill(0, ARRAY[16000])::halfvec || '[1]'$$,
    $$SELECT vector_dims(array_fill(0, ARRAY[15999])::halfvec || '[1]')$$,
    $$SELECT '[1]'::halfvec / '[1]'::halfvec$$
]) statement;

-- Parts.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, 1, 3)$$,
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, -1, 3)$$,
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, 3, 9)$$,
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, 1, 0)$$,
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, 3, -1)$$,
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, -1, 2)$$,
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, 6, 1)$$,
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, 2147483647, 10)$$,
    $$SELECT subvector('[1,2,3,4,5]'::halfvec, -2147483644, 2147483647)$$,
    $$SELECT binary_quantize('[1,0,-1]'::halfvec)$$,
    $$SELECT binary_quantize('[0,0.1,-0.2,-0.3,0.4,0.5,0.6,-0.7,0.8,-0.9,1]'::halfvec)$$,
    $$SELECT binary_quantize('[-0,5.9604645e-08]'::halfvec)$$
]) statement;

-- Comparison.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT '[1,2,3]'::halfvec < '[1,2]'$$,
    $$SELECT '[1,2]'::halfvec < '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::halfvec <= '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::halfvec = '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::halfvec = '[1,2]'$$,
    $$SELECT '[0]'::halfvec = '[-0]'$$,
    $$SELECT '[1,2,3]'::halfvec <> '[1,2]'$$,
    $$SELECT '[1,2,3]'::halfvec >= '[1,2]'$$,
    $$SELECT '[2]'::halfvec > '[1,2]'$$,
    $$SELECT halfvec_cmp('[1,2,3]', '[1,2,3]')$$,
    $$SELECT halfvec_cmp('[1,2]', '[1,2,3]')$$,
    $$SELECT halfvec_cmp('[2,3]', '[1,2,3]')$$,
    $$SELECT '[1]'::halfvec = NULL::halfvec$$
]) statement;

CREATE TABLE sorted (v halfvec);
INSERT INTO sorted VALUES ('[2]'), ('[1,2,3]'), ('[1,2]'), ('[1]'), ('[0,9,9]'), (NULL), ('[-1]'), ('[1,2]'), ('[1,1,9]');
SELECT v, count(*) FROM sorted GROUP BY v ORDER BY v;
SELECT a.v FROM sorted a JOIN sorted b USING (v) ORDER BY 1;
CREATE INDEX sorted_v ON sorted (v);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT v FROM sorted WHERE v = '[1,2]';
SELECT v FROM sorted WHERE v > '[1]' AND v <= '[1,2,3]' ORDER BY v;
RESET enable_seqscan;
RESET enable_bitmapscan;
CREATE TABLE uniq (v halfvec(2) PRIMARY KEY);
INSERT INTO uniq VALUES ('[1,2]'), ('[0,0]');
INSERT INTO uniq VALUES ('[-0,0]');
SELECT amvalidate(o.oid) FROM pg_opclass o JOIN pg_am a ON a.oid = opcmethod
WHERE opcintype = 'halfvec'::regtype AND amname = 'btree';
SELECT oprname, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin, oprcanhash, oprcanmerge FROM pg_operator
WHERE oprleft = 'halfvec'::regtype AND oprright = 'halfvec'::regtype ORDER BY oprname COLLATE "C";
DROP TABLE sorted, uniq;

-- Aggregates.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT avg(x) FROM unnest(ARRAY['[1,2,3]','[3,5,7]']::halfvec[]) x$$,
    $$SELECT sum(x) FROM unnest(ARRAY['[1,2,3]','[3,5,7]',NULL]::halfvec[]) x$$,
    $$SELECT avg(x) IS NULL AND sum(x) IS NULL FROM unnest(ARRAY[NULL]::halfvec[]) x$$,
    $$SELECT avg(x) FROM unnest(ARRAY['[1,2]','[3]']::halfvec[]) x$$,
    $$SELECT sum(x) FROM unnest(ARRAY['[1,2]','[3]']::halfvec[]) x$$,
    $$SELECT avg(x) FROM unnest(ARRAY['[65504]','[65504]']::halfvec[]) x$$,
    $$SELECT sum(x) FROM unnest(ARRAY['[65504]','[65504]']::halfvec[]) x$$,
    $$SELECT sum(x) FROM unnest(ARRAY['[2048]','[1]','[1]']::halfvec[]) x$$,
    $$SELECT avg(x) FROM unnest(ARRAY['[0.1]','[0.2]','[0.3]']::halfvec[]) x$$,
    $$SELECT halfvec_accum('{0}', '[1,2]')$$,
    $$SELECT halfvec_accum('{1,5,6}', '[1,2]')$$,
    $$SELECT halfvec_accum('{1,5}', '[1,2]')$$,
    $$SELECT halfvec_accum('{}', '[1]')$$,
    $$SELECT halfvec_accum('{1,NULL}', '[1]')$$,
    $$SELECT halfvec_avg('{0}')$$,
    $$SELECT halfvec_avg('{2,3,5}')$$,
    $$SELECT halfvec_avg('{1}')$$,
    $$SELECT halfvec_avg('{}')$$,
    $$SELECT halfvec_avg('{1,65520}')$$,
    $$SELECT halfvec_avg('{1,NaN}')$$,
    $$SELECT halfvec_avg('{1,1e300}')$$,
    $$SELECT halfvec_avg(array_fill(1::float8, ARRAY[16002]))$$,
    $$SELECT halfvec_combine('{1,2,3}', '{2,20,30}')$$,
    $$SELECT halfvec_combine('{1,2}', '{0}')$$,
    $$SELECT halfvec_combine('{1,2,3}', '{2,20}')$$
]) statement;

CREATE TABLE big AS SELECT i, ARRAY[i % 100, 1, -i % 7]::halfvec AS e FROM generate_series(1, 5000) i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT avg(e) FROM big;
SELECT avg(e), sum(e) FILTER (WHERE i <= 40) FROM big;
SET max_parallel_workers_per_gather = 0;
SELECT avg(e), sum(e) FILTER (WHERE i <= 40) FROM big;
-- The rows that were added are still as they were.
SELECT e FROM big WHERE i = 1;
DROP TABLE big;
