-- A table of vectors, an index, and the three ways to ask it. Run it with: psql -d a_database -f search.sql

CREATE EXTENSION IF NOT EXISTS vectorgpu;

DROP TABLE IF EXISTS example_items;
CREATE TABLE example_items (id int PRIMARY KEY, colour text, embedding vector(8));

-- 5,000 rows around 20 points.
SELECT setseed(0.5);
INSERT INTO example_items
SELECT i, (ARRAY['red', 'green', 'blue'])[1 + i % 3],
       (SELECT array_agg(((i % 20) * (d + 3) % 11) + random()) FROM generate_series(1, 8) d WHERE i > 0)::vector
FROM generate_series(1, 5000) i;

-- Load first, then index: k-means learns from the rows that are there.
CREATE INDEX example_items_ivf ON example_items USING ivf (embedding vector_l2_ops) WITH (lists = 70);
ANALYZE example_items;

\echo 'nearest to the first row'
SELECT id, colour, embedding <-> (SELECT embedding FROM example_items WHERE id = 1) AS distance
FROM example_items ORDER BY embedding <-> (SELECT embedding FROM example_items WHERE id = 1) LIMIT 5;

\echo 'the same among the red ones, from more lists'
BEGIN;
SET LOCAL vectorgpu.probes = 20;
SELECT id, colour FROM example_items WHERE colour = 'red'
ORDER BY embedding <-> (SELECT embedding FROM example_items WHERE id = 1) LIMIT 5;
COMMIT;

\echo 'many queries in one statement'
SELECT s.query, s.rank, i.id, round(s.distance::numeric, 3) AS distance
FROM vectorgpu.search('example_items_ivf', (SELECT array_agg(embedding ORDER BY id) FROM example_items WHERE id <= 3), 3) s
JOIN example_items i ON i.ctid = s.tid ORDER BY 1, 2;

\echo 'rows that are nearly the same'
SELECT count(*) AS pairs
FROM vectorgpu.knn_join('example_items', 'embedding', 'example_items_ivf', 3, exclude_self => true) j
WHERE j.distance < 0.5 AND j.tid < j.neighbour_tid;

DROP TABLE example_items;
