-- halfvec: avg and sum.

-- avg.
SELECT avg(v) FROM unnest(ARRAY['[1,2,3]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]','[3,4]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]','[3,4]','[5,-6]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]',NULL,'[3,5]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY[NULL]::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY[NULL,NULL]::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY[]::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]','[3]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[3]','[1,2]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[65504]','[65504]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[65504]','[65504]','[65504]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[0.1]','[0.2]','[0.4]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[-0]','[-0]']::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,1]','[2,3]','[2,3]']::halfvec[]) v;
SELECT avg(DISTINCT v) FROM unnest(ARRAY['[1,2]','[3,4]','[1,2]']::halfvec[]) v;
SELECT avg(v) FILTER (WHERE v > '[2]') FROM unnest(ARRAY['[1]','[3]','[5]']::halfvec[]) v;
SELECT avg(v) OVER (ORDER BY v ROWS 1 PRECEDING) FROM unnest(ARRAY['[1]','[3]','[5]']::halfvec[]) v;
SELECT g, avg(v) FROM (VALUES (1, '[1,2]'::halfvec), (1, '[3,4]'), (2, '[1]'), (3, NULL)) t(g, v) GROUP BY g ORDER BY g;
SELECT pg_typeof(avg(v)) FROM unnest(ARRAY['[1]']::halfvec[]) v;

-- sum.
SELECT sum(v) FROM unnest(ARRAY['[1,2,3]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]','[3,4]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]','[3,4]','[5,-6]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]',NULL,'[3,5]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY[NULL]::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY[NULL,NULL]::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY[]::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]','[3]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[3]','[1,2]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[65504]','[65504]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[65504]','[65504]','[65504]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[0.1]','[0.2]','[0.4]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[-0]','[-0]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,1]','[2,3]','[2,3]']::halfvec[]) v;
SELECT sum(DISTINCT v) FROM unnest(ARRAY['[1,2]','[3,4]','[1,2]']::halfvec[]) v;
SELECT sum(v) FILTER (WHERE v > '[2]') FROM unnest(ARRAY['[1]','[3]','[5]']::halfvec[]) v;
SELECT sum(v) OVER (ORDER BY v ROWS 1 PRECEDING) FROM unnest(ARRAY['[1]','[3]','[5]']::halfvec[]) v;
SELECT g, sum(v) FROM (VALUES (1, '[1,2]'::halfvec), (1, '[3,4]'), (2, '[1]'), (3, NULL)) t(g, v) GROUP BY g ORDER BY g;
SELECT pg_typeof(sum(v)) FROM unnest(ARRAY['[1]']::halfvec[]) v;

-- The functions behind them.
SELECT halfvec_accum('{0}', '[1,2]');
SELECT halfvec_accum('{1,2,3}', '[1,2]');
SELECT halfvec_accum('{1,2,3}', '[1]');
SELECT halfvec_accum('{}', '[1]');
SELECT halfvec_accum('{1,NULL}', '[1]');
SELECT halfvec_accum('{{1,2},{3,4}}', '[1]');
SELECT halfvec_accum('{1,1e308}', '[1]');
SELECT halfvec_accum(NULL, '[1]');
SELECT halfvec_accum('{0}', NULL);
SELECT halfvec_accum('{1,Infinity}', '[1]');
SELECT halfvec_combine('{0}', '{0}');
SELECT halfvec_combine('{1,2,3}', '{0}');
SELECT halfvec_combine('{0}', '{1,2,3}');
SELECT halfvec_combine('{1,2,3}', '{3,4,5}');
SELECT halfvec_combine('{1,2}', '{3,4,5}');
SELECT halfvec_combine('{}', '{0}');
SELECT halfvec_combine('{0}', '{}');
SELECT halfvec_combine('{1,1e308}', '{1,1e308}');
SELECT halfvec_combine('{1,NULL}', '{1,2}');
SELECT halfvec_combine(NULL, '{0}');
SELECT halfvec_avg('{0}');
SELECT halfvec_avg('{2,4,6}');
SELECT halfvec_avg('{}');
SELECT halfvec_avg('{2,NULL}');
SELECT halfvec_avg('{1,1e39}');
SELECT halfvec_avg('{1,NaN}');
SELECT halfvec_avg('{3,1,2}');
SELECT halfvec_avg('{2}');
SELECT halfvec_avg('{0,1}');
SELECT halfvec_avg(NULL);
SELECT halfvec_avg('{-1,5}');
SELECT halfvec_avg('{0.5,5}');

-- In parallel: every sum on the way is a whole number below 2,048, which a half holds whatever part a worker takes.
CREATE TABLE halfvec_many AS SELECT ('[' || i % 4 || ',' || i % 3 || ']')::halfvec v FROM generate_series(1, 1000) i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM halfvec_many;
SELECT avg(v), sum(v) FROM halfvec_many;
SELECT avg(v), sum(v) FROM halfvec_many WHERE v IS NULL;
