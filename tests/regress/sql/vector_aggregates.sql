-- sum and avg, alone, in parallel and over windows.
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

CREATE TABLE v (id integer, g integer, e vector(3));
INSERT INTO v SELECT i, i % 3, ARRAY[i, -i, 0.5]::vector FROM generate_series(1, 10) i;
INSERT INTO v VALUES (11, 1, NULL), (12, 4, NULL);

SELECT avg(e), sum(e), count(e) FROM v;
SELECT g, avg(e), sum(e) FROM v GROUP BY g ORDER BY g;
SELECT avg(e), sum(e) FROM v WHERE false;
SELECT avg(e), sum(e) FROM v WHERE e IS NULL;
SELECT avg(e) FILTER (WHERE id > 9), sum(e) FILTER (WHERE id > 9), sum(DISTINCT e) FROM v;
SELECT id, sum(e) OVER (ORDER BY id), avg(e) OVER (ORDER BY id ROWS 1 PRECEDING) FROM v ORDER BY id;
-- The rows that were added are still as they were.
SELECT id, e FROM v WHERE id IN (1, 2) ORDER BY id;

SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT avg(x) FROM unnest(ARRAY['[1,2,3]','[3,5,7]']::vector[]) x$$,
    $$SELECT sum(x) FROM unnest(ARRAY['[1,2,3]','[3,5,7]',NULL]::vector[]) x$$,
    $$SELECT avg(x) FROM unnest(ARRAY['[1,2]','[3]']::vector[]) x$$,
    $$SELECT sum(x) FROM unnest(ARRAY['[1,2]','[3]']::vector[]) x$$,
    $$SELECT avg(x) FROM unnest(ARRAY['[3e38]','[3e38]']::vector[]) x$$,
    $$SELECT sum(x) FROM unnest(ARRAY['[3e38]','[3e38]']::vector[]) x$$,
    $$SELECT avg(x) FROM unnest(ARRAY['[-0]','[-0]']::vector[]) x$$,
    $$SELECT avg(x) FROM unnest(ARRAY['[0.1]','[0.2]','[0.3]']::vector[]) x$$,
    $$SELECT sum(x) FROM unnest(ARRAY['[16777216]','[1]','[1]']::vector[]) x$$,
    $$SELECT avg(x) FROM unnest(ARRAY['[16777216]','[1]','[1]']::vector[]) x$$,
    $$SELECT vector_accum('{0}', '[1,2]')$$,
    $$SELECT vector_accum('{1,5,6}', '[1,2]')$$,
    $$SELECT vector_accum('{1,5}', '[1,2]')$$,
    $$SELECT vector_accum('{}', '[1]')$$,
    $$SELECT vector_accum('{{0}}', '[1]')$$,
    $$SELECT vector_accum('{NULL}', '[1]')$$,
    $$SELECT vector_accum('{1,NULL}', '[1]')$$,
    $$SELECT vector_accum('{1,1.7976931348623157e308}', '[1]')$$,
    $$SELECT vector_accum('{1,NaN}', '[1]')$$,
    $$SELECT vector_avg('{0}')$$,
    $$SELECT vector_avg('{0,1}')$$,
    $$SELECT vector_avg('{2,3,5}')$$,
    $$SELECT vector_avg('{1}')$$,
    $$SELECT vector_avg('{}')$$,
    $$SELECT vector_avg('{1,NaN}')$$,
    $$SELECT vector_avg('{1,1e300}')$$,
    $$SELECT vector_avg('{{1,2},{3,4}}')$$,
    $$SELECT vector_avg('{1,NULL}')$$,
    $$SELECT vector_avg(array_fill(1::float8, ARRAY[16001]))$$,
    $$SELECT vector_avg(array_fill(1::float8, ARRAY[16002]))$$,
    $$SELECT vector_combine('{0}', '{0}')$$,
    $$SELECT vector_combine('{1,2}', '{0}')$$,
    $$SELECT vector_combine('{0}', '{1,-0}')$$,
    $$SELECT vector_combine('{1,2,3}', '{2,20,30}')$$,
    $$SELECT vector_combine('{1,2,3}', '{2,20}')$$,
    $$SELECT vector_combine('{1,1.7e308}', '{1,1.7e308}')$$,
    $$SELECT vector_combine('{}', '{0}')$$,
    $$SELECT vector_combine('{0}', '{NULL}')$$,
    $$SELECT vector_combine(array_fill(1::float8, ARRAY[16002]), '{0}')$$
]) statement;

-- Partial states from parallel workers are combined.
CREATE TABLE big AS SELECT i, ARRAY[i % 100, 1, -i % 7]::vector AS e FROM generate_series(1, 20000) i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT avg(e), sum(e) FROM big;
SELECT avg(e), sum(e) FROM big;
SET max_parallel_workers_per_gather = 0;
SELECT avg(e), sum(e) FROM big;
SELECT count(*) FROM (SELECT i % 5000 AS g, avg(e) AS a, sum(e) AS s FROM big GROUP BY 1) groups WHERE a * '[4,4,4]' = s;
DROP TABLE big, v;
