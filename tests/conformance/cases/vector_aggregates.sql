-- vector: avg and sum.

-- avg.
SELECT avg(v) FROM unnest(ARRAY['[1,2,3]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]','[3,4]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]','[3,4]','[5,-6]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]',NULL,'[3,5]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY[NULL]::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY[NULL,NULL]::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY[]::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]','[3]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[3]','[1,2]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[3e38]','[3e38]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[3e38]','[3e38]','[3e38]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[0.1]','[0.2]','[0.4]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[-0]','[-0]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,1]','[2,3]','[2,3]']::vector[]) v;
SELECT avg(DISTINCT v) FROM unnest(ARRAY['[1,2]','[3,4]','[1,2]']::vector[]) v;
SELECT avg(v) FILTER (WHERE v > '[2]') FROM unnest(ARRAY['[1]','[3]','[5]']::vector[]) v;
SELECT avg(v) OVER (ORDER BY v ROWS 1 PRECEDING) FROM unnest(ARRAY['[1]','[3]','[5]']::vector[]) v;
SELECT g, avg(v) FROM (VALUES (1, '[1,2]'::vector), (1, '[3,4]'), (2, '[1]'), (3, NULL)) t(g, v) GROUP BY g ORDER BY g;
SELECT pg_typeof(avg(v)) FROM unnest(ARRAY['[1]']::vector[]) v;

-- sum.
SELECT sum(v) FROM unnest(ARRAY['[1,2,3]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]','[3,4]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]','[3,4]','[5,-6]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]',NULL,'[3,5]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY[NULL]::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY[NULL,NULL]::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY[]::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]','[3]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[3]','[1,2]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[3e38]','[3e38]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[3e38]','[3e38]','[3e38]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[0.1]','[0.2]','[0.4]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[-0]','[-0]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,1]','[2,3]','[2,3]']::vector[]) v;
SELECT sum(DISTINCT v) FROM unnest(ARRAY['[1,2]','[3,4]','[1,2]']::vector[]) v;
SELECT sum(v) FILTER (WHERE v > '[2]') FROM unnest(ARRAY['[1]','[3]','[5]']::vector[]) v;
SELECT sum(v) OVER (ORDER BY v ROWS 1 PRECEDING) FROM unnest(ARRAY['[1]','[3]','[5]']::vector[]) v;
SELECT g, sum(v) FROM (VALUES (1, '[1,2]'::vector), (1, '[3,4]'), (2, '[1]'), (3, NULL)) t(g, v) GROUP BY g ORDER BY g;
SELECT pg_typeof(sum(v)) FROM unnest(ARRAY['[1]']::vector[]) v;

-- The functions behind them.
SELECT vector_accum('{0}', '[1,2]');
SELECT vector_accum('{1,2,3}', '[1,2]');
SELECT vector_accum('{1,2,3}', '[1]');
SELECT vector_accum('{}', '[1]');
SELECT vector_accum('{1,NULL}', '[1]');
SELECT vector_accum('{{1,2},{3,4}}', '[1]');
SELECT vector_accum('{1,1e308}', '[1]');
SELECT vector_accum(NULL, '[1]');
SELECT vector_accum('{0}', NULL);
SELECT vector_accum('{1,Infinity}', '[1]');
SELECT vector_combine('{0}', '{0}');
SELECT vector_combine('{1,2,3}', '{0}');
SELECT vector_combine('{0}', '{1,2,3}');
SELECT vector_combine('{1,2,3}', '{3,4,5}');
SELECT vector_combine('{1,2}', '{3,4,5}');
SELECT vector_combine('{}', '{0}');
SELECT vector_combine('{0}', '{}');
SELECT vector_combine('{1,1e308}', '{1,1e308}');
SELECT vector_combine('{1,NULL}', '{1,2}');
SELECT vector_combine(NULL, '{0}');
SELECT vector_avg('{0}');
SELECT vector_avg('{2,4,6}');
SELECT vector_avg('{}');
SELECT vector_avg('{2,NULL}');
SELECT vector_avg('{1,1e39}');
SELECT vector_avg('{1,NaN}');
SELECT vector_avg('{3,1,2}');
SELECT vector_avg('{2}');
SELECT vector_avg('{0,1}');
SELECT vector_avg(NULL);
SELECT vector_avg('{-1,5}');
SELECT vector_avg('{0.5,5}');

-- In parallel.
CREATE TABLE vector_many AS SELECT ('[' || i % 10 || ',' || i % 3 || ']')::vector v FROM generate_series(1, 1000) i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM vector_many;
SELECT avg(v), sum(v) FROM vector_many;
SELECT avg(v), sum(v) FROM vector_many WHERE v IS NULL;
EXPLAIN (COSTS OFF) SELECT avg(v) FROM vector_many WHERE v > '[1000]';
SELECT avg(v) FROM vector_many WHERE v > '[1000]';
